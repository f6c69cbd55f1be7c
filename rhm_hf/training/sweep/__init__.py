"""Sweeps: arguments that list several values, every combination a run of its own, wherever it is trained.

Names are imported when they are first used: a process that only hands runs on needs no torch.
"""

from typing import TYPE_CHECKING

from ..._lazy import lazy_attributes


if TYPE_CHECKING:
    from .combinations import OPTIONS, expand
    from .running import EXECUTORS, UnfinishedRuns, sweep

_EXPORTS = {
    "EXECUTORS": "running",
    "OPTIONS": "combinations",
    "UnfinishedRuns": "running",
    "expand": "combinations",
    "sweep": "running",
}

__all__ = ["EXECUTORS", "OPTIONS", "UnfinishedRuns", "expand", "sweep"]
if not TYPE_CHECKING:  # to type checkers an unknown name is an error
    __getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
