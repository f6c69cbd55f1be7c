"""Every public signature with one bad value at a time: `python -m benchmarks.fuzz [NAME ..]`.

Functions come from the doors' `__all__` (or are those that a door defines), methods from their classes, parameters
and types from the hints; metrics are called as `evaluate` calls them, words of the command line as it reads them. Good
values are found by a parameter's name in `benchmarks.fuzz_values`. A call with one bad value has to be refused with an
error that names the argument. An *unclear* error (any other, or one without the name) and a value *accepted* that
cannot mean anything are failures. Values that may be right in places (0, a large count) only have to end, or be
refused clearly.
"""

import argparse
import collections.abc
import functools
import importlib
import inspect
import re
import signal
import types
import typing
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import fuzz_values as values
from rhm_hf.checks import shown
from rhm_hf.grammar import NotSupported


DOORS = ("grammar", "inference", "statistics", "theory", "diffusion", "data", "judging", "models", "metrics", "tasks")
DOORS += ("training", "ensembles", "plots")
LONGEST = 20  # seconds of this process a call may take, in the mode by hand
CLEAR = (ValueError, TypeError, FileNotFoundError)


@dataclass(frozen=True)
class Case:
    """One parameter of one public function.

    Attributes:
        name (`str`): as `theory.plateau(level)`.
        function (`Callable`): what is called.
        good (`tuple`): pairs of parameter and maker of a good value, for all that are given.
        parameter (`str`): the one that gets bad values.
        bad, doubtful (`tuple`): values that must be refused, and that may be.
        kind (`type`, *optional*): `bool`, `int` or `float`, where it may be nothing else.
    """

    name: str
    function: Callable
    good: tuple[tuple[str, Callable[[], Any]], ...]
    parameter: str
    bad: tuple[Any, ...]
    doubtful: tuple[Any, ...]
    kind: Any = None


def cases() -> list[Case]:
    """All parameters of all public functions, in a fixed order."""
    return [case for name, function in public_functions() for case in cases_of(name, function)]


def public_functions() -> Iterator[tuple[str, Callable]]:
    """What people call: functions, constructors and methods of the doors, and the functions behind the metrics."""
    seen: set = set()
    for door in DOORS:
        module = importlib.import_module(f"rhm_hf.{door}")
        for public in sorted(getattr(module, "__all__", None) or _defined(module)):
            thing = getattr(module, public)
            if not callable(thing) or public in values.NOT_CALLED_BY_PEOPLE:
                continue
            if public not in values.NOT_MADE_BY_PEOPLE:
                yield f"{door}.{public}", thing
            if inspect.isclass(thing):
                yield from _methods(f"{door}.{public}", public, thing, seen)
    for name in values.ELSEWHERE:
        path, public = name.split(":")
        module = importlib.import_module(f"rhm_hf.{path}")
        yield f"{path}.{public}", functools.reduce(getattr, public.split("."), module)
    for name in values.MODELS:
        yield f"models.{name}.forward", values.model(name).forward
    for metric in values.METRICS:
        yield f"metrics.{metric}.compute", values.compute_of(metric)


