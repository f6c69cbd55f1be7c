"""Where a learning curve L(P) takes its steps: half way between two plateaus, which are exact and never fitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ...checks import OwnCheck, checked
from ..intervals import FEWEST, check_confidence, endless, jackknife_interval, leaving_out
from .endings import count_step_limited


@dataclass(frozen=True)
class HalfWayPoints:
    """Where the curves of an ensemble take their steps, ℓ = 1..L along the last axis.

    Attributes:
        points (`np.ndarray`): `(grammars, L)`, from [`half_way_points`].
        mean (`np.ndarray`): `(L,)`, geometric mean over grammars. A grammar whose step lies outside the range of P
            counts with the nearest end of it, so that the mean is then an upper bound (`num_before`) or a lower one
            (`num_beyond`): see `bound`.
        interval (`np.ndarray`): `(L, 2)`, of the mean, by Student's t in log P; 0 to infinity with fewer than three
            grammars, and open on the side where the mean is only a bound.
        num_before, num_beyond (`np.ndarray`): `(L,)`, grammars whose step lies below and above the range.
        num_step_limited (`int` or `None`): runs that their step limit ended; None where that was not said.
    """

    points: np.ndarray
    mean: np.ndarray
    interval: np.ndarray
    num_before: np.ndarray
    num_beyond: np.ndarray
    num_step_limited: int | None

    @property
    def bound(self) -> list[str]:
        """What the mean of every step is: a measurement (`""`), a bound (`"<="`, `">="`), or neither (`"?"`)."""
        kinds = {(False, False): "", (True, False): "<=", (False, True): ">=", (True, True): "?"}
        pairs = zip(self.num_before > 0, self.num_beyond > 0, strict=True)
        return [kinds[bool(before), bool(beyond)] for before, beyond in pairs]

    def rows(self) -> list[dict[str, float | int | str]]:
        """One row a step for a CSV file, in which a bound stays a bound: columns `level`, `half_way`, `bound`, `low`,
        `high`, `grammars`, `num_before`, `num_beyond`, `num_step_limited` (empty where it is not known)."""
        limited = "" if self.num_step_limited is None else self.num_step_limited
        return [
            {
                "level": level,
                "half_way": float(self.mean[level - 1]),
                "bound": bound,
                "low": float(self.interval[level - 1, 0]),
                "high": float(self.interval[level - 1, 1]),
                "grammars": len(self.points),
                "num_before": int(self.num_before[level - 1]),
                "num_beyond": int(self.num_beyond[level - 1]),
                "num_step_limited": limited,
            }
            for level, bound in enumerate(self.bound, 1)
        ]


@checked
def last_crossing(sizes: Sequence[float], values: Sequence[float], threshold: float) -> float:
    """The P from which a falling curve stays at or below a threshold, linear in the value against log P.

    It is the last time the curve comes from above: noise that dips below and returns has not taken the step yet.
    (For a curve that rises, pass the negatives of values and threshold.)

    Args:
        sizes (`Sequence[float]`): P, increasing, `(sizes,)`.
        values (`Sequence[float]`): at them.
        threshold (`float`): the value crossed.

    Returns:
        `float`: P; 0 where the curve is at or below the threshold from the smallest P on (P is then at most that one),
        `inf` where it is above at the largest (P is then beyond it).
    """
    sizes = checked_sizes(sizes)
    values = checked_losses(sizes, values, "values")
    if values.ndim > 1:
        raise ValueError(f"values of shape {values.shape} must be those of one curve, (sizes,)")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold={threshold} must be finite")
    return _last_crossing(sizes, values - threshold)


@checked
def half_way_points(sizes: Sequence[float], losses: np.ndarray, plateaus: np.ndarray) -> np.ndarray:
    """The P at which a learning curve is half way between plateaus L_(ℓ-1) and L_ℓ, ℓ = 1..L: its steps.

    Args:
        sizes (`Sequence[float]`): P, increasing, `(sizes,)`.
        losses: at them, `(sizes,)` or `(grammars, sizes)`; nats, or any unit that the plateaus share.
        plateaus: the exact L_0 > L_1 > .. > L_L, `(L+1,)`, or each grammar's own, `(grammars, L+1)`.

    Returns:
        `np.ndarray`: `(L,)` or `(grammars, L)`, as [`last_crossing`] gives them: 0 where the step lies before the
        smallest P, `inf` where it is not taken up to the largest.

    Raises:
        `ValueError`: for sizes that do not increase, plateaus that do not fall, or values that are not finite.
    """
    sizes = checked_sizes(sizes)
    losses = checked_losses(sizes, losses)
    plateaus = np.atleast_1d(np.asarray(plateaus, dtype=np.float64))
    if plateaus.shape[-1] < 2 or plateaus.shape[:-1] not in ((), losses.shape[:-1]):
        raise ValueError(
            f"plateaus of shape {plateaus.shape} do not fit losses of shape {losses.shape}: give (L+1,) of all curves "
            "or one row a curve, with L_0 and L_1 at least"
        )
    if not (np.isfinite(plateaus).all() and (np.diff(plateaus) < 0).all()):
        raise ValueError(f"plateaus={plateaus.tolist()} must be finite and fall, L_0 > L_1 > .. > L_L")
    middles = (plateaus[..., :-1] + plateaus[..., 1:]) / 2
    middles = np.broadcast_to(middles, (*losses.shape[:-1], middles.shape[-1]))
    curves, rows = losses.reshape(-1, len(sizes)), middles.reshape(-1, middles.shape[-1])
    found = [[_last_crossing(sizes, curve - m) for m in row] for curve, row in zip(curves, rows, strict=True)]
    return np.array(found).reshape(middles.shape)


@checked
def num_steps(plateaus: np.ndarray) -> int:
    """How many levels, from the first on, tell something new in every grammar: with few synonyms the highest may not.

    Args:
        plateaus (`np.ndarray`): `(grammars, L+1)`, L_0 .. L_L, nats.

    Returns:
        `int`: the steps that a curve can take, 0 to L; [`mean_half_way_points`] takes the plateaus up to there.
    """
    falls = (np.diff(plateaus) < -1e-9).all(0)
    return len(falls) if falls.all() else int(falls.argmin())


@checked
def mean_half_way_points(
    sizes: Sequence[float],
    losses: np.ndarray,
    plateaus: np.ndarray,
    confidence: float = 0.95,
    stopped_by: Annotated[np.ndarray | None, OwnCheck()] = None,
    step_limited: str = "refuse",
) -> HalfWayPoints:
    """[`half_way_points`] of several grammars, their geometric mean and its interval.

    Args:
        sizes, losses, plateaus: as there, with losses `(grammars, sizes)`.
        confidence (`float`, *optional*, defaults to 0.95): of the interval.
        stopped_by (`np.ndarray`, *optional*): what ended every run, as in [`LearningCurves`].
        step_limited (`str`, *optional*, defaults to `"refuse"`): what becomes of runs that their step limit ended;
            with `"keep"` they are counted in the result.

    Returns:
        [`HalfWayPoints`]

    Raises:
        `ValueError`: as there, for losses of one curve only, or runs that their step limit ended.
    """
    confidence = check_confidence(confidence)
    if np.ndim(losses) != 2:
        raise ValueError(f"losses of shape {np.shape(losses)} must be (grammars, sizes); half_way_points takes one")
    limited = count_step_limited(stopped_by, np.shape(losses), step_limited)
    points = half_way_points(sizes, losses, plateaus)
    logs = np.log(np.clip(points, sizes[0], sizes[-1]))
    interval = endless((points.shape[1],))
    if len(points) >= FEWEST:
        interval = jackknife_interval(logs.mean(0), [leaving_out(logs)], confidence)
    before, beyond = (points == 0).sum(0), np.isinf(points).sum(0)
    interval[before > 0, 0], interval[beyond > 0, 1] = -np.inf, np.inf
    return HalfWayPoints(points, np.exp(logs.mean(0)), np.exp(interval), before, beyond, limited)


def _last_crossing(sizes: np.ndarray, excess: np.ndarray) -> float:
    above = np.flatnonzero(excess > 0)
    if not len(above):
        return 0.0
    if (left := above[-1]) == len(sizes) - 1:
        return np.inf
    share = excess[left] / (excess[left] - excess[left + 1])
    return float(np.exp((1 - share) * np.log(sizes[left]) + share * np.log(sizes[left + 1])))


def checked_sizes(sizes: Sequence[float]) -> np.ndarray:
    """P of a curve: positive, finite, increasing, two at least."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.ndim != 1 or len(sizes) < 2:
        raise ValueError(f"sizes of shape {sizes.shape} must be a list of two values of P at least")
    if not (np.isfinite(sizes).all() and sizes[0] > 0 and (np.diff(sizes) > 0).all()):
        raise ValueError(f"sizes={sizes.tolist()} must be positive, finite and increasing; sort the curve by P")
    return sizes


def checked_losses(sizes: np.ndarray, losses: np.ndarray, name: str = "losses") -> np.ndarray:
    """Finite losses `(.., sizes)` of one curve or of several."""
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim not in (1, 2) or losses.shape[-1] != len(sizes) or not losses.size:
        raise ValueError(f"{name} of shape {losses.shape} must be (sizes,) or (grammars, sizes), sizes={len(sizes)}")
    if not np.isfinite(losses).all():
        raise ValueError(f"{name} must be finite; leave out the sizes or grammars that were not measured")
    return losses
