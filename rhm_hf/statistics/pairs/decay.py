"""What is read off a correlation function: its exponent and the range up to which it exceeds the noise."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerLawFit:
    """C~ = amplitude t^-exponent over t_min <= t <= t_max.

    Attributes:
        exponent (`float`): β.
        interval (`tuple[float, float]`): of β, from the quantiles of a bootstrap over blocks; infinite where there
            were fewer than four blocks.
        amplitude (`float`): C~ at t = 1 of the fit.
        t_min, t_max (`int`): the range asked for.
        distances (`np.ndarray`): the distances in it that were used.
    """

    exponent: float
    interval: tuple[float, float]
    amplitude: float
    t_min: int
    t_max: int
    distances: np.ndarray


@dataclass(frozen=True)
class EffectiveContextCurve:
    """t*(P).

    Attributes:
        sizes (`np.ndarray`): P.
        contexts (`np.ndarray`): t*, tokens; 0 where no distance exceeds the noise.
        is_bound (`np.ndarray`): where t* is only a lower bound, the largest distance measured.
        dynamic_exponent (`float`): z in t* ~ P^(1/z), by least squares in logarithms over the sizes whose t* is above
            the smallest distance and no bound; infinite where t* does not grow, or fewer than two such sizes remain.
    """

    sizes: np.ndarray
    contexts: np.ndarray
    is_bound: np.ndarray
    dynamic_exponent: float


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


def context_curve(distances, signal, sizes, noise) -> EffectiveContextCurve:
    """t*(P) of a signal `(distances,)` against noise^2 `(sizes, distances)`."""
    contexts, is_bound = np.array([last_above(distances, signal, row) for row in noise]).T
    return curve_of(sizes, contexts, is_bound.astype(bool), distances[0])


def curve_of(sizes, contexts, is_bound, smallest: int) -> EffectiveContextCurve:
    """The curve through measured t*, with z fitted where they are above the smallest distance and no bounds."""
    usable = ~is_bound & (contexts > smallest)
    slope = 0.0
    if len(np.unique(sizes[usable])) > 1:
        slope = np.polyfit(np.log(sizes[usable]), np.log(contexts[usable]), 1)[0]
    return EffectiveContextCurve(sizes, contexts, is_bound, float(1 / slope) if slope > 0 else np.inf)


def power_law(distances, signal, replicates, t_min: int, t_max: int, confidence: float) -> PowerLawFit:
    """Fits sqrt(signal) ~ t^-β; replicates `(resamples, distances)` of the signal give weights and interval.

    A distance weighs one over the variance of ln U, plus the variance of the residuals of an unweighted fit: where
    departures from a power law exceed statistical errors, all distances count alike.
    """
    x, y = np.log(distances), np.log(signal)
    misfit = np.var(y - np.polyval(np.polyfit(x, y, 1), x)) + 1e-12
    weights = 1 / (replicates.var(0) / signal**2 + misfit) if len(replicates) else np.ones(len(x))
    exponents = [
        -_line(x[row > 0], row[row > 0], weights[row > 0])[0] / 2 for row in replicates if (row > 0).sum() > 1
    ]
    interval = (-np.inf, np.inf)
    if len(exponents) > len(replicates) / 2:
        tail = (1 - confidence) / 2
        low, high = np.quantile(exponents, [tail, 1 - tail])
        interval = float(low), float(high)
    slope, intercept = _line(x, signal, weights)
    return PowerLawFit(float(-slope / 2), interval, float(np.exp(intercept / 2)), t_min, t_max, distances)


def _line(x: np.ndarray, signal: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slope and intercept of ln(signal) against x."""
    return np.polyfit(x, np.log(signal), 1, w=np.sqrt(weights))
