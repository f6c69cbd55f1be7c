"""SIGKILL at random times, again and again: what is resumed ends in the very bits of what was never killed."""

import functools
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import apart
from safetensors.torch import load_file

from rhm_hf.training import Arguments, train
from rhm_hf.training.results import read_csv
from rhm_hf.training.run import checkpoint
from rhm_hf.training.strict_yaml import parse_yaml
from rhm_hf.training.sweep import sweep


LONG = {"max_steps": 160, "num_evaluations": 8, "save_steps": 7}
NOT_COMPARED = ("seconds", "commit")  # files may be edited while a test runs


def in_a_process(function, *given):
    process = apart().Process(target=alone, args=(function, *given))
    process.start()
    return process


def alone(function, *given):
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    function(*given)


def newest(folder):
    """Where a run is: its newest checkpoint, infinity once it has ended."""
    if '"finished": true' in text_of(folder / "run.json"):
        return float("inf")
    return max(checkpoint.steps(folder), default=0)


def text_of(path):
    return path.read_text() if path.exists() else ""


def kill_after_progress(process, position, rng):
    """SIGKILL at a random time once `position()` has moved: attempts that got nowhere would test nothing."""
    before, deadline = position(), time.monotonic() + 3600
    while position() == before and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.06))  # 3 ms a step, 10 ms a checkpoint: anywhere in either
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def same(folder, other):
    rows, others = (
        [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in read_csv(Path(f) / "results.csv")]
        for f in (folder, other)
    )
    a, b = (load_file(Path(f) / "model" / "model.safetensors") for f in (folder, other))
    return rows == others and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_killed_many_times(tiny, tmp_path):
    """And whose newest checkpoint is cut short, once, where there is one before it."""
    rng = random.Random(1)
    killed = tiny(output_dir=str(tmp_path / "killed" / "run"), **LONG)
    whole = tiny(output_dir=str(tmp_path / "whole" / "run"), **LONG)
    folder, kills, damaged = Path(killed.training.output_dir), 0, False
    for _ in range(6):
        kills += kill_after_progress(in_a_process(train, killed), lambda: newest(folder), rng)
        if not damaged and len(steps := checkpoint.steps(folder)) == 2:
            path = rng.choice(sorted((folder / f"checkpoint-{steps[0]}").iterdir()))
            os.truncate(path, rng.randrange(path.stat().st_size))
            damaged = True
    train(killed)
    train(whole)
    assert same(folder, whole.training.output_dir)
    assert kills >= 3
    log = (folder / "log.jsonl").read_text()
    assert log.count('"event": "damaged checkpoint"') == damaged == 1
    assert not list(folder.glob(".*partial")) + list(folder.glob("*checkpoint*"))  # no debris


def test_a_sweep_killed_many_times(tiny, tmp_path):
    rng = random.Random(2)
    values = tiny(**LONG).to_dict() | {"num_train": [96, 48, 24], "max_steps": 80}
    killed, whole = (values | {"output_dir": str(tmp_path / name)} for name in ("killed", "whole"))
    names = [f"num_train-{number}" for number in values["num_train"]]

    def position():
        return [newest(tmp_path / "killed" / name) for name in names]

    kills = sum(kill_after_progress(in_a_process(sweep, killed), position, rng) for _ in range(6))
    rows = sweep(killed)
    sweep(whole)
    assert kills >= 4
    assert [row["run"] for row in rows if row["best"]] == names
    assert rows == read_csv(tmp_path / "killed" / "results.csv")
    assert all(same(tmp_path / "killed" / name, tmp_path / "whole" / name) for name in names)


def workers_of(pid):
    """The living children of the zygote of a sweep, and itself."""
    (zygote,) = children(pid)
    return [zygote, *children(zygote)]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the workers of a killed sweep end their runs")
def test_a_killed_sweep_takes_its_workers_along(tiny, tmp_path):
    """A sweep with two workers, killed itself and alone; resumed in one process."""
    values = tiny(**LONG).to_dict() | {"num_train": [96, 48]}
    killed, whole = (values | {"output_dir": str(tmp_path / name)} for name in ("killed", "whole"))
    folders = [tmp_path / "killed" / f"num_train-{number}" for number in (96, 48)]
    process, deadline = in_a_process(functools.partial(sweep, num_workers=2), killed), time.monotonic() + 3600
    while not any(map(newest, folders)):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = workers_of(process.pid)
    assert len(workers) == 3
    time.sleep(random.Random(3).uniform(0, 0.1))
    process.kill()
    process.join()
    while any(Path(f"/proc/{worker}").exists() and "Z" not in state(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert float("inf") not in map(newest, folders)  # else nothing was interrupted
    sweep(killed)
    sweep(whole)
    assert all(same(folder, tmp_path / "whole" / folder.name) for folder in folders)


def state(pid):
    """The state of a process, Z for one that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:  # it is gone
        return "Z"


def test_arguments_of_a_run_are_those_written_beside_it(tiny, tmp_path):
    """A run of a sweep is resumed by `rhm train` on its own as well."""
    values = tiny(output_dir=str(tmp_path)).to_dict() | {"num_train": [32]}
    sweep(values)
    written = parse_yaml((tmp_path / "num_train-32" / "arguments.yaml").read_text(), "arguments.yaml")
    assert train(Arguments.from_dict(written)) == read_csv(tmp_path / "num_train-32" / "results.csv")
