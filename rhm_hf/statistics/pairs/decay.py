"""What is read off a correlation function: its exponent and the range up to which it exceeds the noise."""

from dataclasses import dataclass

import numpy as np

from ...checks import checked
from ..intervals import jackknife_interval, sub_ranges


@dataclass(frozen=True)
class PowerLawFit:
    """C~ = amplitude t^-exponent over t_min <= t <= t_max.

    Attributes:
        exponent (`float`): β.
        interval (`tuple[float, float]`): of β: what both the finite corpus and the choice of range leave open, from
            the lower to the upper end of `statistical_interval` and `range_exponents`.
        amplitude (`float`): C~ at t = 1 of the fit.
        t_min, t_max (`int`): the range asked for.
        distances (`np.ndarray`): the distances in it that were used.
        statistical_interval (`tuple[float, float]`): of the slope in this very range, by a jackknife over blocks and
            Student's t; infinite where there were fewer than four blocks.
        range_exponents (`tuple[float, float]`): the smallest and the largest β of fits to parts of the range that are
            at least half as long in log t, of three distances or more.
    """

    exponent: float
    interval: tuple[float, float]
    amplitude: float
    t_min: int
    t_max: int
    distances: np.ndarray
    statistical_interval: tuple[float, float]
    range_exponents: tuple[float, float]


@dataclass(frozen=True)
class EffectiveContextCurve:
    """t*(P).

    Attributes:
        sizes (`np.ndarray`): P.
        contexts (`np.ndarray`): t*, tokens; 0 where no distance exceeds the noise.
        is_bound (`np.ndarray`): where t* is only a lower bound, the largest distance measured.
        dynamic_exponent (`float`): z in t* ~ P^(1/z), by least squares in logarithms over the sizes whose t* is above
            the smallest distance and no bound; infinite where t* does not grow, or fewer than two such sizes remain.
        intervals (`np.ndarray`): `(sizes, 2)`, of t* at 95 %, by blocks; 0 to infinity where they are not known.
    """

    sizes: np.ndarray
    contexts: np.ndarray
    is_bound: np.ndarray
    dynamic_exponent: float
    intervals: np.ndarray


def last_above(distances: np.ndarray, signal: np.ndarray, noise: np.ndarray) -> tuple[float, bool]:
    """The last t up to which signal > noise throughout, interpolated in log t, and whether it is a lower bound."""
    excess = signal - noise
    below = np.flatnonzero(excess <= 0)
    if not len(below):
        return float(distances[-1]), True
    if (first := below[0]) == 0:
        return 0.0, False
    fraction = excess[first - 1] / (excess[first - 1] - excess[first])
    low, high = np.log(distances[first - 1 : first + 1])
    return float(np.exp(low + fraction * (high - low))), False


def context_interval(
    distances: np.ndarray, signal: np.ndarray, intervals: np.ndarray, noise: np.ndarray
) -> tuple[float, float]:
    """t* by the lower and by the upper ends of intervals `(distances, 2)` of the signal, which they may not hold."""
    low = last_above(distances, np.minimum(signal, intervals[:, 0]), noise)[0]
    if not np.isfinite(intervals).all():
        return low, np.inf
    high, is_bound = last_above(distances, np.maximum(signal, intervals[:, 1]), noise)
    return low, np.inf if is_bound else high


@checked
def context_curve(
    distances: np.ndarray,
    signal: np.ndarray,
    sizes: np.ndarray,
    noise: np.ndarray,
    signal_intervals: np.ndarray | None = None,
) -> EffectiveContextCurve:
    """t*(P) of a signal `(distances,)`, with its intervals `(distances, 2)` where it has, against noise^2 `(sizes,
    distances)`."""
    distances, signal, sizes, noise = (np.asarray(array, float) for array in (distances, signal, sizes, noise))
    if not len(distances) or signal.shape != distances.shape:
        raise ValueError(
            f"distances and signal have shapes {distances.shape} and {signal.shape}: both must be (T,), T > 0"
        )
    if sizes.ndim != 1 or noise.shape not in ((len(sizes), len(distances)), (len(sizes),)) or not len(sizes):
        raise ValueError(
            f"sizes and noise have shapes {sizes.shape} and {noise.shape}: they must be (n,) and (n, T), n > 0"
        )
    if not (sizes > 0).all() or not np.isfinite(sizes).all():
        raise ValueError("sizes must hold finite numbers above 0")
    contexts, is_bound = np.array([last_above(distances, signal, row) for row in noise]).T
    intervals = None
    if signal_intervals is not None:
        ends = np.asarray(signal_intervals, float)
        if ends.shape != (len(distances), 2):
            raise ValueError(f"signal_intervals has shape {ends.shape}: it must be ({len(distances)}, 2)")
        rows = (np.broadcast_to(row, signal.shape) for row in noise)
        intervals = np.array([context_interval(distances, signal, ends, row) for row in rows])
    return curve_of(sizes, contexts, is_bound.astype(bool), distances[0], intervals)


