"""The exponents at which curves collapse, and whether the curves decide them.

The cost is the mean square distance of all pairs of curves over the stretches of rescaled ln x that they share, each
curve joined smoothly (monotone cubic) in logarithms: an integral, continuous in the exponents. The sum over points of
`collapse_quality` is not: points enter and leave at the ends of other curves, and it dips where the grids of two
curves fall on one another, whatever was measured. Curves that are pulled apart always agree, so that exponents that
leave less than a share of the overlap do not count; a cost that still falls where they begin makes the fit *pinned*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ...checks import check_integer, check_number, checked
from ..intervals import FEWEST, check_confidence, endless, jackknife_interval
from .collapse import Collapse, checked_curves, collapse_quality, ended, log_scales, mean_logs


NODES = 33  # of the integral over a stretch that two curves share


@dataclass(frozen=True)
class CollapseScan:
    """The quality of a collapse against the exponent of x; arrays have one entry an exponent.

    Attributes:
        exponents (`np.ndarray`): a.
        residuals (`np.ndarray`): the cost at the best b; infinite where no two curves share any x.
        y_exponents (`np.ndarray`): that b.
        overlaps (`np.ndarray`): the length of ln x that pairs of curves share, over its largest value in the range.
    """

    exponents: np.ndarray
    residuals: np.ndarray
    y_exponents: np.ndarray
    overlaps: np.ndarray


@dataclass(frozen=True)
class CollapseFit:
    """The exponents of y_i(x) = limit + t_i^b F(x / t_i^a).

    Attributes:
        x_exponent, y_exponent (`float`): a and b.
        x_interval, y_interval (`tuple[float, float]`): what the replicates (a jackknife with Student's t) and the
            choice
            of curves (`leave_one_out`) leave open; infinite without three replicates, on the side where the fit is
            pinned, and (b, b) for a b that was given.
        collapse ([`Collapse`]): its quality.
        pinned (`bool`): whether the cost still falls where too little overlap is left, so that a is the cut-off's and
            not the curves'.
        leave_one_out (`np.ndarray`): `(curves, 2)`, a and b without each curve; infinite where they have none.
        scan ([`CollapseScan`]): the cost of all exponents that were tried, those that do not count included.
    """

    x_exponent: float
    y_exponent: float
    x_interval: tuple[float, float]
    y_interval: tuple[float, float]
    collapse: Collapse
    pinned: bool
    leave_one_out: np.ndarray
    scan: CollapseScan


@checked
def fit_collapse(
    curves: Sequence[tuple[Any, ...]],
    scales: Sequence[float],
    x_range: tuple[float, float],
    y_exponent: float | None = None,
    confidence: float = 0.95,
    limit: float = 0.0,
    min_overlap: float = 0.5,
    paired: bool | None = None,
    grid: int = 65,
    stopped_by: Sequence[Any] | None = None,
    step_limited: str = "refuse",
) -> CollapseFit:
    """The exponents at which (y - limit) / t^b against x / t^a collapses best.

    For L(P, t) = t^(-αz) F(P / t^z): a = z and b = -αz; for (L_n - H_inf) n^γ against P / n^(2β): a = 2β and b = -γ.
    Where F is flat or a power law over the whole range, a and b cannot be told apart; the intervals then show it.
    Sizes that grow by factors of 2 leave smaller interpolation errors than factors of 4.

    Args:
        curves (`Sequence[tuple]`): as in [`collapse_quality`].
        scales (`Sequence[float]`): t_i > 0, two values of them at least.
        x_range (`tuple[float, float]`): where a is sought.
        y_exponent (`float`, *optional*): b if it is known, e.g. 0; by default it is fitted (for each a it is a linear
            least squares).
        confidence (`float`, *optional*, defaults to 0.95): of the intervals.
        limit (`float`, *optional*, defaults to 0.0): subtracted from all y.
        min_overlap (`float`, *optional*, defaults to 0.5): exponents that leave a smaller share of the largest overlap
            do not count: curves pulled apart always agree.
        paired (`bool`, *optional*): whether replicate k is the same grammar or block in all curves, and left out of
            them together; by default where all have equally many.
        grid (`int`, *optional*, defaults to 65): exponents tried before the best is refined.
        stopped_by, step_limited: as in [`collapse_quality`].

    Returns:
        [`CollapseFit`]

    Raises:
        `ValueError`: as there, or where the best a is an end of `x_range`, or a mean without one of the replicates is
            not above the limit.
    """
    confidence = check_confidence(confidence)
    limited = ended(curves, stopped_by, step_limited)
    curves = checked_curves(curves, limit)
    check_left_out(curves, limit)
    logs = log_scales("scales", scales, len(curves))
    if np.ptp(logs) == 0:
        raise ValueError(f"scales={list(scales)} must hold two values at least")
    if len(x_range) != 2 or not (np.isfinite(x_range).all() and x_range[0] < x_range[1]):
        raise ValueError(f"x_range={x_range} must be a finite range, low < high")
    check_number("min_overlap", min_overlap, 0, 1)
    exponents = np.linspace(*x_range, check_integer("grid", grid, 5, 10_000))
    fitter = _Fitter(exponents, y_exponent, min_overlap, limit)
    best = fitter.fit(curves, logs)
    if best.at_end:
        raise ValueError(f"x_range={x_range}: the curves collapse best at its end {best.a:g}; widen it")
    without = [fitter.open_fit(curves[:k] + curves[k + 1 :], np.delete(logs, k)) for k in range(len(curves))]
    intervals = endless((2,))
    if min(len(y) for _, y in curves) >= FEWEST:
        groups = [
            np.array([fitter.open_fit(rest, logs) for rest in group]) for group in _leaving_replicates(curves, paired)
        ]
        intervals = jackknife_interval(np.array([best.a, best.b]), groups, confidence)
        others = np.array([ends for ends in without if ends is not None])
        if len(others):
            intervals = np.stack(
                [np.minimum(intervals[:, 0], others.min(0)), np.maximum(intervals[:, 1], others.max(0))], -1
            )
        if best.pinned:
            intervals[0, int(best.side > 0)], intervals[1] = best.side * np.inf, (-np.inf, np.inf)
    if y_exponent is not None:
        intervals[1] = y_exponent
    quality = collapse_quality(curves, np.exp(best.a * logs), np.exp(best.b * logs), limit)
    quality = Collapse(quality.residual, quality.residual_unscaled, quality.ratio, quality.num_compared, limited)
    left_out = np.array([(np.inf, np.inf) if ends is None else ends for ends in without])
    x_interval, y_interval = (tuple(map(float, interval)) for interval in intervals)
    return CollapseFit(best.a, best.b, x_interval, y_interval, quality, best.pinned, left_out, best.scan)


def check_left_out(curves: list[tuple], limit: float) -> None:
    """Means without one of the replicates need a logarithm, too."""
    for number, (x, y) in enumerate(curves):
        if len(y) >= FEWEST:
            rest = (y.sum(0) - y) / (len(y) - 1)
            if (rest <= limit).any():
                at = x[np.flatnonzero((rest <= limit).any(0))[0]]
                raise ValueError(
                    f"limit={limit:g}: curves[{number}] comes down to it at x={at:g} without one of its replicates; "
                    "take a lower limit, or leave such points out"
                )


def _leaving_replicates(curves: list[tuple], paired: bool | None) -> list[list[list[tuple]]]:
    """Groups of the curves without one replicate: of all curves at once, or of one curve after the other."""
    counts = [len(y) for _, y in curves]
    if paired and len(set(counts)) > 1:
        raise ValueError(f"paired=True: curves have {counts} replicates, and paired ones are equally many")
    if paired or (paired is None and len(set(counts)) == 1):
        return [[[(x, np.delete(y, k, 0)) for x, y in curves] for k in range(counts[0])]]
    return [
        [[*curves[:i], (x, np.delete(y, k, 0)), *curves[i + 1 :]] for k in range(len(y))]
        for i, (x, y) in enumerate(curves)
    ]


@dataclass(frozen=True)
class _Best:
    """a and b; whether they lie at an end of the range, or are pinned, and to which side the cost still falls."""

    a: float
    b: float
    at_end: bool
    pinned: bool
    side: int
    scan: CollapseScan


class _Fitter:
    """Finds the best exponents of curves on a grid, and refines them."""

    def __init__(self, exponents: np.ndarray, y_exponent: float | None, min_overlap: float, limit: float):
        self.exponents, self.y_exponent, self.min_overlap, self.limit = exponents, y_exponent, min_overlap, limit

    def fit(self, curves: list[tuple], scales: np.ndarray) -> _Best:
        """Of curves with logarithms of their scales."""
        from scipy.optimize import minimize_scalar

        cost = _Cost(mean_logs(curves, self.limit), scales, self.y_exponent)
        found = np.array([cost(a) for a in self.exponents])
        if not found[:, 2].max() > 0:
            ends = self.exponents[0], self.exponents[-1]
            raise ValueError(f"x_range={ends}: at no exponent in it do two curves share a rescaled x")
        overlaps = found[:, 2] / found[:, 2].max()
        scan = CollapseScan(self.exponents, found[:, 0], found[:, 1], overlaps)
        counts = overlaps >= self.min_overlap
        best = int(np.argmin(np.where(counts, found[:, 0], np.inf)))
        at_end = best in (0, len(counts) - 1)
        around = [] if at_end else [k for k in (best - 1, best + 1) if not counts[k]]
        lower = [k for k in around if found[k, 0] < found[best, 0]]
        a = float(self.exponents[best])
        if not at_end and not lower:
            low, high = (self.exponents[best if k in around else k] for k in (best - 1, best + 1))
            refined = minimize_scalar(lambda a: cost(a)[0], bounds=(low, high), method="bounded")
            a = float(refined.x) if refined.fun < found[best, 0] else a
        side = 0 if not lower else 1 if lower[0] > best else -1
        return _Best(a, float(cost(a)[1]), at_end, bool(lower), side, scan)

    def open_fit(self, curves: list[tuple], scales: np.ndarray) -> tuple[float, float] | None:
        """a and b, infinite to the side where the curves do not decide them; None where they cannot be compared."""
        if len(curves) < 2 or np.ptp(scales) == 0:
            return None
        try:
            best = self.fit(curves, scales)
        except ValueError:  # they share no rescaled x
            return None
        if best.at_end:
            return (np.inf if best.a == self.exponents[-1] else -np.inf), best.b
        return (best.side * np.inf if best.pinned else best.a), best.b


class _Cost:
    """The cost of an exponent a of x: it, the best b, and the overlap."""

    def __init__(self, logs: list[tuple], scales: np.ndarray, y_exponent: float | None):
        from scipy.interpolate import PchipInterpolator

        self.lines = [PchipInterpolator(x, y) for x, y in logs]
        self.ends = np.array([(x[0], x[-1]) for x, _ in logs])
        self.scales, self.y_exponent = scales, y_exponent
        self.pairs = np.array(list(combinations(range(len(logs)), 2)))

    def __call__(self, a: float) -> tuple[float, float, float]:
        shifted = self.ends - a * self.scales[:, None]
        low, high = (pick(shifted[self.pairs, k], 1) for pick, k in ((np.max, 0), (np.min, 1)))
        shared = high > low
        if not shared.any():
            return np.inf, 0.0, 0.0
        pairs, lengths = self.pairs[shared], (high - low)[shared]
        places = low[shared, None] + lengths[:, None] * (np.arange(NODES) + 0.5) / NODES
        heights = np.empty((2, *places.shape))
        for side in range(2):
            for curve in np.unique(pairs[:, side]):
                mine = pairs[:, side] == curve
                heights[side, mine] = self.lines[curve](places[mine] + a * self.scales[curve])
        distances, lever = heights[0] - heights[1], self.scales[pairs[:, 0]] - self.scales[pairs[:, 1]]
        weights = lengths / lengths.sum()
        norm = weights @ lever**2
        b = self.y_exponent
        if b is None:
            b = float(weights @ (distances.mean(1) * lever) / norm) if norm else 0.0
        cost = weights @ ((distances - b * lever[:, None]) ** 2).mean(1)
        return float(cost), b, float(lengths.sum())
