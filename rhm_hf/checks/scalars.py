"""Checks of one number, flag or text; what messages show of a value; sizes that fit."""

import contextlib
import difflib
import math
import operator
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np


SEED_LIMIT = 2**63
MAX_VOCAB_SIZE = 2**31 - 4  # ids are int32 at most, and BOS, PAD and MASK follow the symbols
INTEGER_LIMIT = 2**63  # of any integer: counters, seeds and files hold no more
SIZE_LIMIT = 2**32  # of counts that are loops or sizes of something
MEMORY_LIMIT = 2**34  # bytes of what is built at once


def smallest_dtype(num_symbols: int) -> np.dtype:
    """The smallest of uint8, uint16 and int32 that holds 0..num_symbols-1."""
    return np.dtype("uint8" if num_symbols <= 2**8 else "uint16" if num_symbols <= 2**16 else "int32")


def check_integer(name: str, value: Any, minimum: float, limit: int | None = None) -> int:
    """Returns `value` as a Python integer of `[minimum, limit)`, or raises a `ValueError` that names the argument."""
    bounds = [f">= {minimum}"] if minimum > -INTEGER_LIMIT else []
    bounds += [f"< {'2^63' if limit == INTEGER_LIMIT else limit}"] if limit is not None else []
    allowed = " ".join(["an integer", " and ".join(bounds)]).strip()
    try:
        number = operator.index(value)  # takes numpy integers, refuses floats and strings
    except TypeError:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < INTEGER_LIMIT
        meant = f": write {int(value)}" if whole else ""
        raise ValueError(f"{name}={shown(value)} is not {allowed}{meant}") from None
    if isinstance(value, bool) or number < minimum or (limit is not None and number >= limit):
        raise ValueError(f"{name}={shown(value)} is out of range: it must be {allowed}")
    return number


def check_number(
    name: str,
    value: Any,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Returns `value` as a finite float in a [`Range`], or raises a `ValueError` that names the argument."""
    ends = ((">=", minimum), (">", above), ("<=", maximum), ("<", below))
    bounds = [f"{sign} {end:g}" for sign, end in ends if math.isfinite(end)]
    allowed = f"a number {' and '.join(bounds)}" if bounds else "a finite number"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ValueError(f"{name}={shown(value)} is not {allowed}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and minimum <= number <= maximum and above < number < below):
        raise ValueError(f"{name}={shown(value)} is out of range: it must be {allowed}")
    return number + 0.0  # -0.0 becomes 0.0


def check_flag(name: str, value: Any) -> bool:
    """Returns `value` as a `bool`; a text such as "no", a number or None is none."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={shown(value)} is no flag: it must be True or False")
    return bool(value)


def check_text(name: str, value: Any, choices: Any = (), modules: bool = False) -> str:
    """Returns `value` as a text that [`Text`] describes, or raises a `ValueError` that names the argument."""
    if not isinstance(value, str):
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be a str")
    if not value or not value.isprintable():
        raise ValueError(f"{name}={shown(value)} is no name: it is empty or holds characters that cannot be printed")
    known = list(choices() if callable(choices) else choices)
    if known and value not in known and not (modules and ":" in value):
        allowed = ", ".join(known) + (", or module:Name" if modules else "")
        raise ValueError(
            f"{name}={shown(value)} is out of range: it must be one of {allowed}{did_you_mean(value, known)}"
        )
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean num_train?`, or nothing where no known name is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else ""


@contextlib.contextmanager
def naming(inner: str, outer: str) -> Iterator[None]:
    """Errors of checks inside name the argument `inner` as its caller's caller does, `outer`."""
    try:
        yield
    except ValueError as error:
        if inner == outer or not str(error).startswith(inner):
            raise
        raise type(error)(outer + str(error)[len(inner) :]) from None


def check_memory(what: str, num_bytes: float, remedy: str) -> None:
    """Raises a `ValueError` with the estimate where something would not fit, before it is built.

    Args:
        what (`str`): the arguments with their values.
        num_bytes (`float`): the estimate.
        remedy (`str`): what to do instead.
    """
    if num_bytes > MEMORY_LIMIT:
        raise ValueError(
            f"{what} would take about {num_bytes / 2**30:.3g} GiB of memory, more than {MEMORY_LIMIT // 2**30}: "
            f"{remedy}"
        )


def shown(value: Any) -> str:
    """A value for a message: on one line, and cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 400:
        return f"<integer of {value.bit_length()} bits>"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of an object that is not as it should be
        text = object.__repr__(value)
    return text if len(text) <= 120 else f"{text[:100]}.. ({type(value).__name__})"
