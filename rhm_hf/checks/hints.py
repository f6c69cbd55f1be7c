"""Checks by type hints: of a function's arguments, a class's methods, a field of a YAML file."""

import collections.abc
import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np

from .arrays import check_array, check_ids
from .scalars import INTEGER_LIMIT, SEED_LIMIT, SIZE_LIMIT, check_flag, check_integer, check_number, check_text, shown


@dataclass(frozen=True)
class Range:
    """What a number may be: both ends included, `above` and `below` not."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    finite: bool = True  # whether NaN and the infinities are refused


@dataclass(frozen=True)
class Text:
    """What a text may be: not empty, printable, and one of the choices where there are any.

    Attributes:
        choices (`tuple[str, ...]`, or a function that returns them, *optional*): by default any text.
        modules (`bool`, *optional*, defaults to `False`): whether `module:Name` is taken beside the choices.
    """

    choices: Any = ()
    modules: bool = False


@dataclass(frozen=True)
class Ids:
    """What token ids may be: see [`check_ids`]; with `texts`, a text or texts may stand there instead.

    What holds its tokens in an attribute `ids`, as [`~rhm_hf.data.CharText`] does, passes as it is.
    """

    texts: bool = False
    drawn: bool = False  # by a model, which may draw what is no symbol


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
Positive = Annotated[float, Range(above=0)]
Limit = Annotated[float, Range(finite=False)]  # infinite, or NaN, where it was not reached
Name = Annotated[str, Text()]
TokenIds = Annotated[Any, Ids()]
TokensOrTexts = Annotated[Any, Ids(texts=True)]
DrawnIds = Annotated[Any, Ids(drawn=True)]
F = TypeVar("F", bound=Callable[..., Any])


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
    options = _options(hint)
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
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    bounds = next((extra for extra in extras if isinstance(extra, Range)), Range())
    text = next((extra for extra in extras if isinstance(extra, Text)), None)
    if kind is bool:
        return check_flag(name, value)
    ids = next((extra for extra in extras if isinstance(extra, Ids)), None)
    if ids is not None:
        if not (hasattr(value, "ids") or (ids.texts and _is_text(value))):
            check_ids(name, value, low=-INTEGER_LIMIT if ids.drawn else 0)
        return value
    if text is not None:
        return check_text(name, value, text.choices, text.modules)
    if kind is int:
        high = INTEGER_LIMIT if math.isinf(bounds.maximum) else int(bounds.maximum) + 1
        return check_integer(name, value, max(bounds.minimum, -INTEGER_LIMIT), high)
    if kind is float and not bounds.finite and _is_number(value):
        return value
    if kind is float:
        check_number(name, value, bounds.minimum, bounds.maximum, bounds.above, bounds.below)
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
    kinds = [get_origin(_kind(hint)) or _kind(hint) for hint in element[:1]]
    allowed = " or ".join(f"a list of {_PLURALS[kind]}" for kind in kinds if kind in _PLURALS)
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    of_dicts = kinds == [dict] and hasattr(value, "__array__")  # numbers are no rows of a table
    if not is_list or of_dicts or getattr(value, "ndim", 1) == 0:
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be {allowed or 'a list'}")
    if not isinstance(value, list | tuple | np.ndarray) or not element:
        return value
    hints = [element[0]] * len(value) if len(element) == 1 or element[-1] is Ellipsis else element
    if len(hints) != len(value):
        raise ValueError(f"{name}={shown(value)} has {len(value)} entries: it must have {len(hints)}")
    for place, (entry, hint) in enumerate(zip(value, hints, strict=True)):
        check(f"{name}[{place}]", entry, hint)
    return value


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows, without what it says of their values; `NoneType` where there may be none."""
    return tuple(get_origin(kind) or kind for kind in map(_kind, _options(hint)))


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else (hint,)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and any(isinstance(v, str) for v in value[:1]))


def _kind(hint: Any) -> Any:
    """A hint without its annotations."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _words(hint: Any) -> str:
    kind = get_origin(_kind(hint)) or _kind(hint)
    return _NAMES.get(kind) or f"a {getattr(kind, '__name__', kind)}"


_LISTS = (list, tuple, Sequence, Iterable)
_NAMES = {
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a str",
    dict: "a mapping",
    np.ndarray: "an array",
}
_PLURALS = {dict: "mappings", int: "integers", float: "numbers", str: "texts", bool: "flags", Any: "values"}


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
