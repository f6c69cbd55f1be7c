"""Exponents read off learning curves: of m in the place of a step, and of P in the loss above its limit.

Limits are explicit: the exact entropy is known for a grammar (`rhm_hf.inference.position_entropies`) and is never
fitted. Error bars come from a jackknife over whole grammars. Theory beside them: see `polygon`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ... import theory
from ...checks import OwnCheck, check_integer, checked
from ...grammar import GrammarParameters
from ..intervals import FEWEST, check_confidence, endless, jackknife_interval, leaving_out, sub_ranges
from .endings import count_step_limited
from .learning_curves import checked_losses, checked_sizes


@dataclass(frozen=True)
class ScalingFit:
    """y = amplitude x^exponent.

    Attributes:
        exponent (`float`): of least squares in logarithms.
        interval (`tuple[float, float]`): of the exponent: what the grammars and the choice of range leave open, from
            the lower to the upper end of `statistical_interval` and `range_exponents`.
        amplitude (`float`): y at x = 1 of the fit.
        statistical_interval (`tuple[float, float]`): by a jackknife over grammars with Student's t; infinite where
            there are too few.
        range_exponents (`tuple[float, float]`): the smallest and largest exponent of fits to parts of the range that
            are at least half as long in log x, of three points or more; and, where a range of limits was given, to all
            of it with either end for the limit.
        num_step_limited (`int` or `None`): runs that their step limit ended; None where that was not said.
    """

    exponent: float
    interval: tuple[float, float]
    amplitude: float
    statistical_interval: tuple[float, float]
    range_exponents: tuple[float, float]
    num_step_limited: int | None = None


@dataclass(frozen=True)
class LocalExponents:
    """α of L - L_inf ~ P^-α in windows of consecutive P.

    Attributes:
        sizes (`np.ndarray`): `(windows,)`, geometric mean of the P of a window.
        exponents (`np.ndarray`): `(windows,)`.
        intervals (`np.ndarray`): `(windows, 2)`, by a jackknife over grammars with Student's t.
        num_step_limited (`int` or `None`): runs that their step limit ended; None where that was not said.
    """

    sizes: np.ndarray
    exponents: np.ndarray
    intervals: np.ndarray
    num_step_limited: int | None = None


@checked
def synonym_exponent(
    ensembles: Sequence[GrammarParameters],
    points: Sequence[np.ndarray],
    divide_correlations: bool = False,
    confidence: float = 0.95,
) -> ScalingFit:
    """k in P_ℓ ~ m^k at fixed v and s: least squares of log P on log m over all grammars of all m.

    Theory for last-token prediction: 2ℓ - 1 (transformer), ℓ + 1 (CNN).

    Args:
        ensembles (`Sequence[GrammarParameters]`): one for every m.
        points (`Sequence[np.ndarray]`): for each of them the half-way points of one level, `(grammars,)`.
        divide_correlations (`bool`, *optional*, defaults to `False`): regress log P (1-f) instead, so that the factor
            1 / (1-f) of the theory does not count as a power of m.
        confidence (`float`, *optional*, defaults to 0.95): of the interval.

    Returns:
        [`ScalingFit`]: its interval is infinite unless every m has two grammars and all together three more than there
            are values of m.

    Raises:
        `ValueError`: for fewer than two values of m, other differences between ensembles, or points outside the range
            measured (0 or infinite).
    """
    confidence = check_confidence(confidence)
    groups = [np.asarray(group, dtype=np.float64).ravel() for group in points]
    if len(groups) != len(ensembles) or not all(len(group) for group in groups):
        raise ValueError(
            f"points of {len(groups)} ensembles, {len(ensembles)} ensembles: give a non-empty row for each"
        )
    shapes = {(parameters.vocab_size, parameters.tuple_size) for parameters in ensembles}
    synonyms = [parameters.num_synonyms for parameters in ensembles]
    if len(shapes) > 1 or len(set(synonyms)) < 2:
        raise ValueError(f"ensembles={[p.name for p in ensembles]} must share v and s, with two values of m at least")
    if not all(((group > 0) & np.isfinite(group)).all() for group in groups):
        raise ValueError(
            "points must be above 0 and finite: leave steps outside the range of P out, or measure more P"
        )
    fractions = [theory.grammatical_fraction(parameters) for parameters in ensembles]
    if divide_correlations and max(fractions) >= 1:
        raise ValueError("divide_correlations=True: where f = 1 nothing correlates, so that P (1-f) is 0; leave m out")
    logs = [np.log(g) + (np.log1p(-f) if divide_correlations else 0.0) for g, f in zip(groups, fractions, strict=True)]
    x = np.log(synonyms)

    def fit(columns: list[np.ndarray], kept: np.ndarray | None = None) -> tuple[float, float]:
        chosen = np.arange(len(columns)) if kept is None else np.flatnonzero(kept)
        places = np.concatenate([np.full(len(columns[k]), x[k]) for k in chosen])
        slope, intercept = _lines(places, np.concatenate([columns[k] for k in chosen])[None])
        return float(slope[0]), float(intercept[0])

    slope, intercept = fit(logs)
    statistical = endless(())
    if min(map(len, logs)) > 1 and sum(map(len, logs)) - len(logs) >= FEWEST:
        without = [
            np.array([fit([*logs[:k], np.delete(column, i), *logs[k + 1 :]])[0] for i in range(len(column))])
            for k, column in enumerate(logs)
        ]
        statistical = jackknife_interval(slope, without, confidence)
    others = []
    if len(set(synonyms)) > 2:  # which values of m are fitted is a choice of range, too
        others = [fit(logs, kept)[0] for kept in (x > x.min(), x < x.max())]
    return _scaling_fit(slope, intercept, statistical, others)


def _scaling_fit(
    slope: float, intercept: float, statistical: np.ndarray, others: Sequence[float], limited: int | None = None
) -> ScalingFit:
    low, high = (float(end) for end in statistical)
    by_range = float(min([slope, *others])), float(max([slope, *others]))
    interval = min(low, by_range[0]), max(high, by_range[1])
    return ScalingFit(float(slope), interval, float(np.exp(intercept)), (low, high), by_range, limited)


@checked
def envelope_exponent(
    sizes: Sequence[float],
    losses: np.ndarray,
    limit: np.ndarray | float,
    min_size: float | None = None,
    max_size: float | None = None,
    confidence: float = 0.95,
    limit_range: tuple[float, float] | None = None,
    stopped_by: Annotated[np.ndarray | None, OwnCheck()] = None,
    step_limited: str = "refuse",
) -> ScalingFit:
    """α in L(P) - L_inf ~ P^-α between two P, from the mean curve of the grammars.

    Args:
        sizes (`Sequence[float]`): P, increasing, `(sizes,)`.
        losses (`np.ndarray`): `(sizes,)` or `(grammars, sizes)`.
        limit (`np.ndarray` or `float`): L_inf, the exact entropy, of all or `(grammars,)`; never fitted.
        min_size, max_size (`float`, *optional*): the range of P, ends included; by default all.
        confidence (`float`, *optional*, defaults to 0.95): of the interval.
        limit_range (`tuple[float, float]`, *optional*): where L_inf is not known, as of a text: the interval then
            holds the exponents of both ends.
        stopped_by, step_limited: as in [`mean_half_way_points`].

    Returns:
        [`ScalingFit`]: exponent α (positive where the loss falls); its statistical interval is infinite with fewer
        than
            three grammars. Steps make residuals of a fit depend on each other, so one curve gives no error bar.

    Raises:
        `ValueError`: for fewer than two sizes in the range, a mean loss that is not above its limit, or runs that
            their step limit ended.
    """
    confidence = check_confidence(confidence)
    limited = count_step_limited(stopped_by, np.shape(losses), step_limited)
    kept_sizes, excess = _excess(sizes, losses, limit, min_size, max_size)
    slopes, interval, intercept = _window_exponents(kept_sizes, excess, len(kept_sizes), confidence)
    parts = sub_ranges(np.log(kept_sizes))
    others = [_window_exponents(kept_sizes[part], excess[:, part], None, None)[0][0] for part in parts]
    for end in limit_range or ():
        other = _excess(sizes, losses, end, min_size, max_size)
        others.append(_window_exponents(*other, None, None)[0][0])
    return _scaling_fit(slopes[0], intercept[0], interval[0], others, limited)


@checked
def local_exponents(
    sizes: Sequence[float],
    losses: np.ndarray,
    limit: np.ndarray | float,
    window: int = 2,
    confidence: float = 0.95,
    stopped_by: Annotated[np.ndarray | None, OwnCheck()] = None,
    step_limited: str = "refuse",
) -> LocalExponents:
    """The exponent of [`envelope_exponent`] in every window of consecutive sizes.

    Args:
        sizes, losses, limit, confidence, stopped_by, step_limited: as there.
        window (`int`, *optional*, defaults to 2): sizes in a window; 2 is the slope between neighbours.

    Returns:
        [`LocalExponents`]
    """
    confidence = check_confidence(confidence)
    limited = count_step_limited(stopped_by, np.shape(losses), step_limited)
    sizes, excess = _excess(sizes, losses, limit)
    window = check_integer("window", window, 2, len(sizes) + 1)
    slopes, intervals, _ = _window_exponents(sizes, excess, window, confidence)
    centres = np.exp(np.lib.stride_tricks.sliding_window_view(np.log(sizes), window).mean(1))
    return LocalExponents(centres, slopes, intervals, limited)


def _excess(
    sizes: Sequence[float], losses: np.ndarray, limit: np.ndarray | float, min_size=None, max_size=None
) -> tuple[np.ndarray, np.ndarray]:
    """Sizes in a range and L - L_inf `(grammars, sizes)`, whose mean over grammars is positive."""
    sizes = checked_sizes(sizes)
    losses = np.atleast_2d(checked_losses(sizes, losses))
    limit = np.asarray(limit, dtype=np.float64)
    if limit.shape not in ((), (len(losses),)) or not np.isfinite(limit).all():
        raise ValueError(
            f"limit={limit.tolist()} must be finite, one number or one for each of {len(losses)} grammars"
        )
    low, high = sizes[0] if min_size is None else min_size, sizes[-1] if max_size is None else max_size
    chosen = (sizes >= low) & (sizes <= high)
    if chosen.sum() < 2:
        raise ValueError(f"min_size={low:g}, max_size={high:g}: {chosen.sum()} sizes lie there, a fit needs two")
    excess = losses[:, chosen] - limit.reshape(-1, 1)
    if (bad := excess.mean(0) <= 0).any():
        raise ValueError(
            f"the mean loss at P={sizes[chosen][bad][0]:g} is not above limit={limit.mean():g}: lower max_size, judge "
            "more sentences, or check that the limit is the exact entropy of the same targets"
        )
    return sizes[chosen], excess


def _window_exponents(sizes: np.ndarray, excess: np.ndarray, window: int | None, confidence: float | None):
    """Exponents, intervals (endless without a confidence) and intercepts of windows; by default one of all sizes.

    Where the mean without one of the grammars reaches the limit inside a window, its exponent counts as infinite.
    """
    window = len(sizes) if window is None else window
    x = np.lib.stride_tricks.sliding_window_view(np.log(sizes), window)

    def fit(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = np.lib.stride_tricks.sliding_window_view(np.log(np.where(means > 0, means, 1.0)), window, axis=1)
        reached = np.lib.stride_tricks.sliding_window_view(means <= 0, window, axis=1).any(2)
        slopes, intercepts = _lines(x, y)
        return np.where(reached, np.inf, -slopes), intercepts

    slopes, intercepts = fit(excess.mean(0)[None])
    intervals = endless((len(x),))
    if len(excess) >= FEWEST and confidence is not None:
        intervals = jackknife_interval(slopes[0], [fit(leaving_out(excess))[0]], confidence)
    return slopes[0], intervals, intercepts[0]


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of least squares along the last axis; x broadcasts against y."""
    centred = x - x.mean(-1, keepdims=True)
    slopes = (centred * y).sum(-1) / (centred**2).sum(-1)
    return slopes, y.mean(-1) - slopes * x.mean(-1)
