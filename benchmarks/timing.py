"""How every figure of `make benchmark` is measured: two functions in turn in one process, ratios of neighbours."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


clock = time.perf_counter  # `--cpu` takes CPU time, for machines that others use and rows of one process


@dataclass(frozen=True)
class Row:
    """One line of the benchmark table.

    Args:
        name (`str`): what is done, with its size.
        ours (`float`): median seconds of this package's code.
        plain (`float`): median seconds of the plain implementation.
        ratio (`float`): median of the paired ratios plain / ours: above 1, ours is faster.
        goal (`str`): what the ratio, or the figure in `note`, should reach.
        note (`str`, *optional*): a figure beside it, such as rows per second or peak memory.
    """

    name: str
    ours: float
    plain: float
    ratio: float
    goal: str
    note: str = ""


def seconds(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = clock()
    function()
    return clock() - start


def compare(
    name: str, ours: Callable[[], object], plain: Callable[[], object], goal: str, repeats: int = 7, note: str = ""
) -> Row:
    """Calls both in turn, `repeats` times after one warm-up each, so that a drifting machine slows both alike."""
    ours(), plain()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    return Row(
        name,
        statistics.median(o for o, _ in pairs),
        statistics.median(p for _, p in pairs),
        statistics.median(p / o for o, p in pairs),
        goal,
        note,
    )
