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
    logs = [path.read_text().splitlines() for path in Path(folder).glob("*/log.jsonl")]
    return sum(json.loads(line)["event"] == "start" for log in logs for line in log)


def test_every_combination_has_a_folder_named_by_what_varies(values):
    runs = expand(values | {"model_seed": [0, 1]})
    assert [Path(run.training.output_dir).name for run in runs] == [
        "model_seed-0_num_train-64",
        "model_seed-0_num_train-32",
        "model_seed-1_num_train-64",
        "model_seed-1_num_train-32",
    ]
    assert [(run.data.num_train, run.model.model_seed) for run in runs] == [(64, 0), (32, 0), (64, 1), (32, 1)]
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


def test_workers(values, tmp_path, monkeypatch):
    folder = tmp_path / "sweep"
    too_many = {"num_train": [64, 500, 32]}  # of 512 sentences, 64 held out
    with pytest.raises(RuntimeError, match=r"1 of 3 runs failed: see .*num_train-500.*output\.txt"):
        sweep(values | too_many, num_workers=2)
    assert "do not fit" in (folder / "num_train-500" / "output.txt").read_text()
    assert starts(folder) == 2  # the others are done

    rows = sweep(values, num_workers=2)
    assert starts(folder) == 2  # and not done again
    assert [row["num_train"] for row in rows] == [64] * 3 + [32] * 3
    assert rows == read_csv(folder / "results.csv")

    here = sweep(values | {"output_dir": str(tmp_path / "here")})  # in this process
    names = ("num_train", "step", "train_loss", "validation_loss", "kl", "best")
    assert [[row[name] for name in names] for row in here] == [[row[name] for name in names] for row in rows]

    trained = []
    monkeypatch.setattr(module, "train", lambda run: trained.append(run.data.num_train))
    with pytest.raises(TypeError):  # nobody trained the new one
        sweep(values | {"num_train": [64, 16, 32]})
    assert trained == [16]


def test_bad_numbers_of_workers_are_refused(values, monkeypatch):
    with pytest.raises(ValueError, match="num_workers=0 must be at least 1"):
        sweep(values, num_workers=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="num_workers=2 under a launcher"):
        sweep(values, num_workers=2)
