"""Values as files and the command line hold them, checked as the arguments of any function are: by type hints.

A block of arguments is a dataclass whose fields are made by [`argument`] and whose base is [`Checked`]: a new field is
checked by its hint without a line of code more.
"""

import contextlib
import functools
import json
import typing
from dataclasses import field, fields
from typing import Any

from ...checks import check, kinds_of, shown


def argument(default: Any, help: str) -> Any:
    """A field of a block of arguments; what it may be is said by its type hint.

    Args:
        default: its value where none is given.
        help (`str`): what it is, for the command line.
    """
    return field(default=default, metadata={"help": help})


class Checked:
    """A dataclass whose values are checked when it is made; errors name the field, its value and what is allowed."""

    def __post_init__(self) -> None:
        for f in fields(self):
            setattr(self, f.name, read(f.name, getattr(self, f.name), hints_of(type(self))[f.name]))

    def refuse_unless(self, condition: bool, name: str, allowed: str) -> None:
        """Raises the `ValueError` of a value that does not go with another one."""
        if not condition:
            raise ValueError(f"{name}={shown(getattr(self, name))} is out of range: it must be {allowed}")


@functools.cache
def hints_of(block: type) -> dict[str, Any]:
    """The type hint of each field of a block."""
    hints = typing.get_type_hints(block, include_extras=True)
    return {f.name: hints[f.name] for f in fields(block)}


def read(name: str, value: Any, hint: Any) -> Any:
    """The value as a type hint asks for it, see [`~rhm_hf.checks.check`].

    A text stands for a number where a number is wanted and no text, for a mapping as JSON; an integer for a number.

    Raises:
        `ValueError`: for another type, or a value that is not allowed.
    """
    kinds = kinds_of(hint)
    if isinstance(value, str) and str not in kinds:
        value = _of_text(name, value, kinds)
    value = check(name, value, hint)
    return float(value) if float in kinds and value is not None else value


def _of_text(name: str, text: str, kinds: tuple[Any, ...]) -> Any:
    if dict in kinds:
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{name}={shown(text)} is not JSON: {error}") from None
    for kind in (int, float):  # "1e-3" in quotes
        if kind in kinds and "_" not in text:
            with contextlib.suppress(ValueError):
                return kind(text)
    return text
