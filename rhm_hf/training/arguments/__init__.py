"""Every argument of a run, in three blocks, read from one YAML file and overridden on the command line."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NoReturn

from .. import plugins
from ..strict_yaml import dump_yaml, parse_yaml, read_yaml
from .blocks import BLOCKS, FREE, DataArguments, ModelArguments, TrainingArguments
from .values import did_you_mean, hints_of


__all__ = [
    "BLOCKS",
    "FREE",
    "Arguments",
    "DataArguments",
    "ModelArguments",
    "TrainingArguments",
    "check_keys",
    "dump_yaml",
    "field_names",
    "parse_arguments",
    "parse_sweep",
    "read_yaml",
]
ALIASES = {"import": "imports"}  # what may be written for an argument whose name Python does not allow


@dataclass
class Arguments:
    """The three blocks of one run."""

    model: ModelArguments
    data: DataArguments
    training: TrainingArguments

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Arguments":
        """From one flat mapping, such as a YAML file holds.

        Raises:
            `ValueError`: for a key that is no argument, a value of the wrong type or out of range.
        """
        values = own_names(values)
        check_keys(values)
        if isinstance(values.get("imports"), str):
            plugins.import_modules(values["imports"])  # before anything asks what there is
        blocks = []
        for block in BLOCKS:
            blocks.append(block(**{f.name: values[f.name] for f in fields(block) if f.name in values}))
        return cls(*blocks)

    def to_dict(self) -> dict[str, Any]:
        """All arguments as one flat mapping."""
        return asdict(self.model) | asdict(self.data) | asdict(self.training)

    def identity(self) -> dict[str, Any]:
        """The arguments that make the result what it is."""
        return {name: value for name, value in self.to_dict().items() if name not in FREE}


def field_names() -> list[str]:
    """The names of all arguments."""
    return [f.name for block in BLOCKS for f in fields(block)]


def own_names(values: dict[str, Any]) -> dict[str, Any]:
    """The same mapping with arguments under the names that fields have."""
    return {ALIASES.get(name, name): value for name, value in values.items()}


def check_keys(values: dict[str, Any], extra: Sequence[str] = ()) -> None:
    """Raises a `ValueError` that names the keys of `values` that are no argument."""
    known = [*field_names(), *extra]
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        meant = did_you_mean(unknown[0], known) if len(unknown) == 1 else ""
        raise ValueError(f"unknown argument {', '.join(unknown)}{meant or ': known are ' + ', '.join(known)}")


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> Arguments:
    """`--config run.yaml --num_train 1024 ..`: the file first, then the command line over it.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        prog (`str`, *optional*): the name of the programme in its help.

    Raises:
        `ValueError`: for a file that cannot be read and for a value that is not an argument's. An unknown word on the
            command line ends the programme with a usage message, as with any `argparse` programme.
    """
    path, given = _given(argv, prog, (), several=False)
    values = {} if path is None else own_names(read_yaml(path))
    if path is not None:
        brought = {name: given[name] for name in ("imports",) if name in given}  # may add to what the file may name
        Arguments.from_dict(
            values | brought
        )  # a mistake in the file is one even where the command line replaces the value
    return Arguments.from_dict(values | given)


def parse_sweep(
    argv: Sequence[str] | None = None, prog: str | None = None, extra: Sequence[str] = ()
) -> dict[str, Any]:
    """`--config sweep.yaml --num_train 256 1024 ..`: a mapping whose values may be lists, not yet expanded.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        prog (`str`, *optional*): the name of the programme in its help.
        extra (`Sequence[str]`): names allowed beside the arguments of a run.

    Returns:
        `dict`: the file's values with the command line's over them: in every variant too, so that what is given
        explicitly always counts, but for what a variant says it does not have (`text: null`).

    Raises:
        `ValueError`: see [`parse_arguments`].
    """
    path, given = _given(argv, prog, extra, several=True)
    values = ({} if path is None else own_names(read_yaml(path))) | given
    variants = values.get("variants")
    if isinstance(variants, dict) and "variants" not in given:
        values["variants"] = {
            variant: {name: value for name, value in own_names(own).items() if name not in given or value is None}
            if isinstance(own, dict)
            else own
            for variant, own in variants.items()
        }
    check_keys(values, extra)
    return values


class _Parser(argparse.ArgumentParser):
    """Says what an unknown argument may have meant."""

    def error(self, message: str) -> NoReturn:
        wrong = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        if message.startswith("unrecognized") and wrong:
            known = [option for action in self._actions for option in action.option_strings]
            message += did_you_mean(wrong[0], known)
        super().error(message)


def _given(
    argv: Sequence[str] | None, prog: str | None, extra: Sequence[str], several: bool
) -> tuple[str | None, dict[str, Any]]:
    """What a command line says: the path of `--config`, and the arguments."""
    parser = _Parser(prog=prog, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    text = "YAML file of arguments" + (", any of them a list" if several else "")
    parser.add_argument("--config", help=text)
    kinds = {name: kinds for block in BLOCKS for name, kinds in hints_of(block).items()}
    helps = {f.name: f.metadata["help"] for block in BLOCKS for f in fields(block)}
    defaults = {f.name: f.default for block in BLOCKS for f in fields(block)}
    for name in (*kinds, *extra):
        flags = [f"--{name}", *(f"--{alias}" for alias, meant in ALIASES.items() if meant == name)]
        shown = "" if defaults.get(name) is None else f" (default: {defaults[name]})"
        help = f"{helps.get(name, 'see rhm_hf.training.sweep')}{shown}".replace("%", "%%")
        more = {"nargs": "+"} if several else {}
        parser.add_argument(*flags, dest=name, help=help, metavar="VALUE", **more)
    given = vars(parser.parse_args(argv))
    path = given.pop("config", None)
    for name, words in given.items():
        values = [_of_word(name, word, kinds.get(name)) for word in (words if several else [words])]
        given[name] = values[0] if len(values) == 1 else values
    return path, given


def _of_word(name: str, word: str, kinds: tuple[type, ...] | None) -> Any:
    """The value of a word on the command line: as it stands for a name, read as YAML for all else."""
    if kinds is not None and str in kinds and word not in ("null", "~"):
        return word
    return parse_yaml(word, f"--{name} {word}")
