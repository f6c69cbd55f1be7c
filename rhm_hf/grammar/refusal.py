"""The one way in which a source, or who takes one, says that something does not exist for it."""

from typing import Any


class NotSupported(ValueError):
    """Something that some families of sources have and this one lacks.

    Args:
        what (`str`): what was asked for, such as `"context_level"`.
        source ([`~rhm_hf.grammar.Source`]): which was asked.
        why (`str`): what it lacks.
        remedy (`str`, *optional*): what to do instead.
    """

    def __init__(self, what: str, source: Any = None, why: str = "", remedy: str = ""):
        message = what
        if source is not None:
            message = f"{what} does not exist for {source.name} (family {source.family!r}): {why}"
        super().__init__(message + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return NotSupported, (str(self),)
