"""Synchronised timers, one line of the table of `make gpu`, and its time limit."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


WARM_UPS, FEWEST = 2, 3
MARGIN = 3  # a measurement with its first calls takes at most about so many times the seconds that are asked for


@dataclass(frozen=True)
class Line:
    """A measurement.

    Args:
        what, size (`str`): what is done, and its size.
        value (`float`, *optional*): None where it could not be measured.
        unit (`str`, *optional*): of the value.
        note (`str`, *optional*): a figure beside it, or why there is none.
        wrong (`bool`, *optional*): whether the device gave other numbers than the CPU.
    """

    what: str
    size: str
    value: float | None
    unit: str = ""
    note: str = ""
    wrong: bool = False


@dataclass
class Budget:
    """How long measuring may take.

    Args:
        end (`float`): of `time.monotonic()`, by which all is measured.
        seconds (`float`): of one measurement, about.
    """

    end: float
    seconds: float

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.end - time.monotonic()

    def line(self, what: str, size: str, measured: Callable[[], Line], needs: float = 0.0) -> Line:
        """What was measured; a line with the reason where that failed, or where less time is left than it needs."""
        if self.left < max(needs, MARGIN * self.seconds):
            return Line(what, size, None, note="not measured: too little time was left")
        try:
            return measured()
        except Exception as error:  # whatever a compiler, a driver or a model cannot do
            reason = (str(error).strip().splitlines() or [""])[0][:160]
            return Line(
                what, size, None, note=f"{type(error).__name__}: {reason}", wrong=isinstance(error, OtherNumbers)
            )


class OtherNumbers(ValueError):
    """A device gives other numbers than the CPU."""


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def per_second(function: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls a second: the median of batches of calls, each synchronised at both ends."""
    for _ in range(WARM_UPS):
        function()
    synchronise(device)

    def timed(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            function()
        synchronise(device)
        return time.perf_counter() - start

    calls = max(1, int(seconds / 10 / max(timed(1), 1e-9)))
    end, rates = time.perf_counter() + seconds, []
    while len(rates) < FEWEST or time.perf_counter() < end:
        rates.append(calls / timed(calls))
        if len(rates) >= FEWEST and time.perf_counter() >= end:
            break
    return statistics.median(rates)
