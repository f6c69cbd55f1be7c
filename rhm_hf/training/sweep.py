"""Sweeps: arguments that list several values, every combination a run of its own.

Each run has its own folder, named by what varies, and is written, skipped, resumed and locked by [`train`] alone: a
sweep killed anywhere is continued by starting it again.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from . import results
from .arguments import Arguments
from .checkpoint import write_atomically
from .folder import RESULTS_FILE, finished
from .loop import train


ARGUMENTS_FILE = "arguments.yaml"
OUTPUT_FILE = "output.txt"


def expand(values: dict) -> list[Arguments]:
    """The runs of a sweep, in the order of the lists, the last list fastest.

    Args:
        values (`dict`): arguments as in a run's YAML file; where a value is a list, each of its values makes a run.

    Returns:
        `list[Arguments]`: with `output_dir` a folder `<name>-<value>[_<name>-<value>]` in that of the sweep.

    Raises:
        `ValueError`: for an empty list, a value listed twice, a key that is no argument, a bad value.
    """
    varied = {name: value for name, value in values.items() if isinstance(value, list)}
    for name, listed in varied.items():
        if not listed or len({json.dumps(v) for v in listed}) < len(listed):
            raise ValueError(f"{name}={listed!r} must list at least one value, and none twice")
        if name in ("output_dir", "config_overrides", "num_processes"):
            raise ValueError(f"{name} cannot be listed: give one value; runs get folders of their own")
    fixed = {name: value for name, value in values.items() if name not in varied}
    root = Path(Arguments.from_dict({k: v for k, v in fixed.items() if k == "output_dir"}).training.output_dir)
    runs = []
    for combination in itertools.product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        folder = "_".join(f"{name}-{value}" for name, value in chosen.items()) or "run"
        runs.append(Arguments.from_dict(fixed | chosen | {"output_dir": str(root / folder)}))
    return runs


def sweep(values: dict, num_workers: int = 1) -> list[dict]:
    """Trains every run of a sweep that is not finished, and collects their rows in one file.

    Args:
        values (`dict`): see [`expand`].
        num_workers (`int`, *optional*, defaults to 1): runs at a time, each in a process of its own with one thread
            unless `num_threads` says otherwise; 1: one after the other in this process, under `accelerate launch` in
            all of them. They start in the order listed, so list the longest first.

    Returns:
        `list[dict]`: the rows of all runs, also in `<output_dir>/results.csv`.

    Raises:
        `ValueError`: see [`expand`]; for several workers under `accelerate launch`.
        `RuntimeError`: if a worker fails, once the others are done; its output is in its run's folder.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} must be at least 1")
    runs = expand(values)
    if num_workers > 1 and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"num_workers={num_workers} under a launcher: use one, each run takes all processes")
    todo = [run for run in runs if finished(run) is None]
    if num_workers == 1 or len(todo) <= 1:
        for run in todo:
            train(run)
    else:
        _in_processes(todo, num_workers)
    rows = [row for run in runs for row in finished(run)]
    if int(os.environ.get("RANK", 0)) == 0:
        results.write_csv(Path(runs[0].training.output_dir).parent / RESULTS_FILE, rows)
    return rows


def _in_processes(runs: Sequence[Arguments], num_workers: int) -> None:
    """Runs `rhm train` for each, at most `num_workers` at a time."""
    waiting, working, failed = list(runs), {}, []
    try:
        while waiting or working:
            while waiting and len(working) < num_workers:
                run = waiting.pop(0)
                working[_start(run)] = run
            time.sleep(0.1)
            for process in [p for p in working if p.poll() is not None]:
                run = working.pop(process)
                if process.returncode:
                    failed.append(run)
    finally:
        for process in working:  # only where this loop is interrupted: nobody would wait for them
            process.terminate()
    if failed:
        outputs = ", ".join(str(Path(run.training.output_dir) / OUTPUT_FILE) for run in failed)
        raise RuntimeError(f"{len(failed)} of {len(runs)} runs failed: see {outputs}")


def _start(run: Arguments) -> subprocess.Popen:
    folder = Path(run.training.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ARGUMENTS_FILE, yaml.safe_dump(run.to_dict(), sort_keys=False))
    threads = str(run.training.num_threads or 1)
    command = [sys.executable, "-m", "rhm_hf.cli", "train", "--config", str(folder / ARGUMENTS_FILE)]
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with open(folder / OUTPUT_FILE, "w") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
