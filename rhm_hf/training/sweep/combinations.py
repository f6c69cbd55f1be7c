"""From arguments that list several values to runs, each with a folder named by what varies."""

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

from ...checks import checked
from .. import plugins
from ..arguments import BLOCKS, Arguments, check_keys, own_names
from ..arguments.values import hints_of, read


OPTIONS = ("executor", "num_workers", "runs_per_gpu", "variants")  # what a sweep's YAML may hold beside arguments
MAX_RUNS = 20_000


@checked
def expand(values: dict[str, Any]) -> list[Arguments]:
    """The runs of a sweep, in the order of the lists, the last list fastest.

    Args:
        values (`dict`): arguments as in a run's YAML file; where a value is a list, each of its values makes a run,
            one that is written in two ways (0.001 and "1e-3") a single one. `variants` maps names to mappings of
            arguments that vary together, lists among them: each is merged over the other arguments,
            `config_overrides` as a whole, and expanded by itself.

    Returns:
        `list[Arguments]`: with `output_dir` a folder `[<variant>_]<name>-<value>[_<name>-<value>]` in that of the
        sweep.

    Raises:
        `ValueError`: for an empty list, a value listed twice, a key that is no argument, a bad value, a bad variant,
            more than 20 000 runs.
    """
    return [run for _, run in named_runs(values)]


def named_runs(values: dict[str, Any]) -> list[tuple[str, Arguments]]:
    """The runs, each with the name of its variant, empty where there are none."""
    common = own_names({name: value for name, value in values.items() if name != "variants"})
    if isinstance(common.get("imports"), str):
        plugins.import_modules(common["imports"])  # before anything asks what there is
    if "variants" not in values:
        parts = [("", common)]
    else:
        parts = [(variant, common | own) for variant, own in _checked_variants(values["variants"]).items()]
    parts = [(variant, {name: _listed(name, value) for name, value in part.items()}) for variant, part in parts]
    number = sum(math.prod(len(v) for v in part.values() if isinstance(v, list)) for _, part in parts)
    if number > MAX_RUNS:
        raise ValueError(
            f"the lists make {number} runs: a sweep has at most {MAX_RUNS}, so list fewer values or split it"
        )
    named = [(variant, run) for variant, part in parts for run in _combinations(part, variant)]
    names = [name_of(run) for _, run in named]
    if repeated := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise ValueError(f"two runs would share the folder {', '.join(repeated)}: rename a variant")
    return named


def name_of(run: Arguments) -> str:
    """The name of a run's folder."""
    return Path(run.training.output_dir).name


def _checked_variants(variants: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(variants, dict) or not variants or not all(isinstance(own, dict) for own in variants.values()):
        raise ValueError(f"variants={variants!r} must map names to mappings of arguments")
    for variant, own in variants.items():
        if not re.fullmatch(r"[A-Za-z][\w.-]*", str(variant), flags=re.ASCII):
            raise ValueError(f"variants: {variant!r} names folders: a letter, then letters, digits, '_', '-' and '.'")
        if "output_dir" in own:
            raise ValueError(f"variants: {variant} cannot have an output_dir: runs get folders of their own")
    return {variant: own_names(own) for variant, own in variants.items()}


def _listed(name: str, value: Any) -> Any:
    """A list of values as they will be, each once; anything else as it is."""
    if not isinstance(value, list):
        return value
    if not value or len({json.dumps(v, default=repr) for v in value}) < len(value):
        raise ValueError(f"{name}={value!r} must list at least one value, and none twice")
    if name in ("output_dir", "num_processes"):
        raise ValueError(f"{name} cannot be listed: give one value; runs get folders of their own")
    if name in ("config_overrides", "optimizer_options"):
        raise ValueError(f"{name} cannot be listed: name each value, under variants")
    check_keys({name: value})
    values = [read(name, v, _HINTS[name]) for v in value]
    return list({json.dumps(v): v for v in values}.values())


def _combinations(values: dict[str, Any], variant: str) -> list[Arguments]:
    varied = {name: value for name, value in values.items() if isinstance(value, list)}
    fixed = {name: value for name, value in values.items() if name not in varied}
    root = Path(Arguments.from_dict({k: v for k, v in fixed.items() if k == "output_dir"}).training.output_dir)
    runs = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        parts = [variant] * bool(variant) + [f"{name}-{value}".replace("/", "-") for name, value in chosen.items()]
        folder = root / ("_".join(parts) or "run")
        runs.append(Arguments.from_dict(fixed | chosen | {"output_dir": str(folder)}))
    return runs


_HINTS = {name: hint for block in BLOCKS for name, hint in hints_of(block).items()}
