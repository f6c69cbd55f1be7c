"""Where the loss saturates: the context from which on more of it changes the loss by at most eps, with its interval.

A *row* is what the errors take as independent, a document or a block of one; it holds the summed losses of its targets
at every context length n and the number of its targets (or of their characters). The loss at n is fitted by the
nearest one that never rises with n (isotonic regression), so that noise in the tail, which more windows would remove,
moves the answer little; the interval resamples rows and fits again. A rule such as "within two standard errors" would
answer sooner the less is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import check_integer, check_number
from rhm_hf.statistics import Accumulator
from rhm_hf.statistics.intervals import student


TOLERANCE = 0.01  # nats: eps of `n_sat`
RELATIVE = 0.05  # eps of `n_sat_relative`, of the loss without context minus that with the longest
FEWEST_ROWS = 8  # for an interval
RESAMPLES = 400
DECIDED = 2.0  # an interval decides n_sat if its ends are within this factor
MOST_TIMES = 2**20  # so many times as many windows at most are asked for


@dataclass(frozen=True)
class Saturation:
    """The smallest n from which on the fitted Delta(n) = L(n) - L(N) stays at or below eps.

    Attributes:
        estimate (`int` or `None`): of the losses measured; N where they fall up to there. None where there is none.
        interval (`tuple[int, int]` or `None`): 95 %, by resampling rows; None with fewer than 8 of them.
        status (`str`): `"decided"`; `"undecided"`, the interval spans more than a factor of 2; `"context"`, it reaches
            N and a longer context is needed; `"rises"`, the loss at N is above one with less context by more than
            errors allow, as at positions that a model was not trained to predict from; `"infinite"`, a loss is;
            `"rows"`, too few documents for an interval; `"targets"`, each n has targets of its own.
        windows (`int` or `None`): about how many windows would decide, where more would.
    """

    estimate: int | None
    interval: tuple[int, int] | None
    status: str
    windows: int | None

    @property
    def value(self) -> int | None:
        """The estimate, where the data decide it."""
        return self.estimate if self.status == "decided" else None

    def to_dict(self, name: str, characters_per_token: float | None = None) -> dict[str, Any]:
        """The entries of a result: `name`, `name_estimate`, `name_interval`, `name_status`, `name_windows`; with the
        characters of a token also `name_characters` and `name_characters_interval`."""
        found = {
            name: self.value,
            f"{name}_estimate": self.estimate,
            f"{name}_interval": self.interval,
            f"{name}_status": self.status,
            f"{name}_windows": self.windows,
        }
        if characters_per_token is not None:
            value, interval = self.value, self.interval
            found[f"{name}_characters"] = None if value is None else value * characters_per_token
            found[f"{name}_characters_interval"] = (
                None if interval is None else tuple(end * characters_per_token for end in interval)
            )
        return found


def saturation(
    lengths: Sequence[int],
    sums: torch.Tensor,
    counts: torch.Tensor,
    num_windows: int,
    tolerance: float = TOLERANCE,
    relative: bool = False,
    seed: int = 0,
    count_windows: bool = True,
) -> Saturation:
    """n_sat of losses at several context lengths.

    Args:
        lengths (`Sequence[int]`): n, ascending; the last one is N.
        sums (`torch.Tensor`): shape `(rows, lengths)`, nats, of the same targets (or windows) for every n.
        counts (`torch.Tensor`): shape `(rows,)`, targets or their characters.
        num_windows (`int`): that the rows hold, to say how many would decide.
        tolerance (`float`, *optional*, defaults to 0.01): eps, nats; or
        relative (`bool`, *optional*, defaults to `False`): a share of the fitted fall L(first n) - L(N).
        seed (`int`, *optional*, defaults to 0): of the resampling.
        count_windows (`bool`, *optional*, defaults to `True`): also how many windows would decide, where these do not.
    """
    tolerance = check_number("tolerance", tolerance, 0)
    check_integer("num_windows", num_windows, 1)
    lengths, sums, counts = np.asarray(lengths), sums.double().cpu().numpy(), counts.double().cpu().numpy()
    if not np.isfinite(sums).all():
        return Saturation(None, None, "infinite", None)
    last, whole = len(lengths) - 1, sums.sum(0) / counts.sum()

    best = int(_places(whole[None], tolerance, relative)[0])
    if len(sums) < FEWEST_ROWS:
        return Saturation(int(lengths[best]), None, "rows", None)
    eps = tolerance * max(whole[0] - whole[-1], 0) if relative else tolerance
    if _rises(sums, counts, eps):
        return Saturation(None, None, "rises", None)
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    resampled = drawn @ sums / (drawn @ counts)[:, None]
    # Resamples of few rows spread less than estimates do, and their quantiles are those of a normal law, not of t.
    widening = np.sqrt(len(sums) / (len(sums) - 1)) * student(0.95, len(sums) - 1) / student(0.95, np.inf)

    def ends(times: float) -> tuple[int, int]:
        """The interval with so many times as many windows."""
        places = _places(whole + (resampled - whole) * widening / np.sqrt(times), tolerance, relative)
        low, high = (int(np.quantile(places, q, method=m)) for q, m in ((0.025, "lower"), (0.975, "higher")))
        return min(low, best), max(high, best)

    def decides(low: int, high: int) -> bool:
        return high < last and lengths[high] <= DECIDED * max(lengths[low], 1)

    found = ends(1)
    interval = int(lengths[found[0]]), int(lengths[found[1]])
    if decides(*found):
        return Saturation(int(lengths[best]), interval, "decided", None)
    times = 2
    while count_windows and times <= MOST_TIMES and not decides(*ends(times)):
        times *= 2
    windows = None if times > MOST_TIMES or best == last else times * num_windows
    return Saturation(int(lengths[best]), interval, "context" if windows is None else "undecided", windows)


def _places(losses: np.ndarray, tolerance: float, relative: bool) -> np.ndarray:
    """Where the nearest losses that do not rise with n are first within eps of their last, of all rows at once.

    The fit f of isotonic regression itself is not needed. Its ends are a smallest and a largest mean,
    f(N) = min_a mean(L_a..L_N) and f(0) = max_b mean(L_0..L_b); and it is above a level c at the first k places, k the
    smallest of those with the largest sum_(n < k) (L_n - c) (Robertson, Wright and Dykstra 1988, section 1.4).

    Args:
        losses (`np.ndarray`): `(rows, lengths)`.
        tolerance (`float`): eps, nats; or
        relative (`bool`): a share of f(0) - f(N).
    """
    sizes = np.arange(1, losses.shape[1] + 1)
    end = (losses[:, ::-1].cumsum(1) / sizes).min(1)
    fall = (losses.cumsum(1) / sizes).max(1) - end
    level = end + (tolerance * fall if relative else tolerance)
    sums = np.zeros(losses.shape)
    np.cumsum((losses - level[:, None])[:, :-1], 1, out=sums[:, 1:])
    rounding = 1e-13 * np.abs(losses).sum(1, keepdims=True)  # of sums that are equal
    return np.argmax(sums >= sums.max(1, keepdims=True) - rounding, 1)


def _rises(sums: np.ndarray, counts: np.ndarray, eps: float) -> bool:
    """Whether the loss at N exceeds one with less context by more than eps and 4 standard errors."""
    delta, stderr = differences(torch.from_numpy(sums), torch.from_numpy(counts))
    return any(value < -max(eps, 4 * error) for value, error in zip(delta, stderr, strict=True))


def curve(sums: torch.Tensor, counts: torch.Tensor) -> tuple[list[float], list[float]]:
    """Means and standard errors at every context length.

    Args:
        sums (`torch.Tensor`): shape `(rows, lengths)`, nats.
        counts (`torch.Tensor`): shape `(rows,)`.
    """
    accumulator = Accumulator(tuple(sums.shape[1:]), sums.device)
    accumulator.add(sums, counts[:, None])
    return accumulator.mean.tolist(), accumulator.stderr.tolist()


def differences(sums: torch.Tensor, counts: torch.Tensor) -> tuple[list[float], list[float]]:
    """Delta(n) = mean[l(n) - l(N)], N the longest context, with standard errors of the differences themselves."""
    return curve(sums - sums[:, -1:], counts)