def _defined(module: Any) -> list[str]:
    """Public functions of a module without `__all__`."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(thing) and thing.__module__ == module.__name__
    ]


def _methods(name: str, public: str, owner: type, seen: set) -> Iterator[tuple[str, Callable]]:
    """Methods of a class, each where it is met first: families inherit most of theirs."""
    for method, function in inspect.getmembers(owner):
        raw = inspect.getattr_static(owner, method)
        if method.startswith("_") or method in values.METHODS_NOT_CALLED or not callable(function) or raw in seen:
            continue
        seen.add(raw)
        if isinstance(raw, classmethod | staticmethod):
            if values.is_ours(raw.__func__):
                yield f"{name}.{method}", function
        elif public in values.INSTANCES and inspect.isfunction(raw) and values.is_ours(raw):
            yield f"{name}.{method}", getattr(values.instance(public), method)


def cases_of(name: str, function: Callable, good: dict | None = None) -> Iterator[Case]:
    """The parameters of one function; `good` makes what it is called with, by default what `fuzz_values` knows."""
    own = values.WORDS.get(name)
    parameters = [
        p for p in inspect.signature(function).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    good = values.good_arguments(name, parameters) if good is None else good
    module = inspect.getmodule(inspect.unwrap(function.__init__ if inspect.isclass(function) else function))
    for parameter in parameters:
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, vars(typing) | vars(module))
            except NameError:  # a name for type checkers
                hint = Any
        optional = parameter.default is None
        if own is not None and parameter.name != own:
            continue
        bad, doubtful = (values.BAD_WORDS, []) if own else bad_values(name, parameter.name, hint, optional)
        if bad or doubtful:
            case = f"{name}({parameter.name})"
            kinds = {values.kind_of(option) for option in _options(hint) if option is not type(None)}
            kind = kinds.pop() if len(kinds) == 1 else None
            yield Case(case, function, tuple(good.items()), parameter.name, tuple(bad), tuple(doubtful), kind)


def bad_values(name: str, parameter: str, hint: Any, optional: bool) -> tuple[list, list]:
    """Values that no call can mean, and values that some may, for a parameter of this name and type."""
    options = _options(hint)
    if parameter in values.IDS:
        bad = [value for value in values.BAD_IDS if not values.is_meant(name, parameter, value)]
        doubtful = list(values.DOUBTFUL_IDS)
        if name in values.OF_DOCUMENTS:  # which may differ in length
            bad.remove(values.RAGGED)
            doubtful.append(values.RAGGED)
        if parameter in values.TEXTS_TOO:
            bad.remove("abc")
    else:
        kinds = [values.kind_of(option) for option in options if option is not type(None)]
        if any(kind is None for kind in kinds):
            known = values.BAD_BY_NAME.get(parameter, [])
            return [value for value in known if not values.is_meant(name, parameter, value)], []
        bad = [value for value in values.BAD[kinds[0]] if not any(values.fits(value, kind) for kind in kinds)]
        doubtful = [value for kind in kinds for value in values.DOUBTFUL.get(kind, ())]
        bad = [value for value in bad if not values.is_meant(name, parameter, value)]
        if int in kinds and float not in kinds and parameter not in values.SIGNED:
            bad.append(-1)
    if not (optional or type(None) in options or values.is_meant(name, parameter, None)):
        bad.append(None)
    return bad, doubtful


def _options(hint: Any) -> tuple:
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(option for part in typing.get_args(hint) for option in _options(part))
    return (hint,)


def outcome(case: Case, value: Any, must_refuse: bool) -> tuple[str, str]:
    """`("refused" | "unclear" | "accepted", what was said)` of a call with this value in its place."""
    arguments = {name: make() for name, make in case.good}
    arguments[case.parameter] = value() if isinstance(value, types.FunctionType) or value is list else value
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = case.function(**arguments)
            if isinstance(result, collections.abc.Iterator):
                next(result, None)
    except CLEAR as error:
        # A value that is good by itself may go against another argument, and the message then names that one.
        names = [case.parameter] if must_refuse else list(inspect.signature(case.function).parameters)
        if case.name.split("(")[0] in values.WORDS:  # messages of the command line name the word as it was typed
            names += ["GRAMMAR", "MODEL", "TEXT", r"\w+=\S+", re.escape(str(value)), re.escape(repr(value))]
        if isinstance(arguments.get("name"), str) and arguments["name"]:  # what an argument is called in messages
            names.append(re.escape(arguments["name"]))
        clear = isinstance(error, NotSupported) or any(
            re.search(rf"(?<!\w){name}(?!\w)", str(error)) for name in names
        )
        return ("refused" if clear else "unclear"), f"{type(error).__name__}: {error}"
    except Exception as error:
        return "unclear", f"{type(error).__name__}: {error}"
    return "accepted", shown(result)


def failure(case: Case, value: Any, must_refuse: bool) -> str | None:
    """What is wrong with the answer to this value, or None."""
    verdict, said = outcome(case, value, must_refuse)
    if verdict == "refused" or (verdict == "accepted" and not must_refuse):
        return None
    return f"{case.name} with {shown(value)}: {verdict}: {said[:160]}"


class TooLong(BaseException):
    """A call that did not end."""


def _too_long(*_: Any) -> None:
    raise TooLong


def main() -> None:
    """Prints every failure, and the counts for docs/reliability.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names, such as theory.plateau")
    args = parser.parse_args()
    counts: Counter = Counter()
    functions = set()
    signal.signal(signal.SIGPROF, _too_long)
    for case in cases():
        if args.names and not any(name in case.name for name in args.names):
            continue
        functions.add(case.name.split("(")[0])
        for must_refuse, given in ((True, case.bad), (False, case.doubtful)):
            for value in given:
                signal.setitimer(signal.ITIMER_PROF, LONGEST)
                try:
                    verdict, said = outcome(case, value, must_refuse)
                except TooLong:
                    verdict, said = "hangs", ""
                signal.setitimer(signal.ITIMER_PROF, 0)
                wrong = verdict in ("unclear", "hangs") or (verdict == "accepted" and must_refuse)
                counts["doubtful, answered" if verdict == "accepted" and not must_refuse else verdict] += 1
                if wrong:
                    print(f"{verdict}: {case.name} with {shown(value)}: {said[:160]}", flush=True)
    print(f"{len(functions)} functions, {sum(counts.values())} calls: {dict(counts)}")


if __name__ == "__main__":
    main()
