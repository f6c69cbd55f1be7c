"""One way of checking: a field's type hint and its bounds decide what a value may be, wherever it comes from.

A block of arguments is a dataclass whose fields are made by [`argument`] and whose base is [`Checked`]: a new field is
checked without a line of code more.
"""

import contextlib
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import Any

from ...checks import INTEGER_LIMIT


SIZE_LIMIT = 2**40  # of counts, which are sizes of something


def argument(default: Any, help: str, **bounds: Any) -> Any:
    """A field of a block of arguments.

    Args:
        default: its value where none is given.
        help (`str`): what it is, for the command line.
        bounds: any of `minimum`, `maximum`, `above`, `below` (numbers), `choices` (values), `plugins` (`True` where
            `module:Name` is taken beside the choices).
    """
    return field(default=default, metadata={"help": help, **bounds})


class Checked:
    """A dataclass whose values are checked when it is made; errors name the field, its value and what is allowed."""

    def __post_init__(self) -> None:
        for f in fields(self):
            setattr(self, f.name, checked(f.name, getattr(self, f.name), hints_of(type(self))[f.name], f.metadata))

    def refuse_unless(self, condition: bool, name: str, allowed: str) -> None:
        """Raises the `ValueError` of a value that does not go with another one."""
        if not condition:
            raise ValueError(f"{name}={getattr(self, name)!r} is out of range: it must be {allowed}")


@functools.cache
def hints_of(block: type) -> dict[str, tuple[type, ...]]:
    """The types that each field of a block may have."""
    hints = typing.get_type_hints(block)
    kinds = {
        name: typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,) for name, hint in hints.items()
    }
    return {f.name: tuple(typing.get_origin(kind) or kind for kind in kinds[f.name]) for f in fields(block)}


def checked(name: str, value: Any, kinds: tuple[type, ...], bounds: Mapping[str, Any]) -> Any:
    """The value as it should be.

    Args:
        name (`str`): of the argument.
        value: as given. A string stands for a number where a number is wanted and no string; for a mapping as JSON.
        kinds (`tuple[type, ...]`): allowed types, `NoneType` among them where it may be left out.
        bounds (`Mapping`): see [`argument`].

    Raises:
        `ValueError`: for another type, or a value out of bounds.
    """
    value = _of_a_kind(name, value, kinds)
    if value is None:
        return value
    if isinstance(value, str):
        _check_text(name, value, bounds)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(name, value, bounds)
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean num_train?`, or nothing where no known name is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else ""


def _of_a_kind(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    if dict in kinds and isinstance(value, str):
        value = _from_json(name, value)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return _as_float(name, value)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
    if isinstance(value, str) and "_" not in value and (float in kinds or int in kinds):
        for kind in (int, float):  # "1e-3" in quotes
            with contextlib.suppress(ValueError):
                return _of_a_kind(name, kind(value), kinds)
    allowed = " or ".join("left out" if kind is type(None) else _NAMES.get(kind, kind.__name__) for kind in kinds)
    hint = f", such as {int(value)}" if isinstance(value, float) and int in kinds and value.is_integer() else ""
    raise ValueError(f"{name}={value!r} has the wrong type: it must be {allowed}{hint}")


_NAMES = {dict: "a mapping", str: "str", bool: "true or false"}


def _from_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}={text!r} is not JSON: {error}") from None


def _as_float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{name} is out of range: an integer of {len(str(value)[:5000])} digits is too large"
        ) from None


def _check_text(name: str, value: str, bounds: Mapping[str, Any]) -> None:
    if not value or not value.isprintable():
        raise ValueError(f"{name}={value!r} is no name: it is empty or holds characters that cannot be printed")
    choices = bounds.get("choices")
    choices = list(choices() if callable(choices) else choices or ())
    plugins = bounds.get("plugins", False)
    if choices and value not in choices and not (plugins and ":" in value):
        allowed = ", ".join(choices) + (", or module:Name" if plugins else "")
        raise ValueError(
            f"{name}={value!r} is out of range: it must be one of {allowed}{did_you_mean(value, choices)}"
        )


def _check_number(name: str, value: int | float, bounds: Mapping[str, Any]) -> None:
    # What a number may be without a bound of its own: whatever a counter, a seed or a file can hold.
    low, high = bounds.get("minimum", -INTEGER_LIMIT), bounds.get("maximum")
    if high is None and isinstance(value, int):
        high = INTEGER_LIMIT - 1
    above, below = bounds.get("above"), bounds.get("below")
    inside = (
        math.isfinite(value)
        and (value >= low if above is None else value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )
    if not inside:
        lower = f"above {above}" if above is not None else f"at least {low}"
        upper = f" and below {below}" if below is not None else "" if high is None else f" and at most {high}"
        upper = "" if "maximum" not in bounds and below is None and value < INTEGER_LIMIT else upper
        finite = "" if math.isfinite(value) else "a finite number, "
        raise ValueError(f"{name}={value!r} is out of range: it must be {finite}{lower}{upper}")
