"""Checks of arguments, used by every public function: they return the value as it should be, or name the argument.

[`checked`] reads a function's type hints, so that a new function is checked without a line of code more: flags are
booleans, integers are integers (no boolean, no float), numbers are finite, texts are texts, lists are lists of these.
A range is part of the hint: `num: PositiveInt`, `t: Annotated[float, Range(0, 1)]`.
"""

import collections.abc
import contextlib
import functools
import inspect
import math
import operator
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np


SEED_LIMIT = 2**63
MAX_VOCAB_SIZE = 2**31 - 4  # ids are int32 at most, and BOS, PAD and MASK follow the symbols
INTEGER_LIMIT = 2**63  # of any integer: counters, seeds and files hold no more
SIZE_LIMIT = 2**32  # of counts that are loops or sizes of something
MEMORY_LIMIT = 2**34  # bytes of what is built at once


@dataclass(frozen=True)
class Range:
    """What a number may be, both ends included."""

    minimum: float = -math.inf
    maximum: float = math.inf


@dataclass(frozen=True)
class OwnCheck:
    """Marks a type hint that only people read: the function checks the value itself, and can say more."""


NonNegativeInt = Annotated[int, Range(0, SIZE_LIMIT)]
AnyIndex = Annotated[int, OwnCheck()]  # of a rank among more than 2^63 sentences, which the function checks
NonNegativeIndex = Annotated[int, Range(0, INTEGER_LIMIT - 1)]  # of a place, which costs no memory
PositiveInt = Annotated[int, Range(1, SIZE_LIMIT)]
Seed = Annotated[int, Range(0, SEED_LIMIT - 1)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
F = TypeVar("F", bound=Callable[..., Any])


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
        raise ValueError(f"{name}={shown(value)} is not {allowed}: pass a Python or numpy integer") from None
    if isinstance(value, bool) or number < minimum or (limit is not None and number >= limit):
        raise ValueError(f"{name}={shown(value)} is out of range: it must be {allowed}")
    return number


def check_number(name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Returns `value` as a finite float of `[minimum, maximum]`, or raises a `ValueError` that names the argument."""
    bounds = [f"{sign} {end:g}" for sign, end in ((">=", minimum), ("<=", maximum)) if math.isfinite(end)]
    allowed = f"a number {' and '.join(bounds)}" if bounds else "a finite number"
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ValueError(f"{name}={shown(value)} is not {allowed}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and minimum <= number <= maximum):
        raise ValueError(f"{name}={shown(value)} is out of range: it must be {allowed}")
    return number + 0.0  # -0.0 becomes 0.0


def check_flag(name: str, value: Any) -> bool:
    """Returns `value` as a `bool`; a text such as "no", a number or None is none."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={shown(value)} is no flag: it must be True or False")
    return bool(value)


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


def checked(function: F) -> F:
    """Checks all arguments of a function, or of a class's constructor, by their type hints before it runs.

    Args:
        function: with type hints. What they leave open (`Any`, names that are imported for type checkers only) is
            checked by the function itself.

    Returns:
        The function, or the class itself. A call raises a `ValueError` that names the argument, its value and what is
        allowed.
    """
    if inspect.isclass(function):
        function.__init__ = checked(function.__init__)
        return function
    parameters = inspect.signature(function).parameters
    positional = [name for name, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

    def checked_value(name: str, value: Any) -> Any:
        hint = _hints_of(function).get(name)
        return value if hint is None or value is parameters[name].default else check(name, value, hint)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        known = map(checked_value, positional, args)
        kwargs = {name: checked_value(name, value) for name, value in kwargs.items()}
        return function(*known, *args[len(positional) :], **kwargs)  # Python says what is missing or too much

    call.is_checked = True
    return call


def check_methods(owner: type) -> None:
    """[`checked`], for the constructor and all public methods that a class defines itself."""
    for name, method in list(vars(owner).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(method, classmethod | staticmethod):
            setattr(owner, name, type(method)(checked(method.__func__)))
        elif inspect.isfunction(method):
            setattr(owner, name, checked(method))


def check(name: str, value: Any, hint: Any) -> Any:
    """The value as a type hint asks for it; raises a `ValueError` that names the argument."""
    if hint is int and type(value) is int and -INTEGER_LIMIT <= value < INTEGER_LIMIT:
        return value  # most calls
    options = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else (hint,)
    if value is None and type(None) in options:
        return None
    options = [option for option in options if option is not type(None)]
    for option in options:
        try:
            return _check_one(name, value, option)
        except ValueError:
            # The only option, or a number out of its range: said in its own words.
            if len(options) == 1 or (_kind(option) in (int, float) and _is_number(value)):
                raise
    allowed = " or ".join(_words(option) for option in options)
    raise ValueError(f"{name}={shown(value)} has the wrong type: it must be {allowed}")


def _check_one(name: str, value: Any, hint: Any) -> Any:
    kind = _kind(hint)
    bounds = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Range)), Range())
    if kind is bool:
        return check_flag(name, value)
    if kind is int:
        high = INTEGER_LIMIT if math.isinf(bounds.maximum) else int(bounds.maximum) + 1
        return check_integer(name, value, max(bounds.minimum, -INTEGER_LIMIT), high)
    if kind is float:
        check_number(name, value, bounds.minimum, bounds.maximum)
        return value
    origin = get_origin(kind) or kind
    if origin is Any:
        return value
    if origin in _LISTS:
        return _check_list(name, value, get_args(kind))
    if origin is np.ndarray:
        return check_array(name, value)
    if origin is Callable:
        origin = None if callable(value) else collections.abc.Callable
    if inspect.isclass(origin) and not isinstance(value, origin):
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be {_words(hint)}")
    return value


