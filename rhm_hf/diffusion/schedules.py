"""Noise schedules: alpha(t), the probability that a token has not been touched by the noise at time t.

Time runs from 0 (data) to 1 (noise); alpha falls from 1. Diffusion papers write alpha-bar or abar for it; a process in
T discrete steps has the times k / T, k = 0..T.
"""

import math
from dataclasses import dataclass

import torch

from ..checks import checked


@dataclass(frozen=True)
class Schedule:
    """What all schedules share; a subclass has a `name`, [`Schedule.alpha`], its [`Schedule.slope`] and inverse."""

    name = ""

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        """Probability that a token is untouched at time `t`, elementwise."""
        raise NotImplementedError

    def slope(self, t: torch.Tensor) -> torch.Tensor:
        """The derivative of alpha, at most 0."""
        raise NotImplementedError

    def time(self, alpha: torch.Tensor) -> torch.Tensor:
        """The time at which alpha has a value; at most 1."""
        raise NotImplementedError

    def weight(self, t: torch.Tensor) -> torch.Tensor:
        """-alpha'(t) / (1 - alpha(t)), t > 0: what a hidden token weighs in the continuous-time masked loss."""
        return -self.slope(t) / (1 - self.alpha(t))


@checked
@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """alpha = 1 - t, the schedule of absorbing diffusion (D3PM 2107.03006; MD4 2406.04329)."""

    name = "linear"

    @checked
    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - t

    def slope(self, t: torch.Tensor) -> torch.Tensor:
        return -torch.ones_like(t)

    def time(self, alpha: torch.Tensor) -> torch.Tensor:
        return 1 - alpha


@checked
@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """alpha = 1 - cos(pi (1 - t) / 2), slow at first (MD4 2406.04329; MaskGIT)."""

    name = "cosine"

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - torch.sin(math.pi / 2 * t)  # the same, without the cancellation near t = 0

    def slope(self, t: torch.Tensor) -> torch.Tensor:
        return -math.pi / 2 * torch.cos(math.pi / 2 * t)

    def time(self, alpha: torch.Tensor) -> torch.Tensor:
        return 2 / math.pi * torch.asin(1 - alpha)

    def weight(self, t: torch.Tensor) -> torch.Tensor:
        return math.pi / 2 / torch.tan(math.pi / 2 * t)


@checked
@dataclass(frozen=True)
class LogLinearSchedule(Schedule):
    """alpha = 1 - (1 - floor) t: total noise sigma = -log alpha of SEDD (2310.16834) and MDLM (2406.07524).

    The linear schedule, stopped where a token in 1 / floor is still untouched at t = 1.

    Args:
        floor (`float`, *optional*, defaults to 1e-3): alpha(1).
    """

    floor: float = 1e-3
    name = "log_linear"

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise ValueError(
                f"floor={self.floor} must be at least 0 and below 1: the share of tokens untouched at t=1"
            )

    def alpha(self, t: torch.Tensor) -> torch.Tensor:
        return 1 - (1 - self.floor) * t

    def slope(self, t: torch.Tensor) -> torch.Tensor:
        return torch.full_like(t, self.floor - 1)

    def time(self, alpha: torch.Tensor) -> torch.Tensor:
        return ((1 - alpha) / (1 - self.floor)).clamp(max=1)

    def weight(self, t: torch.Tensor) -> torch.Tensor:
        return 1 / t


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (LinearSchedule, CosineSchedule, LogLinearSchedule)
}


def schedule_of(schedule: str | Schedule) -> Schedule:
    """A schedule, or the one of a name with its defaults.

    Raises:
        `ValueError`: for an unknown name.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r} is unknown: it must be {', '.join(SCHEDULES)}, or a Schedule")
    return SCHEDULES[schedule]()
