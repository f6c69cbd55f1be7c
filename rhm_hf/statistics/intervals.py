"""Intervals of what is read off curves and corpora: the jackknife with Student's t, over grammars, runs or blocks.

A percentile bootstrap of n curves is narrower than it says by about sqrt(1 - 1/n) and by what Student's t is wider
than the normal law: at 95 % it covered 80 % with 4 grammars. The jackknife's standard error with t quantiles has
neither fault (Efron and Tibshirani, An Introduction to the Bootstrap, chapter 11); `benchmarks/coverage.py` measures
it.
"""

from collections.abc import Sequence

import numpy as np

from ..checks import check_number


FEWEST = 3  # below three curves an interval is as wide as no interval


def check_confidence(confidence: float) -> float:
    """A confidence strictly between 0 and 1."""
    number = check_number("confidence", confidence, 0, 1)
    if number in (0, 1):
        raise ValueError(f"confidence={confidence} must lie between 0 and 1, e.g. 0.95")
    return number


def student(confidence: float, freedom: float | np.ndarray) -> float | np.ndarray:
    """The two-sided quantile of Student's t."""
    from scipy.stats import t  # here: it takes a second, and few need it

    found = t.ppf((1 + confidence) / 2, freedom)
    return found if np.ndim(found) else float(found)


def share_interval(share: float, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where a probability lies of which `share` of `num` independent trials is an estimate: Wilson's score interval.

    The standard error of a share is 0 where all or none of the trials succeeded, however few they were.
    """
    z = student(check_confidence(confidence), np.inf)
    middle = (share + z**2 / (2 * num)) / (1 + z**2 / num)
    reach = z * np.sqrt(share * (1 - share) / num + z**2 / (4 * num**2)) / (1 + z**2 / num)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return (0.0 if share == 0 else float(low)), (1.0 if share == 1 else float(high))


def jackknife_interval(
    estimate: np.ndarray | float, groups: Sequence[np.ndarray], confidence: float, shrink: float = 1.0
) -> np.ndarray:
    """Estimate -/+ t sqrt(variance), the variance from leaving one out at a time.

    Args:
        estimate: of everything, of any shape.
        groups (`Sequence[np.ndarray]`): independent groups of independent members: `(members, *shape)`, the estimate
            without each member in turn; two members at least. An infinite one, where the estimate does not exist
            without that member, opens the interval on its side.
        confidence (`float`): of the interval.
        shrink (`float`, *optional*, defaults to 1): factor of the standard error, of finite populations.

    Returns:
        `np.ndarray`: `(*shape, 2)`; degrees of freedom after Welch and Satterthwaite.
    """
    estimate, variances, freedoms, above, below = np.asarray(estimate, dtype=np.float64), [], [], False, False
    for group in groups:
        group = np.asarray(group, dtype=np.float64)
        known = np.isfinite(group)
        above, below = above | (group == np.inf).any(0), below | (group == -np.inf).any(0)
        count = known.sum(0)
        finite, safe = np.where(known, group, 0), np.maximum(count, 1)
        squares = np.where(known, (finite - finite.sum(0) / safe) ** 2, 0)
        variances.append((count - 1) / safe * squares.sum(0))
        freedoms.append(np.maximum(count - 1, 1))
    variances, freedoms = np.array(variances), np.array(freedoms)
    total = variances.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = total**2 / (variances**2 / freedoms).sum(0)
    freedom = np.where(total > 0, freedom, freedoms.sum(0))
    reach = shrink * student(confidence, freedom) * np.sqrt(total)
    low = np.where(below | ~np.isfinite(estimate), -np.inf, estimate - reach)
    high = np.where(above | ~np.isfinite(estimate), np.inf, estimate + reach)
    return np.stack([low, high], -1)


def leaving_out(values: np.ndarray) -> np.ndarray:
    """Means `(members, ..)` of values `(members, ..)` without each member in turn."""
    return (values.sum(0) - values) / (len(values) - 1)


def endless(shape: tuple[int, ...]) -> np.ndarray:
    """The interval `(.., 2)` where there are too few curves."""
    return np.broadcast_to(np.array([-np.inf, np.inf]), (*shape, 2)).copy()


def sub_ranges(x: np.ndarray, fewest: int = 3) -> list[slice]:
    """The choices of a smaller range of a fit: at least half as long as that of x, with `fewest` points or more."""
    return [
        slice(low, high)
        for low in range(len(x))
        for high in range(low + fewest, len(x) + 1)
        if 2 * (x[high - 1] - x[low]) >= (x[-1] - x[0]) * (1 - 1e-12) and high - low < len(x)
    ]
