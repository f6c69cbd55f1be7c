"""Tokens and positions as people write them: `--tokens "3 1 ? 2"`, `--mask 3,5-7`."""

from typing import Any


HIDDEN, GOES_ON = ("?", "_"), ("..", "...", "…")


def symbol_of(word: str, source: Any) -> int:
    """The token of a word: a terminal, or a number."""
    terminals = list(getattr(source, "terminals", None) or [])
    if word in terminals:
        return terminals.index(word)
    if not word.isdigit() or int(word) >= source.vocab_size or terminals:
        allowed = f"the tokens {', '.join(map(str, terminals[:20]))}" if terminals else f"0 to {source.vocab_size - 1}"
        raise ValueError(f"--tokens holds {word!r}: {source.name} has {allowed}, and ? for a hidden one")
    return int(word)


def positions_of(mask: str | None, length: int) -> list[int]:
    """The positions of `--mask`, counted from 1."""
    found: list[int] = []
    for part in (mask or "").split(",") if mask else []:
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"--mask {mask!r} must list positions from 1 to {length}, such as 3,5-7")
        found += range(int(first), int(last if dash else first) + 1)
    if wrong := [position for position in found if not 1 <= position <= length]:
        raise ValueError(f"--mask holds {wrong[0]}: positions are 1 to {length}")
    return found