def _check_list(name: str, value: Any, element: tuple) -> Any:
    """A list's entries too, where looking at them does not use them up."""
    allowed = " or ".join(f"a list of {_PLURALS[_kind(hint)]}" for hint in element[:1] if _kind(hint) in _PLURALS)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be {allowed or 'a list'}")
    if not isinstance(value, list | tuple | np.ndarray) or not element:
        return value
    hints = [element[0]] * len(value) if len(element) == 1 or element[-1] is Ellipsis else element
    if len(hints) != len(value):
        raise ValueError(f"{name}={shown(value)} has {len(value)} entries: it must have {len(hints)}")
    for place, (entry, hint) in enumerate(zip(value, hints, strict=True)):
        check(f"{name}[{place}]", entry, hint)
    return value


def check_array(name: str, value: Any) -> Any:
    """Arrays, tensors and lists of numbers, all rows of one length; what numbers they may hold, the function knows."""
    if isinstance(value, list | tuple | range):
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(f"{name} is ragged: all its rows must have the same length") from None
    elif hasattr(value, "__array__") and hasattr(value, "shape"):
        array = value
    else:
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be an array or a list of numbers")
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must hold numbers, not {array.dtype}")
    return value


def as_array(value: Any) -> np.ndarray:
    """An array, of a tensor on any device too; numpy knows no tensors that require gradients or lie elsewhere."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def check_ids(name: str, value: Any) -> Any:
    """Ids of tokens in arrays or lists, in rows of any lengths: integers, no texts and no floats.

    Other holders of rows, such as data sets, and iterators pass as they are; tensors come back as arrays.
    """
    if hasattr(value, "detach"):  # a tensor
        value = as_array(value)
    is_text = isinstance(value, str | bytes)
    if (
        is_text
        or isinstance(value, Mapping | type)
        or not hasattr(value, "__iter__")
        or getattr(value, "ndim", 1) == 0
    ):
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must hold ids, in an array or in lists")
    for part in [value] if isinstance(value, np.ndarray) else value if isinstance(value, list | tuple) else []:
        array = np.asarray(part)
        if array.size and array.dtype.kind not in "iu":
            raise ValueError(f"{name} holds {array.dtype}: ids must be integers")
        if array.size and (low := int(array.min())) < 0:
            raise ValueError(f"{name} holds {low}: ids must be integers >= 0")
    return value


def _kind(hint: Any) -> Any:
    """A hint without its annotations."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _words(hint: Any) -> str:
    kind = _kind(hint)
    return _NAMES.get(kind) or f"a {getattr(get_origin(kind) or kind, '__name__', kind)}"


_LISTS = (list, tuple, Sequence, Iterable)
_NAMES = {bool: "True or False", int: "an integer", float: "a number", str: "a str", np.ndarray: "an array"}
_PLURALS = {int: "integers", float: "numbers", str: "texts", bool: "flags", Any: "values"}


@functools.cache
def _hints_of(function: Callable) -> dict[str, Any]:
    """The type hints of a function's parameters, without those whose names exist for type checkers only."""
    hints = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = parameter.annotation
        if "OwnCheck()" in repr(hint):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or hint in (parameter.empty, Any):
            continue
        if isinstance(hint, str):
            try:
                hint = eval(hint, function.__globals__)
            except NameError:
                continue
        hints[name] = hint
    return hints
