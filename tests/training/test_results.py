"""results.csv and log.jsonl."""

import json
import math
import os
import pty
import subprocess
import sys
from typing import ClassVar

from rhm_hf.training import results
from rhm_hf.training.run import meters


def test_csv_round_trip_keeps_numbers_and_text(tmp_path):
    rows = [
        {"run": "7", "step": 3, "kl": math.pi, "kl_last": math.inf, "best": 1, "text": " 12\n", "commit": "4486e12"}
    ]
    results.write_csv(tmp_path / "r.csv", rows)
    assert results.read_csv(tmp_path / "r.csv") == rows
    assert (tmp_path / "r.csv").read_text().splitlines()[0] == "run,step,kl,kl_last,best,text,commit"
    assert [p.name for p in tmp_path.iterdir()] == ["r.csv"]


def test_best_is_the_first_row_with_the_lowest_validation_loss():
    rows = results.mark_best([{"validation_loss": loss} for loss in (3.0, 1.0, 2.0, 1.0)])
    assert [row["best"] for row in rows] == [0, 1, 0, 0]
    assert results.best_row(rows) is rows[1]
    assert [row["best"] for row in results.mark_best(rows, keep="last")] == [0, 0, 0, 1]
    assert results.mark_best([]) == results.mark_best([], keep="last") == []


def test_columns_and_versions():
    names = results.columns(("kl", "entropy"))
    agreed = (
        "run task model data num_train rules_seed sample_seed model_seed step epoch train_loss validation_loss "
        "validation_accuracy test_loss test_accuracy"
    )
    assert names[: len(agreed.split())] == agreed.split()
    assert names[15:22] == ["kl", "entropy", "seconds", "tokens_seen", "best", "stopped_by", "test_seen"]
    assert {"rhm_hf", "torch", "transformers", "accelerate", "datasets", "python", "commit"} == set(names[22:])
    assert results.versions()["torch"]


def test_log_appends_lines_of_json(tmp_path):
    results.append_log(tmp_path / "log.jsonl", "start", step=0)
    results.append_log(tmp_path / "log.jsonl", "end", step=9)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("start", 0), ("end", 9)]


def test_a_terminal_without_a_size_has_a_bar_too():
    """tqdm draws nothing there; such are those of some containers, and of `pty` here."""
    script = (
        "from rhm_hf.training.run.meters import Meter\n"
        "with Meter(4, 'steps', label='sweep') as meter:\n"
        "    meter.update(4)\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=theirs) as process:
        os.close(theirs)
        process.wait()
    assert "4/4" in os.read(ours, 2**16).decode()
    os.close(ours)


def test_a_bar_is_drawn_anew_where_nothing_is_counted(monkeypatch):
    class Bar:
        calls: ClassVar[list[str]] = []

        def __getattr__(self, name):
            return lambda *values: self.calls.append(name)

    monkeypatch.setattr(meters, "BEAT", 0.0)
    with meters.Meter(4, "steps") as meter:
        meter.bar = Bar()
        meter.update(0)
    assert Bar.calls == ["update", "refresh", "close"]
