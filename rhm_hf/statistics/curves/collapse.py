"""How well curves of several parameters fall on one another after their axes are rescaled.

The measure is that of Bhattacharjee and Seno (J. Phys. A 34, 6375, 2001), with q = 2 and in logarithms: every curve in
turn is joined by lines, and the points of all others that lie in its range of x are compared with them. In logarithms
it does not shrink with the unit of y.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import FEWEST, check_bootstrap, endless, percentile_interval, resampled_rows


GRID = 65  # exponents tried before the best is refined
GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Collapse:
    """A data collapse.

    Attributes:
        residual (`float`): mean squared distance of ln y of a point to the other curves at the same rescaled x; 0 for
            a collapse without noise (and without curvature between points).
        residual_unscaled (`float` or `None`): the same of the curves as they are; `None` where they share no x.
        ratio (`float` or `None`): residual / residual_unscaled: well below 1 where rescaling collapses the curves.
        num_compared (`int`): pairs of a point and another curve, rescaled.
    """

    residual: float
    residual_unscaled: float | None
    ratio: float | None
    num_compared: int


@dataclass(frozen=True)
class CollapseFit:
    """The exponents of y_i(x) = t_i^b F(x / t_i^a).

    Attributes:
        x_exponent, y_exponent (`float`): a and b.
        x_interval, y_interval (`tuple[float, float]`): by bootstrap of replicates; infinite without enough of them,
            and (b, b) for a b that was given.
        collapse ([`Collapse`]): its quality.
    """

    x_exponent: float
    y_exponent: float
    x_interval: tuple[float, float]
    y_interval: tuple[float, float]
    collapse: Collapse


def collapse_quality(
    curves: Sequence[tuple], x_scales: Sequence[float], y_scales: Sequence[float] | None = None
) -> Collapse:
    """How well curves y_i(x) collapse after x -> x / x_i and y -> y / y_i.

    For example classification errors against P / (n_c m^L), or L t^(αz) against P / t^z.

    Args:
        curves (`Sequence[tuple]`): pairs (x, y) with x increasing `(points,)` and y > 0 `(points,)` or
            `(replicates, points)`, whose mean is taken. Lengths may differ.
        x_scales (`Sequence[float]`): x_i > 0, one a curve.
        y_scales (`Sequence[float]`, *optional*): y_i > 0; by default 1.

    Raises:
        `ValueError`: for fewer than two curves, values that have no logarithm, or curves that share no rescaled x.
    """
    curves = _checked(curves)
    x_scales = _scales("x_scales", x_scales, len(curves))
    y_scales = np.zeros(len(curves)) if y_scales is None else _scales("y_scales", y_scales, len(curves))
    logs = _mean_logs(curves)
    distances, first, second = _distances(logs, x_scales)
    if not len(distances):
        raise ValueError("x_scales leave the curves no x in common: measure wider ranges, or other scales")
    residual = float(np.mean((distances - y_scales[first] + y_scales[second]) ** 2))
    plain = _distances(logs, np.zeros(len(curves)))[0]
    unscaled = float(np.mean(plain**2)) if len(plain) else None
    return Collapse(residual, unscaled, residual / unscaled if unscaled else None, len(distances))


def fit_collapse(
    curves: Sequence[tuple],
    scales: Sequence[float],
    x_range: tuple[float, float],
    y_exponent: float | None = None,
    resamples: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> CollapseFit:
    """The exponents at which y / t^b against x / t^a collapses best.

    For L(P, t) = t^(-αz) F(P / t^z): a = z and b = -αz. Where F is flat or a power law over the whole range, a and b
    cannot be told apart; the intervals then show it.

    Args:
        curves (`Sequence[tuple]`): as in [`collapse_quality`].
        scales (`Sequence[float]`): t_i > 0, two values of them at least.
        x_range (`tuple[float, float]`): where a is sought. Exponents that leave less than half of the largest number
            of comparisons in it do not count: curves pulled apart always agree.
        y_exponent (`float`, *optional*): b if it is known, e.g. 0; by default it is fitted (for each a it is a linear
            least squares).
        resamples (`int`, *optional*, defaults to 200): bootstraps, drawing replicates of each curve with replacement.
        confidence (`float`, *optional*, defaults to 0.95): of the intervals.
        seed (`int`, *optional*, defaults to 0): of the bootstrap.

    Returns:
        [`CollapseFit`]: with intervals where every curve has four replicates at least.

    Raises:
        `ValueError`: as there, or where the best a is an end of `x_range`.
    """
    check_bootstrap(resamples, confidence)
    curves = _checked(curves)
    log_scales = _scales("scales", scales, len(curves))
    if np.ptp(log_scales) == 0:
        raise ValueError(f"scales={list(scales)} must hold two values at least")
    if not (np.isfinite(x_range).all() and x_range[0] < x_range[1]):
        raise ValueError(f"x_range={x_range} must be a finite range, low < high")
    a, b = _best(_mean_logs(curves), log_scales, x_range, y_exponent)
    if min(a - x_range[0], x_range[1] - a) < 1e-5 * (x_range[1] - x_range[0]):
        raise ValueError(f"x_range={x_range}: the curves collapse best at its end {a:g}; widen it")
    intervals = endless((2,))
    if min(len(y) for _, y in curves) >= FEWEST:
        rng = np.random.default_rng(seed)
        drawn = [resampled_rows(len(y), resamples, rng) for _, y in curves]
        replicates = [
            _best(
                _mean_logs([(x, y[rows[k]]) for (x, y), rows in zip(curves, drawn, strict=True)]),
                log_scales,
                x_range,
                y_exponent,
            )
            for k in range(resamples)
        ]
        intervals = percentile_interval(np.array(replicates), confidence)
    if y_exponent is not None:
        intervals[1] = y_exponent
    quality = collapse_quality(curves, np.exp(a * log_scales), np.exp(b * log_scales))
    x_interval, y_interval = (tuple(map(float, interval)) for interval in intervals)
    return CollapseFit(a, b, x_interval, y_interval, quality)


def _best(logs: list[tuple], log_scales: np.ndarray, x_range, y_exponent: float | None) -> tuple[float, float]:
    """a and b of the smallest residual: the best of a grid, refined between its neighbours."""

    def judge(a: float) -> tuple[float, float, int]:
        distances, first, second = _distances(logs, a * log_scales)
        if not len(distances):
            return np.inf, 0.0, 0
        lever = log_scales[first] - log_scales[second]
        norm = (lever**2).sum()
        b = y_exponent if y_exponent is not None else float((distances * lever).sum() / norm) if norm else 0.0
        return float(np.mean((distances - b * lever) ** 2)), b, len(distances)

    grid = np.linspace(*x_range, GRID)
    found = [judge(a) for a in grid]
    fewest = max(count for _, _, count in found) / 2
    if not fewest:
        raise ValueError(f"x_range={x_range}: at no exponent in it do two curves share a rescaled x")

    def cost(a: float) -> float:
        residual, _, count = judge(a)
        return residual if count >= fewest else np.inf

    best = int(np.argmin([residual if count >= fewest else np.inf for residual, _, count in found]))
    if best in (0, GRID - 1):
        return float(grid[best]), found[best][1]
    a = _golden_section(cost, grid[best - 1], grid[best + 1])
    if cost(a) > found[best][0]:  # the residual jumps where points enter or leave a range
        a = float(grid[best])
    return a, judge(a)[1]


def _golden_section(cost, low: float, high: float) -> float:
    tolerance = 1e-5 * (high - low)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = cost(right)
    return float((low + high) / 2)


def _distances(logs: list[tuple], shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ln y of every point minus that of every other curve at the same shifted ln x; the numbers of both curves."""
    x = np.concatenate([log_x - shift for (log_x, _), shift in zip(logs, shifts, strict=True)])
    y = np.concatenate([log_y for _, log_y in logs])
    owner = np.repeat(np.arange(len(logs)), [len(log_x) for log_x, _ in logs])
    parts = []
    for curve, ((log_x, log_y), shift) in enumerate(zip(logs, shifts, strict=True)):
        line = log_x - shift
        slack = 1e-12 * (1 + np.abs(line).max())  # ends that coincide but for rounding
        inside = (owner != curve) & (x >= line[0] - slack) & (x <= line[-1] + slack)
        distance = y[inside] - np.interp(x[inside], line, log_y)
        parts.append((distance, owner[inside], np.full(len(distance), curve)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _mean_logs(curves: list[tuple]) -> list[tuple]:
    return [(np.log(x), np.log(y.mean(0))) for x, y in curves]


def _scales(name: str, scales: Sequence[float], num: int) -> np.ndarray:
    """Logarithms of scales."""
    scales = np.asarray(scales, dtype=np.float64)
    if scales.shape != (num,) or not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError(f"{name}={scales.tolist()} must be positive and finite, one for each of {num} curves")
    return np.log(scales)


def _checked(curves: Sequence[tuple]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Curves as x `(points,)` and y `(replicates, points)`."""
    if len(curves) < 2:
        raise ValueError(f"curves holds {len(curves)}: a collapse needs two at least")
    checked = []
    for number, (x, y) in enumerate(curves):
        x, y = np.asarray(x, dtype=np.float64), np.atleast_2d(np.asarray(y, dtype=np.float64))
        if x.ndim != 1 or len(x) < 2 or y.ndim != 2 or y.shape[1] != len(x):
            raise ValueError(
                f"curves[{number}] has x of shape {x.shape} and y of shape {y.shape}: x must be (points,), two at "
                "least, and y (points,) or (replicates, points)"
            )
        if not (np.isfinite(x).all() and x[0] > 0 and (np.diff(x) > 0).all()):
            raise ValueError(f"curves[{number}]: x={x.tolist()} must be positive, finite and increasing")
        if not (np.isfinite(y) & (y > 0)).all():
            raise ValueError(f"curves[{number}]: y must be finite and above 0; leave out the points where it is not")
        checked.append((x, y))
    return checked