def curve_of(
    sizes: np.ndarray,
    contexts: np.ndarray,
    is_bound: np.ndarray,
    smallest: int,
    intervals: np.ndarray | None = None,
) -> EffectiveContextCurve:
    """The curve through measured t*, with z fitted where they are above the smallest distance and no bounds."""
    usable = ~is_bound & (contexts > smallest)
    slope = 0.0
    if len(np.unique(sizes[usable])) > 1:
        slope = np.polyfit(np.log(sizes[usable]), np.log(contexts[usable]), 1)[0]
    if intervals is None:
        intervals = np.tile([0.0, np.inf], (len(sizes), 1))
    return EffectiveContextCurve(sizes, contexts, is_bound, float(1 / slope) if slope > 0 else np.inf, intervals)


def power_law(
    distances: np.ndarray,
    signal: np.ndarray,
    stderr: np.ndarray,
    left_out: list[np.ndarray],
    t_min: int,
    t_max: int,
    confidence: float,
    shrink: float = 1.0,
) -> PowerLawFit:
    """Fits sqrt(signal) ~ t^-β.

    A distance weighs one over the variance of ln U, plus the variance of the residuals of an unweighted fit: where
    departures from a power law exceed statistical errors, all distances count alike.

    Args:
        distances, signal, stderr (`np.ndarray`): t, U_t > 0 and its errors (infinite where unknown).
        left_out (`list[np.ndarray]`): of each half, U_t with one block left out at a time, `(blocks, distances)`; an
            empty list where there are too few blocks.
        t_min, t_max, confidence: see [`PowerLawFit`].
        shrink (`float`, *optional*, defaults to 1): factor of the error, of a sample of a finite population.
    """
    x, y = np.log(distances), np.log(signal)
    misfit = np.var(y - np.polyval(np.polyfit(x, y, 1), x)) + 1e-12
    weights = np.ones(len(x))
    if np.isfinite(stderr).all():
        weights = 1 / ((stderr / signal) ** 2 + misfit)
    slope, intercept = _line(x, signal, weights)
    beta, statistical = float(-slope / 2), (-np.inf, np.inf)
    replicates = [[_exponent(x, row, weights) for row in half] for half in left_out]
    known = [np.array([value for value in half if value is not None]) for half in replicates]
    if known and all(2 * len(half) > len(rows) for half, rows in zip(known, left_out, strict=True)):
        statistical = tuple(map(float, jackknife_interval(beta, known, confidence, shrink)))
    others = [-_line(x[part], signal[part], weights[part])[0] / 2 for part in sub_ranges(x)]
    by_range = min([beta, *others]), max([beta, *others])
    interval = min(statistical[0], by_range[0]), max(statistical[1], by_range[1])
    return PowerLawFit(
        beta, interval, float(np.exp(intercept / 2)), t_min, t_max, distances, statistical, tuple(map(float, by_range))
    )


def _exponent(x: np.ndarray, signal: np.ndarray, weights: np.ndarray) -> float | None:
    """Of the distances whose signal is positive; None of fewer than two."""
    kept = signal > 0
    return float(-_line(x[kept], signal[kept], weights[kept])[0] / 2) if kept.sum() > 1 else None


def _line(x: np.ndarray, signal: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope and intercept of ln(signal) against x."""
    return np.polyfit(x, np.log(signal), 1, w=np.sqrt(weights))
