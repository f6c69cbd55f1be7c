"""Exponents read off learning curves: of m in the place of a step, and of P in the loss above its limit.

Limits are explicit: the exact entropy is known for a grammar (`rhm_hf.inference.position_entropies`) and is never
fitted. Error bars come from a bootstrap that draws whole grammars. Theory beside them: the polygon of the plateaus.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import theory
from ...grammar import GrammarParameters
from .intervals import FEWEST, check_bootstrap, endless, percentile_interval, resampled_rows
from .learning_curves import checked_losses, checked_sizes


@dataclass(frozen=True)
class ScalingFit:
    """y = amplitude x^exponent.

    Attributes:
        exponent (`float`): of least squares in logarithms.
        interval (`tuple[float, float]`): of the exponent, by bootstrap; infinite where there are too few grammars.
        amplitude (`float`): y at x = 1 of the fit.
    """

    exponent: float
    interval: tuple[float, float]
    amplitude: float


@dataclass(frozen=True)
class LocalExponents:
    """α of L - L_inf ~ P^-α in windows of consecutive P.

    Attributes:
        sizes (`np.ndarray`): `(windows,)`, geometric mean of the P of a window.
        exponents (`np.ndarray`): `(windows,)`.
        intervals (`np.ndarray`): `(windows, 2)`.
    """

    sizes: np.ndarray
    exponents: np.ndarray
    intervals: np.ndarray


@dataclass(frozen=True)
class PlateauPolygon:
    """Points of the theory of learning curves, to be joined by straight lines in log-log axes.

    Attributes:
        levels (`np.ndarray`): ℓ of the vertices.
        sizes (`np.ndarray`): P_ℓ.
        excess (`np.ndarray`): loss at them above its limit, nats.
        exponents (`np.ndarray`): minus the slopes of the lines, one fewer than vertices.
    """

    levels: np.ndarray
    sizes: np.ndarray
    excess: np.ndarray
    exponents: np.ndarray

    def level_at(self, sizes) -> np.ndarray:
        """ℓ of the last vertex at or below each P, 0 before the first: between P_ℓ and P_(ℓ+1) comes plateau L_ℓ."""
        return np.searchsorted(self.sizes, sizes, side="right")

    def excess_at(self, sizes) -> np.ndarray:
        """The lines at each P, between the first vertex and the last: as if it were a measured curve."""
        sizes = np.asarray(sizes, dtype=np.float64)
        if not ((sizes >= self.sizes[0]) & (sizes <= self.sizes[-1])).all():
            raise ValueError(f"sizes={sizes.tolist()} must lie between {self.sizes[0]:g} and {self.sizes[-1]:g}")
        return np.exp(np.interp(np.log(sizes), np.log(self.sizes), np.log(self.excess)))


def synonym_exponent(
    ensembles: Sequence[GrammarParameters],
    points: Sequence,
    divide_correlations: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ScalingFit:
    """k in P_ℓ ~ m^k at fixed v and s: least squares of log P on log m over all grammars of all m.

    Theory for last-token prediction: 2ℓ - 1 (transformer), ℓ + 1 (CNN).

    Args:
        ensembles (`Sequence[GrammarParameters]`): one for every m.
        points (`Sequence`): for each of them the half-way points of one level, `(grammars,)`.
        divide_correlations (`bool`, *optional*, defaults to `False`): regress log P (1-f) instead, so that the factor
            1 / (1-f) of the theory does not count as a power of m.
        resamples, confidence, seed: of the bootstrap, which draws grammars within each m.

    Returns:
        [`ScalingFit`]: its interval is infinite unless every m has two grammars and all together four more than there
        are values of m.

    Raises:
        `ValueError`: for fewer than two values of m, other differences between ensembles, or points outside the range
            measured (0 or infinite).
    """
    check_bootstrap(resamples, confidence)
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
    x = np.concatenate([np.full(len(group), np.log(m)) for group, m in zip(logs, synonyms, strict=True)])
    slope, intercept = _lines(x, np.concatenate(logs)[None])
    interval = endless(())
    if min(map(len, logs)) > 1 and len(x) - len(logs) >= FEWEST:
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([group[resampled_rows(len(group), resamples, rng)] for group in logs], axis=1)
        interval = percentile_interval(_lines(x, drawn)[0], confidence)
    return ScalingFit(float(slope[0]), (float(interval[0]), float(interval[1])), float(np.exp(intercept[0])))


def envelope_exponent(
    sizes: Sequence[float],
    losses,
    limit,
    min_size: float | None = None,
    max_size: float | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ScalingFit:
    """α in L(P) - L_inf ~ P^-α between two P, from the mean curve of the grammars.

    Args:
        sizes (`Sequence[float]`): P, increasing, `(sizes,)`.
        losses: `(sizes,)` or `(grammars, sizes)`.
        limit: L_inf, the exact entropy, of all or `(grammars,)`; never fitted.
        min_size, max_size (`float`, *optional*): the range of P, ends included; by default all.
        resamples, confidence, seed: of the bootstrap of grammars.

    Returns:
        [`ScalingFit`]: exponent α (positive where the loss falls); its interval is infinite with fewer than four
        grammars. Steps make residuals of a fit depend on each other, so one curve gives no error bar.

    Raises:
        `ValueError`: for fewer than two sizes in the range, or a mean loss that is not above its limit.
    """
    check_bootstrap(resamples, confidence)
    sizes, excess = _excess(sizes, losses, limit, min_size, max_size)
    slopes, interval, intercept = _window_exponents(sizes, excess, len(sizes), resamples, confidence, seed)
    return ScalingFit(float(slopes[0]), (float(interval[0, 0]), float(interval[0, 1])), float(np.exp(intercept[0])))


def local_exponents(
    sizes: Sequence[float],
    losses,
    limit,
    window: int = 2,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> LocalExponents:
    """The exponent of [`envelope_exponent`] in every window of consecutive sizes, all from the same resamples.

    Args:
        sizes, losses, limit, resamples, confidence, seed: as there.
        window (`int`, *optional*, defaults to 2): sizes in a window; 2 is the slope between neighbours.

    Returns:
        [`LocalExponents`]
    """
    check_bootstrap(resamples, confidence)
    sizes, excess = _excess(sizes, losses, limit)
    if not 2 <= window <= len(sizes):
        raise ValueError(f"window={window} must lie between 2 and the number of sizes, {len(sizes)}")
    slopes, intervals, _ = _window_exponents(sizes, excess, window, resamples, confidence, seed)
    centres = np.exp(np.lib.stride_tricks.sliding_window_view(np.log(sizes), window).mean(1))
    return LocalExponents(centres, slopes, intervals)


def plateau_polygon(
    parameters: GrammarParameters,
    plateaus: Sequence[float],
    limit: float,
    architecture: str = "transformer",
    corner: str = "after",
) -> PlateauPolygon:
    """The exact plateaus against the theory's P_ℓ of last-token prediction (2406.00048).

    At the depths that can be trained its slopes are far from `theory.learning_exponent`, which is asymptotic; a
    measured exponent should be compared with these.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        plateaus (`Sequence[float]`): L_0 > .. > L_L, nats, e.g. means over grammars.
        limit (`float`): L_inf. With the exact L_L of depth L the last plateau has no logarithm and is left out; with
            `theory.limiting_loss` the curve is one of an infinitely deep grammar.
        architecture (`str`, *optional*, defaults to `"transformer"`): or `"cnn"`, of `theory.sample_complexity`.
        corner (`str`, *optional*, defaults to `"after"`): the loss that belongs to P_ℓ, where step ℓ goes from L_(ℓ-1)
            to L_ℓ: `"before"`, L_(ℓ-1) (the outer envelope); `"half_way"`, their mean, which curves pass through;
            `"after"`, L_ℓ (the inner envelope).

    Raises:
        `ValueError`: for plateaus that do not fall or are not L + 1, an unknown corner, no vertex above the limit, or
            P_ℓ that do not increase (m = 1 or f = 1).
    """
    plateaus = np.asarray(plateaus, dtype=np.float64)
    if plateaus.shape != (parameters.depth + 1,) or not (np.diff(plateaus) < 0).all():
        raise ValueError(f"plateaus={plateaus.tolist()} must be L_0 > .. > L_{parameters.depth}, one more than depth")
    corners = {
        "before": plateaus[:-1],
        "half_way": (plateaus[:-1] + plateaus[1:]) / 2,
        "after": plateaus[1:],
    }
    if corner not in corners:
        raise ValueError(f"corner={corner!r} is unknown: it must be {', '.join(corners)}")
    excess = corners[corner] - limit
    kept = np.flatnonzero(excess > 0)
    if not len(kept):
        raise ValueError(f"limit={limit} must be below the loss at the first vertex; plateaus={plateaus.tolist()}")
    levels, excess = kept + 1, excess[kept]
    sizes = [theory.sample_complexity(parameters, int(level), architecture=architecture) for level in levels]
    sizes = np.array(sizes)
    if not (np.isfinite(sizes).all() and (np.diff(sizes) > 0).all()):
        raise ValueError(f"{parameters.name} has P_l = {sizes.tolist()}: without increasing steps there is no polygon")
    return PlateauPolygon(levels, sizes, excess, -np.diff(np.log(excess)) / np.diff(np.log(sizes)))


def _excess(sizes, losses, limit, min_size=None, max_size=None) -> tuple[np.ndarray, np.ndarray]:
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


def _window_exponents(sizes, excess, window: int, resamples: int, confidence: float, seed: int):
    """Exponents, intervals and intercepts of windows.

    A resample whose mean reaches the limit inside a window counts as an infinite exponent.
    """
    x = np.lib.stride_tricks.sliding_window_view(np.log(sizes), window)

    def fit(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = np.lib.stride_tricks.sliding_window_view(np.log(np.where(means > 0, means, 1.0)), window, axis=1)
        reached = np.lib.stride_tricks.sliding_window_view(means <= 0, window, axis=1).any(2)
        slopes, intercepts = _lines(x, y)
        return np.where(reached, np.inf, -slopes), intercepts

    slopes, intercepts = fit(excess.mean(0)[None])
    intervals = endless((len(x),))
    if len(excess) >= FEWEST:
        rows = resampled_rows(len(excess), resamples, np.random.default_rng(seed))
        intervals = percentile_interval(fit(excess[rows].mean(1))[0], confidence)
    return slopes[0], intervals, intercepts[0]


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of least squares along the last axis; x broadcasts against y."""
    centred = x - x.mean(-1, keepdims=True)
    slopes = (centred * y).sum(-1) / (centred**2).sum(-1)
    return slopes, y.mean(-1) - slopes * x.mean(-1)
