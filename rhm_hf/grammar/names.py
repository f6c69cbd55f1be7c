"""Pieces of short names, and what has one."""

from typing import Protocol, runtime_checkable


FLOAT = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # as repr prints a float >= 0


@runtime_checkable
class Ensemble(Protocol):
    """Parameters of a named ensemble, from which a source is drawn."""

    name: str
    rules_seed: int
