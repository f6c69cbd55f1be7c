"""`--config run.yaml --num_train 1024 ..` as values; what is not understood is one line that says what was meant."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from ...checks import did_you_mean, kinds_of
from ..strict_yaml import parse_yaml
from .blocks import BLOCKS
from .values import hints_of


ALIASES = {"import": "imports"}  # what may be written for an argument whose name Python does not allow


class UsageError(ValueError):
    """A command line that is not understood."""

    exit_code: int = 2  # of a command that ends so


class Parser(argparse.ArgumentParser):
    """Raises where `argparse` would print all arguments and end the programme."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def read(self, argv: Sequence[str] | None) -> dict[str, Any]:
        """The arguments that are given; a dash in a name is an underscore."""
        import sys

        found, unknown = self.parse_known_args([spelled(word) for word in (sys.argv[1:] if argv is None else argv)])
        if unknown:
            self.refuse(unknown)
        return vars(found)

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Says of the first word that is no argument what was probably meant."""
        known = [option for action in self._actions for option in action.option_strings]
        wrong = next((word for word in words if word.startswith("-") and not _is_number(word)), words[0])
        name, equals, value = wrong.partition("=")
        if name.startswith("-"):
            raise UsageError(f"there is no argument {name}{did_you_mean(name, known)}")
        if equals and f"--{name}" in known:
            raise UsageError(f"{wrong!r} belongs to no argument: did you mean --{name} {value}?")
        raise UsageError(f"{wrong!r} belongs to no argument: write --NAME VALUE")


def spelled(word: str) -> str:
    """A word of a command line with the underscores of the name that it gives: `--num-train=3` is `--num_train=3`."""
    name, equals, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else word


def given_words(
    argv: Sequence[str] | None, prog: str | None, extra: Sequence[str], several: bool
) -> tuple[str | None, dict[str, Any]]:
    """What a command line says.

    Args:
        argv (`Sequence[str]`, *optional*): the words, by default of this process.
        prog (`str`, *optional*): the name of the programme in its help.
        extra (`Sequence[str]`): names beside the arguments of a run.
        several (`bool`): whether an argument may have several values.

    Returns:
        The path of `--config` and the arguments.

    Raises:
        [`UsageError`]: for what is no argument, and an argument without a value.
    """
    parser = Parser(prog=prog, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    text = "YAML file of arguments" + (", any of them a list" if several else "")
    parser.add_argument("--config", help=text, metavar="FILE")
    kinds = {name: kinds_of(hint) for block in BLOCKS for name, hint in hints_of(block).items()}
    helps = {f.name: f.metadata["help"] for block in BLOCKS for f in fields(block)}
    defaults = {f.name: f.default for block in BLOCKS for f in fields(block)}
    for name in (*kinds, *extra):
        flags = [f"--{name}", *(f"--{alias}" for alias, meant in ALIASES.items() if meant == name)]
        shown = "" if defaults.get(name) is None else f" (default: {defaults[name]})"
        help = f"{helps.get(name, 'see rhm_hf.training.sweep')}{shown}".replace("%", "%%")
        more = {"nargs": "+"} if several else {}
        parser.add_argument(*flags, dest=name, help=help, metavar="VALUE", **more)
    given = parser.read(argv)
    path = given.pop("config", None)
    for name, words in given.items():
        values = [_of_word(name, word, kinds.get(name)) for word in (words if several else [words])]
        given[name] = values[0] if len(values) == 1 else values
    return path, given


def own_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping with arguments under the names that fields have."""
    return {ALIASES.get(name, name): value for name, value in values.items()}


def _of_word(name: str, word: str, kinds: tuple[Any, ...] | None) -> Any:
    """The value of a word on the command line: as it stands for a name, read as YAML for all else."""
    if kinds is not None and str in kinds and word not in ("null", "~"):
        return word
    return parse_yaml(word, f"--{name} {word}")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
