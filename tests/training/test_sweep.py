"""Sweeps: every combination a run of its own; finished ones skipped, failures said."""

import json
from pathlib import Path

import pytest

from rhm_hf.training import sweep as module
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand, sweep


@pytest.fixture
def values(tiny, tmp_path):
    return tiny(output_dir=str(tmp_path / "sweep")).to_dict() | {"num_train": [64, 32]}


def starts(folder):
    lines = (json.loads(line) for path in Path(folder).glob("*/log.jsonl") for line in path.open())
    return sum(line["event"] == "start" for line in lines)


def test_every_combination_has_a_folder_named_by_what_varies(values):
    runs = expand(values | {"model_seed": [0, 1]})
    assert [Path(run.training.output_dir).name for run in runs] == [
        "num_train-64_model_seed-0",
        "num_train-64_model_seed-1",
        "num_train-32_model_seed-0",
        "num_train-32_model_seed-1",
    ]
    assert [(run.data.num_train, run.model.model_seed) for run in runs] == [(64, 0), (64, 1), (32, 0), (32, 1)]
    assert [Path(run.training.output_dir).name for run in expand(values | {"num_train": 64})] == ["run"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": []}, r"num_train=\[\] must list at least one value"),
        ({"num_train": [8, 8]}, r"num_train=\[8, 8\] .* none twice"),
        ({"output_dir": ["a", "b"]}, "output_dir cannot be listed"),
        ({"nonsense": [1]}, "unknown argument nonsense"),
        ({"num_train": [8, "x"]}, "num_train='x' has the wrong type"),
    ],
)
def test_mistakes_are_named_before_anything_runs(values, change, message):
    with pytest.raises(ValueError, match=message):
        expand(values | change)


def test_workers_and_this_process_give_the_same_rows_and_finished_runs_are_skipped(values, tmp_path, monkeypatch):
    rows = sweep(values, num_workers=2)
    assert [row["num_train"] for row in rows] == [64] * 3 + [32] * 3
    assert rows == read_csv(tmp_path / "sweep" / "results.csv")
    assert starts(tmp_path / "sweep") == 2
    assert sweep(values, num_workers=2) == rows  # nothing left to do
    assert starts(tmp_path / "sweep") == 2

    here = sweep(values | {"output_dir": str(tmp_path / "here")})
    names = ("num_train", "step", "train_loss", "validation_loss", "kl", "best")
    assert [[row[name] for name in names] for row in here] == [[row[name] for name in names] for row in rows]

    trained = []
    monkeypatch.setattr(module, "train", lambda run: trained.append(run.data.num_train))
    more = values | {"num_train": [64, 16, 32]}
    with pytest.raises(TypeError):  # nobody trained the new one
        sweep(more)
    assert trained == [16]


def test_a_failing_worker_is_reported_with_its_output_and_the_others_finish(values, tmp_path):
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed: see .*num_train-400.*output\.txt"):
        sweep(
            values | {"num_train": [400, 64], "num_validation": 100, "num_test": 100}, num_workers=2
        )  # 512 sentences
    assert "do not fit" in (tmp_path / "sweep" / "num_train-400" / "output.txt").read_text()
    assert len(read_csv(tmp_path / "sweep" / "num_train-64" / "results.csv")) == 3


def test_bad_numbers_of_workers_are_refused(values, monkeypatch):
    with pytest.raises(ValueError, match="num_workers=0 must be at least 1"):
        sweep(values, num_workers=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="num_workers=2 under a launcher"):
        sweep(values, num_workers=2)
