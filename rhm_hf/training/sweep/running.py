"""A sweep: its runs are trained, skipped, resumed; their rows collected in one file while it goes on.

Each run has its own folder, named by what varies, and is written, skipped, resumed and locked by [`train`] alone: a
sweep killed anywhere is continued by starting it again, and where its runs are trained changes nothing.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...files import remove_partial
from .. import results
from ..arguments import Arguments
from ..run import folder
from ..run.meters import Meter
from . import executors
from .combinations import OPTIONS, expand, name_of, named_runs


__all__ = ["EXECUTORS", "OPTIONS", "UnfinishedRuns", "expand", "sweep"]
EXECUTORS = ("local", "ray", "print")
MAX_WORKERS = 1024
WATCHED = 64  # runs whose steps are counted while they are at work


class UnfinishedRuns(RuntimeError):
    """Says which runs of a sweep are not finished, and why where that is known.

    Attributes:
        runs (`list[str]`): their names.
    """

    def __init__(self, missing: Sequence[Arguments], num_runs: int):
        self.runs: list[str] = [name_of(run) for run in missing]
        lines = [f"{name}: {executors.last_line(run)}" for name, run in zip(self.runs, missing, strict=True)]
        text = f"{len(missing)} of {num_runs} runs are not finished; the same command again goes on with them"
        super().__init__("\n  ".join([text, *lines]))


def sweep(
    values: dict[str, Any],
    num_workers: int | None = None,
    executor: str = "local",
    runs_per_gpu: int | None = None,
) -> list[dict[str, Any]]:
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
    named = named_runs(values)
    runs = [run for _, run in named]
    collected = _Collected(named)
    todo = [run for run in runs if collected.missing(run)]
    trained = {
        "local": lambda: executors.in_processes(todo, num_workers) if num_workers > 1 else executors.in_process(todo),
        "ray": lambda: _on_ray(todo, num_workers, runs_per_gpu),
        "print": lambda: executors.print_commands(todo),
    }[executor]
    try:
        if todo:
            _watch(trained(), collected, todo, executor)
    except KeyboardInterrupt:
        left = [run for run in todo if collected.missing(run)]
        raise KeyboardInterrupt(str(UnfinishedRuns(left, len(runs)))) from None
    rows = collected.write()
    missing = [run for run in todo if collected.missing(run)]
    if missing and executor != "print":
        raise UnfinishedRuns(missing, len(runs))
    return rows


def _on_ray(todo: list[Arguments], num_workers: int | None, runs_per_gpu: int | None) -> Iterator[Arguments | None]:
    from .on_ray import on_ray

    return on_ray(todo, num_workers, runs_per_gpu)


def _checked_workers(num_workers: int | None, executor: str, runs_per_gpu: int | None) -> int | None:
    if executor not in EXECUTORS:
        raise ValueError(f"executor={executor!r} must be one of {', '.join(EXECUTORS)}")
    for name, value in (("num_workers", num_workers), ("runs_per_gpu", runs_per_gpu)):
        right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS
        if value is not None and not right:
            raise ValueError(f"{name}={value!r} must be an integer, at least 1 and at most {MAX_WORKERS}")
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


def _watch(
    ended: Iterator[Arguments | None], collected: "_Collected", todo: Sequence[Arguments], executor: str
) -> None:
    """Counts the steps of all runs, writes the rows of those that end, and says at once which fail."""
    prints = executor == "print"
    left = {name_of(run): run for run in todo}
    steps = {name_of(run): run.training.max_steps for run in collected.runs}
    done = sum(steps[name] for name in steps.keys() - left.keys())
    shown = not prints and results.is_main_process()
    with (
        contextlib.closing(ended),  # workers end with the sweep, however it ends
        Meter(sum(steps.values()), "steps", done, "sweep", shown) as meter,
    ):
        for run in ended:
            if run is not None:
                del left[name_of(run)]
                done += run.training.max_steps  # a run that fails or stops early takes no more time either
                if not prints and collected.missing(run):
                    meter.say(f"{name_of(run)} failed: {executors.last_line(run)}")
                elif not prints:
                    collected.write()
            meter.annotate(runs=f"{len(steps) - len(left)} of {len(steps)}")
            at_work = itertools.islice(left.values(), WATCHED)  # runs are started in order
            meter.update(done + sum(folder.steps_done(Path(run.training.output_dir)) for run in at_work))


class _Collected:
    """The rows of all finished runs, made flat: what tells the runs apart, and columns for all their tasks."""

    def __init__(self, named: Sequence[tuple[str, Arguments]]):
        self.named, self.runs = named, [run for _, run in named]
        self.identities = [run.identity() for run in self.runs]
        self.differing = [
            name
            for name in self.identities[0]
            if name != "model_type" and len({json.dumps(values[name]) for values in self.identities}) > 1
        ]
        self.folder = Path(self.runs[0].training.output_dir).parent
        self._finished: dict[str, list[dict[str, Any]]] = {}
        if results.is_main_process() and self.folder.is_dir():
            remove_partial(self.folder)

    def missing(self, run: Arguments) -> bool:
        """Whether a run is not finished; asks its folder once it is, never again."""
        name = name_of(run)
        if name not in self._finished and (rows := folder.finished(run)) is not None:
            self._finished[name] = rows
            if results.is_main_process() and folder.needs_cleaning(place := Path(run.training.output_dir)):
                folder.clean(place)
        return name not in self._finished

    def rows(self) -> list[dict[str, Any]]:
        """Of the runs that are known to be finished, in the order of the sweep."""
        rows = []
        for (variant, run), values in zip(self.named, self.identities, strict=True):
            added = {"variant": variant} if variant else {}
            added |= {name: _cell(values[name]) for name in self.differing}
            for row in self._finished.get(name_of(run), []):
                rows.append({"run": row["run"]} | {k: v for k, v in added.items() if k not in row} | row)
        names = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name, "") for name in names} for row in rows]

    def write(self) -> list[dict[str, Any]]:
        """The rows, also written to the sweep's results.csv."""
        rows = self.rows()
        if rows and results.is_main_process():
            results.write_csv(self.folder / folder.RESULTS_FILE, rows)
        return rows


def _cell(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, dict) else value
