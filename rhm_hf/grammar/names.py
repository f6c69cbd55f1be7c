"""Pieces of short names, and what has one."""

from typing import Any, Protocol, runtime_checkable

from ..checks import check_integer


FLOAT = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # as repr prints a float >= 0


@runtime_checkable
class Ensemble(Protocol):
    """Parameters of a named ensemble, from which a source is drawn."""

    name: str
    rules_seed: int


def set_integer(parameters: Any, name: str, minimum: int, limit: int | None = None) -> None:
    """Checks a field of a frozen dataclass with [`~rhm_hf.checks.check_integer`] and keeps it as a Python integer."""
    object.__setattr__(parameters, name, check_integer(name, getattr(parameters, name), minimum, limit))
