"""YAML 1.2 as configuration files need it: one document, plain values, nothing read in two ways.

The parser is ruamel.yaml's, in pure Python: duplicate keys are errors, `010` is 10, `1:30` a string, `1e-3` a number.
What it allows beyond that and no argument is made of is refused here: dates, binary values, sets, keys that are no
strings, aliases that contain themselves or that multiply what they stand for without bound.
"""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ..checks import checked


MAX_CHARACTERS = 2**20
MAX_VALUES = 100_000  # with every alias written out
MAX_DEPTH = 50


@checked
def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        `ValueError`: where there is no such file, it is not YAML 1.2, or it holds no mapping of names to plain values.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path} cannot be read: {reason}") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of argument names to values, not {type(values).__name__}")
    return values


@checked
def parse_yaml(text: str, source: str) -> Any:
    """The value that a YAML text stands for: mappings with string keys, lists, strings, numbers, booleans and None.

    Args:
        text (`str`): one document.
        source (`str`): what messages call it.

    Raises:
        `ValueError`: in one line, with the place of the mistake.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{source} has {len(text)} characters: at most {MAX_CHARACTERS} are read as YAML")
    if any(line.startswith("%") for line in text.splitlines()):
        raise ValueError(f"{source} has a line that begins with %: directives such as %YAML 1.1 are not supported")
    try:
        values = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{source} is not YAML{place}: {error.problem or error.context}") from None
    except RecursionError:
        raise ValueError(f"{source} is nested more deeply than {MAX_DEPTH} levels") from None
    except (YAMLError, ValueError, OverflowError) as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}") from None
    _check(values, source)
    return values


def dump_yaml(values: dict[str, Any]) -> str:
    """A mapping as YAML that [`parse_yaml`] reads back to the same values, in the same order."""
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 2**16
    yaml.dump(values, text)
    return text.getvalue()


def _check(values: Any, source: str) -> None:
    """Walks over the values with every alias written out, so that an alias counts as often as it is used."""
    count, waiting = 0, [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise ValueError(f"{source} stands for more than {MAX_VALUES} values: its aliases (*name) multiply them")
        if depth > MAX_DEPTH:
            raise ValueError(f"{source} is nested more deeply than {MAX_DEPTH} levels, or an alias contains itself")
        if isinstance(value, dict):
            wrong = [key for key in value if not isinstance(key, str)]
            if wrong:
                raise ValueError(f"{source} has the key {wrong[0]!r}, which is no string: quote it")
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)
        elif value is not None and not isinstance(value, str | int | float):
            raise ValueError(
                f"{source} holds {value}, read as a {type(value).__name__}: quote it where a string is meant"
            )
