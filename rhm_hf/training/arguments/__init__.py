"""Every argument of a run, in three blocks, read from one YAML file and overridden on the command line."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...checks import checked, did_you_mean
from .. import plugins
from ..strict_yaml import dump_yaml, read_yaml
from .blocks import BLOCKS, FREE, DataArguments, ModelArguments, TrainingArguments
from .command_line import UsageError, given_words, own_names
from .values import Checked


__all__ = [
    "BLOCKS",
    "FREE",
    "Arguments",
    "DataArguments",
    "ModelArguments",
    "TrainingArguments",
    "UsageError",
    "check_keys",
    "dump_yaml",
    "field_names",
    "parse_arguments",
    "parse_sweep",
    "read_yaml",
]


@dataclass
class Arguments(Checked):
    """The three blocks of one run."""

    model: ModelArguments
    data: DataArguments
    training: TrainingArguments

    @classmethod
    @checked
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


def check_keys(values: dict[str, Any], extra: Sequence[str] = ()) -> None:
    """Raises a `ValueError` that names the keys of `values` that are no argument."""
    known = [*field_names(), *extra]
    unknown = {name: did_you_mean(name, known) for name in sorted(map(str, set(values) - set(known)))}
    if not unknown:
        return
    if len(unknown) == 1 and all(unknown.values()):
        raise ValueError(f"unknown argument {''.join(name + meant for name, meant in unknown.items())}")
    said = ", ".join(name + (f" ({meant.removeprefix(': ')})" if meant else "") for name, meant in unknown.items())
    every = "" if all(unknown.values()) else f": known are {', '.join(known)}"
    raise ValueError(f"unknown argument{'s' * (len(unknown) > 1)} {said}{every}")


@checked
def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> Arguments:
    """`--config run.yaml --num_train 1024 ..`: the file first, then the command line over it.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        prog (`str`, *optional*): the name of the programme in its help.

    Raises:
        `ValueError`: for a file that cannot be read and for a value that is not an argument's; [`UsageError`], which
            is one, for a word on the command line that is no argument.
    """
    path, given = given_words(argv, prog, (), several=False)
    values = {} if path is None else own_names(read_yaml(path))
    if path is not None:
        brought = {name: given[name] for name in ("imports",) if name in given}  # may add to what the file may name
        Arguments.from_dict(values | brought)  # a mistake of the file is one, also where a word replaces the value
    return Arguments.from_dict(_without_sizes(values, given) | given)


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
    path, given = given_words(argv, prog, extra, several=True)
    values = {} if path is None else own_names(read_yaml(path))
    variants = values.get("variants")
    if isinstance(variants, dict) and "variants" not in given:
        values["variants"] = _variants(variants, values, given)
    values = _without_sizes(values, given) | given
    check_keys(values, extra)
    return values


def _variants(variants: dict[str, Any], values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Variants under a command line, which wins over them; those that it makes equal are one."""
    found: dict[str, Any] = {}
    for variant, own in variants.items():
        if isinstance(own, dict):
            own = _without_sizes(own_names(own), given, values.get("model_type", ModelArguments.model_type))
            own = {name: value for name, value in own.items() if name not in given or value is None}
        same = next((name for name, other in found.items() if other == own), None)
        if same is None or "model_type" not in given:
            found[variant] = own
        else:
            _remark(f"with --model_type {given['model_type']} the variant {variant} is {same}: left out")
    return found


def _without_sizes(values: dict[str, Any], given: dict[str, Any], model_type: Any = None) -> dict[str, Any]:
    """A file's values without `config_overrides` where a command line names another model: these were the file's."""
    own = values.get("model_type", model_type or ModelArguments.model_type)
    if given.get("model_type", own) == own or "config_overrides" in given or not values.get("config_overrides"):
        return values
    _remark(f"config_overrides of the file are for {own}, left out: sizes suit the data, or give --config_overrides")
    return {name: value for name, value in values.items() if name != "config_overrides"}


def _remark(text: str) -> None:
    print(text, file=sys.stderr)
