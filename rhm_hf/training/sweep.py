"""Sweeps: arguments that list several values, every combination a run of its own.

Each run has its own folder, named by what varies, and is written, skipped, resumed and locked by [`train`] alone: a
sweep killed anywhere is continued by starting it again, and where its runs are trained changes nothing.
"""

import contextlib
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from . import executors, results
from .arguments import Arguments
from .folder import RESULTS_FILE, finished


EXECUTORS = ("local", "ray", "print")
OPTIONS = ("executor", "num_workers", "runs_per_gpu", "variants")  # what a sweep's YAML may hold beside arguments


class UnfinishedRuns(RuntimeError):
    """Says which runs of a sweep are not finished, and why where that is known.

    Attributes:
        runs (`list[str]`): their names.
    """

    def __init__(self, missing: Sequence[Arguments], num_runs: int):
        self.runs = [_name(run) for run in missing]
        lines = [f"{name}: {executors.last_line(run)}" for name, run in zip(self.runs, missing, strict=True)]
        text = f"{len(missing)} of {num_runs} runs are not finished; the same command again goes on with them"
        super().__init__("\n  ".join([text, *lines]))


def expand(values: dict) -> list[Arguments]:
    """The runs of a sweep, in the order of the lists, the last list fastest.

    Args:
        values (`dict`): arguments as in a run's YAML file; where a value is a list, each of its values makes a run.
            `variants` maps names to mappings of arguments that vary together, lists among them: each is merged over
            the other arguments, `config_overrides` as a whole, and expanded by itself.

    Returns:
        `list[Arguments]`: with `output_dir` a folder `[<variant>_]<name>-<value>[_<name>-<value>]` in that of the
        sweep.

    Raises:
        `ValueError`: for an empty list, a value listed twice, a key that is no argument, a bad value, a bad variant.
    """
    return [run for _, run in _expand(values)]


def _expand(values: dict) -> list[tuple[str, Arguments]]:
    """The runs, each with the name of its variant, empty where there are none."""
    common = {name: value for name, value in values.items() if name != "variants"}
    if "variants" not in values:
        named = [("", run) for run in _combinations(common, "")]
    else:
        named = [
            (variant, run)
            for variant, own in _checked_variants(values["variants"]).items()
            for run in _combinations(common | own, variant)
        ]
    names = [_name(run) for _, run in named]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two runs would share the folder {', '.join(repeated)}: rename a variant")
    return named


def _checked_variants(variants) -> dict[str, dict]:
    if not isinstance(variants, dict) or not variants or not all(isinstance(own, dict) for own in variants.values()):
        raise ValueError(f"variants={variants!r} must map names to mappings of arguments")
    for variant, own in variants.items():
        if not re.fullmatch(r"[A-Za-z][\w.-]*", str(variant), flags=re.ASCII):
            raise ValueError(f"variants: {variant!r} names folders: a letter, then letters, digits, '_', '-' and '.'")
        if "output_dir" in own:
            raise ValueError(f"variants: {variant} cannot have an output_dir: runs get folders of their own")
    return variants


def _combinations(values: dict, variant: str) -> list[Arguments]:
    varied = {name: value for name, value in values.items() if isinstance(value, list)}
    for name, listed in varied.items():
        if not listed or len({json.dumps(v) for v in listed}) < len(listed):
            raise ValueError(f"{name}={listed!r} must list at least one value, and none twice")
        if name in ("output_dir", "num_processes"):
            raise ValueError(f"{name} cannot be listed: give one value; runs get folders of their own")
        if name == "config_overrides":
            raise ValueError("config_overrides cannot be listed: name each value, under variants")
    fixed = {name: value for name, value in values.items() if name not in varied}
    root = Path(Arguments.from_dict({k: v for k, v in fixed.items() if k == "output_dir"}).training.output_dir)
    runs = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        parts = [variant] * bool(variant) + [f"{name}-{value}".replace("/", "-") for name, value in chosen.items()]
        folder = root / ("_".join(parts) or "run")
        runs.append(Arguments.from_dict(fixed | chosen | {"output_dir": str(folder)}))
    return runs


def _name(run: Arguments) -> str:
    return Path(run.training.output_dir).name


