"""Sweeps: what a run costs beside its training loop, and what the process that all runs are forked from keeps."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen

from rhm_hf.training.strict_yaml import dump_yaml

from .timing import Row


SETTINGS = {
    "grammar": "v16-m4-s2-L3",
    "num_train": 1024,
    "num_validation": 256,
    "num_test": 256,
    "batch_size": 64,
    "config_overrides": {"n_embd": 64, "n_layer": 3, "n_head": 4},
    "kl_sentences": 512,
    "patience": 0,
    "warmup_steps": 2,
    "num_threads": 1,
    "num_workers": 2,
}


def rows() -> Iterator[Row]:
    """40 runs of 100 steps; 200 runs of two, for the memory."""
    yield swept("sweep, 2 workers: 40 runs of 100 steps", 40, 100, "at least .77: wall at most 1.3 loops")
    yield swept("sweep, 2 workers: 200 runs of 2 steps", 200, 2, "memory that does not grow")


def swept(name: str, num_runs: int, max_steps: int, goal: str) -> Row:
    """`rhm sweep` from its start to its end, against the sum of its training loops shared by two workers."""
    with tempfile.TemporaryDirectory() as folder:
        place, config = Path(folder) / "sweep", Path(folder) / "sweep.yaml"
        values = SETTINGS | {"max_steps": max_steps, "num_evaluations": min(4, max_steps)}
        config.write_text(dump_yaml(values | {"model_seed": list(range(num_runs)), "output_dir": str(place)}))
        start, kept = time.perf_counter(), []
        command = [sys.executable, "-m", "rhm_hf.cli", "sweep", "--config", str(config)]
        with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as process:
            while process.poll() is None:
                kept += resident_of_child(process.pid)
                time.sleep(0.5)
        wall = time.perf_counter() - start
        ends = [json.loads(path.read_text().splitlines()[-1]) for path in place.glob("*/log.jsonl")]
        seconds = [end["seconds"] for end in ends if end["event"] == "end"]  # of whole loops, all evaluations included
    loops = sum(seconds) / 2
    # Half-way the zygote has imported what runs import.
    memory = f"zygote {kept[len(kept) // 2]:.0f} MB half-way, {kept[-1]:.0f} MB at the end"
    return Row(name, wall, loops, loops / wall, goal, f"{len(seconds)} runs; {memory}")


def resident_of_child(process: int) -> list[float]:
    """Megabytes of the first child of a process, empty where it has none."""
    try:
        child = Path(f"/proc/{process}/task/{process}/children").read_text().split()[0]
        return [int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096 / 1e6]
    except (OSError, IndexError):
        return []
