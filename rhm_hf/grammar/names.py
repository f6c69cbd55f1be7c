"""Pieces of short names, and what has one."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from ..checks import MAX_VOCAB_SIZE, check_integer, check_memory


FLOAT = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # as repr prints a float >= 0


@runtime_checkable
class Ensemble(Protocol):
    """Parameters of a named ensemble, from which a source is drawn."""

    name: str
    rules_seed: int


def set_integer(parameters: Any, name: str, minimum: int, limit: int | None = None) -> None:
    """Checks a field of a frozen dataclass with [`~rhm_hf.checks.check_integer`] and keeps it as a Python integer."""
    object.__setattr__(parameters, name, check_integer(name, getattr(parameters, name), minimum, limit))


def check_rules(name: str, sizes: Iterable[tuple[int, int, int]]) -> None:
    """Raises a `ValueError` for rules that would not fit, before they are drawn.

    Args:
        name (`str`): of the ensemble.
        sizes: `(symbols, rules per symbol, children)` of every level, or of every arity of it.
    """
    num_bytes = sum(symbols * rules * (4 * children + 8) for symbols, rules, children in sizes)
    check_memory(f"the rules of {name}", num_bytes, "take fewer symbols, rules or children")


def checked_vocabulary(vocab_size: Any, largest: int, num_bytes: int = 64) -> int:
    """The number of tokens: as given, or the largest in the rules plus 1.

    Args:
        vocab_size (`int`, *optional*): as given.
        largest (`int`): token of the rules.
        num_bytes (`int`, *optional*, defaults to 64): that counts and laws take of each token.

    Raises:
        `ValueError`: for what is no number of tokens, or more than there is memory for.
    """
    vocab_size = largest + 1 if vocab_size is None else check_integer("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
    check_memory(f"vocab_size={vocab_size}", num_bytes * vocab_size, "take fewer tokens")
    return vocab_size