def sweep(
    values: dict, num_workers: int | None = None, executor: str = "local", runs_per_gpu: int | None = None
) -> list[dict]:
    """Trains every run of a sweep that is not finished, and collects the rows of all in one file.

    Args:
        values (`dict`): see [`expand`].
        num_workers (`int`, *optional*): runs at a time. `local`: each in a process of its own with one thread unless
            `num_threads` says otherwise; 1, the default: one after the other in this process, under `accelerate
            launch` in all of them. `ray`: by default as many as its resources allow. They start in the order listed,
            so list the longest first.
        executor (`str`, *optional*, defaults to `"local"`): `local`; `ray`, on the cluster that is there or on this
            machine; `print`, which trains nothing and prints the command of every run that is not finished.
        runs_per_gpu (`int`, *optional*): runs that share a GPU. `local`: in place of `num_workers`, so many for every
            visible GPU; `ray`: one by default, each run asking for this part of a GPU.

    Returns:
        `list[dict]`: the rows of all finished runs, also in `<output_dir>/results.csv`: those of a run with, after its
        name, its `variant` and every argument in which the runs differ and that a run's own rows do not hold.

    Raises:
        `ValueError`: see [`expand`]; for other executors or numbers; for anything but one worker under a launcher.
        [`UnfinishedRuns`]: a `RuntimeError`, if runs fail, once the others are done; their output is in their
            folders. Not with `print`.
    """
    num_workers = _checked_workers(num_workers, executor, runs_per_gpu)
    named = _expand(values)
    runs = [run for _, run in named]
    todo = _unfinished(runs)
    trained = {
        "local": lambda: executors.in_processes(todo, num_workers) if num_workers > 1 else executors.in_process(todo),
        "ray": lambda: executors.on_ray(todo, num_workers, runs_per_gpu),
        "print": lambda: executors.print_commands(todo),
    }[executor]
    try:
        if todo:
            _watch(trained(), len(runs), len(todo), executor)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(str(UnfinishedRuns(_unfinished(todo), len(runs)))) from None
    rows = _rows(named)
    if rows and int(os.environ.get("RANK", 0)) == 0:
        results.write_csv(Path(runs[0].training.output_dir).parent / RESULTS_FILE, rows)
    missing = _unfinished(todo)
    if missing and executor != "print":
        raise UnfinishedRuns(missing, len(runs))
    return rows


def _unfinished(runs: Sequence[Arguments]) -> list[Arguments]:
    return [run for run in runs if finished(run) is None]


def _checked_workers(num_workers: int | None, executor: str, runs_per_gpu: int | None) -> int | None:
    if executor not in EXECUTORS:
        raise ValueError(f"executor={executor!r} must be one of {', '.join(EXECUTORS)}")
    for name, value in (("num_workers", num_workers), ("runs_per_gpu", runs_per_gpu)):
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise ValueError(f"{name}={value!r} must be an integer, at least 1")
    if executor == "local" and runs_per_gpu is not None:
        if num_workers is not None:
            raise ValueError(f"num_workers={num_workers} and runs_per_gpu={runs_per_gpu}: give one of the two")
        if not (gpus := executors.visible_gpus()):
            raise ValueError(f"runs_per_gpu={runs_per_gpu} and no GPU is visible: give num_workers")
        num_workers = runs_per_gpu * len(gpus)
    if executor == "local":
        num_workers = num_workers or 1
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and (executor != "local" or num_workers > 1):
        raise ValueError(
            f"executor={executor!r}, num_workers={num_workers} under a launcher: use local and 1, each run takes all "
            "its processes"
        )
    return num_workers


def _watch(ended: Iterator[Arguments], num_runs: int, num_todo: int, executor: str) -> None:
    """A bar over runs, and a word at once on each that fails."""
    shown = sys.stderr.isatty() and int(os.environ.get("RANK", 0)) == 0 and executor != "print"
    with (
        contextlib.closing(ended),  # workers end with the sweep, however it ends
        tqdm(total=num_runs, initial=num_runs - num_todo, unit="run", disable=not shown) as bar,
    ):
        for run in ended:
            bar.update()
            if executor != "print" and finished(run) is None:
                tqdm.write(f"{_name(run)} failed: {executors.last_line(run)}", file=sys.stderr)


def _rows(named: Sequence[tuple[str, Arguments]]) -> list[dict]:
    """The rows of all finished runs, made flat: what tells the runs apart, and columns for all their tasks."""
    identities = [run.identity() for _, run in named]
    differing = [
        name
        for name in identities[0]
        if name != "model_type" and len({json.dumps(values[name]) for values in identities}) > 1
    ]
    rows = []
    for (variant, run), values in zip(named, identities, strict=True):
        added = {"variant": variant} if variant else {}
        added |= {name: _cell(values[name]) for name in differing}
        for row in finished(run) or []:
            rows.append({"run": row["run"]} | {k: v for k, v in added.items() if k not in row} | row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in names} for row in rows]


def _cell(value):
    return "" if value is None else json.dumps(value) if isinstance(value, dict) else value
