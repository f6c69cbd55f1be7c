"""How well curves of several parameters fall on one another after their axes are rescaled.

The measure is that of Bhattacharjee and Seno (J. Phys. A 34, 6375, 2001), with q = 2 and in logarithms: every curve in
turn is joined by lines, and the points of all others that lie in its range of x are compared with them. In logarithms
it does not shrink with the unit of y.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import check_number, checked
from .endings import count_step_limited


@dataclass(frozen=True)
class Collapse:
    """A data collapse.

    Attributes:
        residual (`float`): mean squared distance of ln y of a point to the other curves at the same rescaled x; 0 for
            a collapse without noise (and without curvature between points).
        residual_unscaled (`float` or `None`): the same of the curves as they are; `None` where they share no x.
        ratio (`float` or `None`): residual / residual_unscaled: well below 1 where rescaling collapses the curves.
        num_compared (`int`): pairs of a point and another curve, rescaled.
        num_step_limited (`int` or `None`): runs that their step limit ended; None where that was not said.
    """

    residual: float
    residual_unscaled: float | None
    ratio: float | None
    num_compared: int
    num_step_limited: int | None = None


@checked
def collapse_quality(
    curves: Sequence[tuple[Any, ...]],
    x_scales: Sequence[float],
    y_scales: Sequence[float] | None = None,
    limit: float = 0.0,
    stopped_by: Sequence[Any] | None = None,
    step_limited: str = "refuse",
) -> Collapse:
    """How well curves y_i(x) collapse after x -> x / x_i and y -> (y - limit) / y_i.

    For example classification errors against P / (n_c m^L), L t^(αz) against P / t^z, or of a text, the shifted
    collapse (L_n - H_inf) n^γ against P / n^(2β): x_i = n^(2β), y_i = n^-γ, limit = H_inf.

    Args:
        curves (`Sequence[tuple]`): pairs (x, y) with x increasing `(points,)` and y > 0 `(points,)` or
            `(replicates, points)`, whose mean is taken. Lengths may differ.
        x_scales (`Sequence[float]`): x_i > 0, one a curve.
        y_scales (`Sequence[float]`, *optional*): y_i > 0; by default 1.
        limit (`float`, *optional*, defaults to 0.0): what is subtracted from all y, below each of their means.
        stopped_by (`Sequence`, *optional*): of every curve, what ended the run of each of its points, in the shape of
            its y; see [`LearningCurves`].
        step_limited (`str`, *optional*, defaults to `"refuse"`): what becomes of runs that their step limit ended.

    Raises:
        `ValueError`: for fewer than two curves, values that have no logarithm, curves that share no rescaled x, or
            runs that their step limit ended.
    """
    limited = ended(curves, stopped_by, step_limited)
    curves = checked_curves(curves, limit)
    x_scales = log_scales("x_scales", x_scales, len(curves))
    y_scales = np.zeros(len(curves)) if y_scales is None else log_scales("y_scales", y_scales, len(curves))
    logs = mean_logs(curves, limit)
    distances, first, second = _distances(logs, x_scales)
    if not len(distances):
        raise ValueError("x_scales leave the curves no x in common: measure wider ranges, or other scales")
    residual = float(np.mean((distances - y_scales[first] + y_scales[second]) ** 2))
    plain = _distances(logs, np.zeros(len(curves)))[0]
    unscaled = float(np.mean(plain**2)) if len(plain) else None
    return Collapse(residual, unscaled, residual / unscaled if unscaled else None, len(distances), limited)


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


def ended(curves: Sequence[tuple[Any, ...]], stopped_by: Sequence[Any] | None, step_limited: str) -> int | None:
    """How many runs their step limit ended, of all curves; see [`count_step_limited`]."""
    if stopped_by is None:
        return count_step_limited(None, (), step_limited)
    if len(stopped_by) != len(curves):
        raise ValueError(f"stopped_by is of {len(stopped_by)} curves: give the endings of each of {len(curves)}")
    counts = [count_step_limited(e, np.shape(y), step_limited) for (_, y), e in zip(curves, stopped_by, strict=True)]
    return None if None in counts else sum(counts)


def mean_logs(curves: list[tuple[Any, ...]], limit: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logarithms of x and of the mean of y above the limit."""
    return [(np.log(x), np.log(y.mean(0) - limit)) for x, y in curves]


def log_scales(name: str, scales: Sequence[float], num: int) -> np.ndarray:
    """Logarithms of scales."""
    scales = np.asarray(scales, dtype=np.float64)
    if scales.shape != (num,) or not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError(f"{name}={scales.tolist()} must be positive and finite, one for each of {num} curves")
    return np.log(scales)


def checked_curves(curves: Sequence[tuple[Any, ...]], limit: float = 0.0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Curves as x `(points,)` and y `(replicates, points)`."""
    check_number("limit", limit, -sys.float_info.max)
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
        if not (np.isfinite(y).all() and (y.mean(0) > limit).all() and (limit != 0 or (y > 0).all())):
            raise ValueError(
                f"curves[{number}]: y must be finite and above {limit:g}, the limit; leave out other points"
            )
        checked.append((x, y))
    return checked
