"""Sweeps: every combination a run of its own; finished ones skipped, failures said; the rows of all in one file."""

import json
from pathlib import Path

import pytest

from rhm_hf.training.results import best_rows, read_csv
from rhm_hf.training.run import loop
from rhm_hf.training.sweep import UnfinishedRuns, expand, sweep


NARROW = {"n_embd": 8, "n_layer": 1, "n_head": 1}


@pytest.fixture
def values(tiny, tmp_path):
    return tiny(output_dir=str(tmp_path / "sweep")).to_dict() | {"num_train": [64, 32]}


def names(runs):
    return [Path(run.training.output_dir).name for run in runs]


def test_every_combination_has_a_folder_named_by_what_varies(values):
    runs = expand(values | {"model_seed": [0, 1]})
    assert names(runs) == [
        "model_seed-0_num_train-64",
        "model_seed-0_num_train-32",
        "model_seed-1_num_train-64",
        "model_seed-1_num_train-32",
    ]
    assert [(run.data.num_train, run.model.model_seed) for run in runs] == [(64, 0), (32, 0), (64, 1), (32, 1)]
    assert names(expand(values | {"num_train": 64})) == ["run"]
    assert names(expand(values | {"num_train": 64, "text": ["a/b.txt", "c.txt"]})) == ["text-a-b.txt", "text-c.txt"]


def test_variants_vary_together_and_may_list_values_themselves(values, tmp_path):
    small, large = NARROW, NARROW | {"n_embd": 16}
    variants = {
        "small": {"config_overrides": small, "learning_rate": [0.1, 0.01]},
        "large": {"config_overrides": large, "learning_rate": 0.001, "num_train": 16},
    }
    runs = expand(values | {"variants": variants})
    assert names(runs) == [
        "small_num_train-64_learning_rate-0.1",
        "small_num_train-64_learning_rate-0.01",
        "small_num_train-32_learning_rate-0.1",
        "small_num_train-32_learning_rate-0.01",
        "large",  # its own num_train is one value
    ]
    assert {Path(run.training.output_dir).parent for run in runs} == {tmp_path / "sweep"}
    assert [run.training.learning_rate for run in runs] == [0.1, 0.01, 0.1, 0.01, 0.001]
    assert [run.data.num_train for run in runs] == [64, 64, 32, 32, 16]
    assert [run.model.config_overrides for run in runs] == [small] * 4 + [large]
    assert all(run.training.max_steps == 12 for run in runs)  # what they have in common


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": []}, r"num_train=\[\] must list at least one value"),
        ({"num_train": [8, 8]}, r"num_train=\[8, 8\] .* none twice"),
        ({"output_dir": ["a", "b"]}, "output_dir cannot be listed"),
        ({"config_overrides": [{}, {"n_embd": 8}]}, "config_overrides cannot be listed: .* under variants"),
        ({"nonsense": [1]}, "unknown argument nonsense"),
        ({"num_train": [8, "x"]}, "num_train='x' is not an integer"),
        ({"variants": ["a"]}, r"variants=\['a'\] must map names to mappings"),
        ({"variants": {}}, "must map names to mappings"),
        ({"variants": {"a/b": {}}}, "'a/b' names folders"),
        ({"variants": {"1": {}}}, "'1' names folders"),
        ({"variants": {"a": {"output_dir": "b"}}}, "a cannot have an output_dir"),
        ({"variants": {"a": {"variants": {}}}}, "unknown argument variants"),
        (
            {"num_train": list(range(1, 60)), "model_seed": list(range(60)), "rules_seed": list(range(60))},
            "212400 runs",
        ),
        (
            {"variants": {"a": {"num_train": [1, 2]}, "a_num_train-1": {"num_train": 3}}},
            "would share the folder a_num",
        ),
    ],
)
def test_mistakes_are_named_before_anything_runs(values, change, message):
    with pytest.raises(ValueError, match=message):
        expand(values | change)


def test_a_value_written_in_two_ways_is_one_run(values):
    runs = expand(values | {"num_train": 64, "learning_rate": ["1e-3", 0.001, 0.01]})
    assert names(runs) == ["learning_rate-0.001", "learning_rate-0.01"]


def test_rows_tell_the_runs_of_variants_apart(values, tmp_path):
    variants = {
        "narrow": {"config_overrides": NARROW, "learning_rate": [0.01, 0.02]},
        "wide": {
            "config_overrides": NARROW | {"n_embd": 16},
            "num_train": 32,
            "learning_rate": 0.003,
        },
    }
    rows = sweep(values | {"num_train": 64, "variants": variants})
    assert rows == read_csv(tmp_path / "sweep" / "results.csv")
    assert list(rows[0])[:7] == ["run", "variant", "config_overrides", "learning_rate", "task", "model", "data"]
    best = best_rows(rows)
    assert [(row["run"], row["variant"], row["learning_rate"], row["num_train"]) for row in best] == [
        ("narrow_learning_rate-0.01", "narrow", 0.01, 64),
        ("narrow_learning_rate-0.02", "narrow", 0.02, 64),
        ("wide", "wide", 0.003, 32),
    ]
    assert [json.loads(row["config_overrides"])["n_embd"] for row in best] == [8, 8, 16]
    alone = read_csv(tmp_path / "sweep" / "wide" / "results.csv")
    assert "variant" not in alone[0]
    assert [row["kl"] for row in alone] == [row["kl"] for row in rows if row["run"] == "wide"]


def test_a_failing_run_stops_no_other_and_is_trained_when_it_can_be(values, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "sweep"
    too_many = values | {"num_train": [500, 32]}  # of 512 sentences, 64 held out
    with pytest.raises(
        UnfinishedRuns, match=r"1 of 2 runs are not finished(.|\n)*num_train-500: .*do not fit"
    ) as found:
        sweep(too_many)
    assert found.value.runs == ["num_train-500"]
    assert "num_train-500 failed: ValueError" in capsys.readouterr().err  # at once
    assert "Traceback" in (folder / "num_train-500" / "output.txt").read_text()
    assert {row["run"] for row in read_csv(folder / "results.csv")} == {"num_train-32"}  # of what there is

    trained, train = [], loop.train
    monkeypatch.setattr(loop, "train", lambda run: trained.append(run.data.num_train) or train(run))
    rows = sweep(values)
    assert trained == [64]
    assert [row["num_train"] for row in rows] == [64] * 3 + [32] * 3
    assert rows == read_csv(folder / "results.csv")

    def interrupted(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"2 of 3 runs are not finished(.|\n)*num_train-16(.|\n)*num_train-8"):
        sweep(values | {"num_train": [64, 16, 8]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, "num_workers=0 must be an integer, at least 1"),
        ({"num_workers": [1, 2]}, r"num_workers=\[1, 2\] must be an integer"),
        ({"executor": "slurm"}, "executor='slurm' must be one of local, ray, print"),
        ({"runs_per_gpu": 0.5}, "runs_per_gpu=0.5 must be an integer"),
        ({"runs_per_gpu": 2}, "runs_per_gpu=2 and no GPU is visible: give num_workers"),
        ({"runs_per_gpu": 2, "num_workers": 2}, "give one of the two"),
    ],
)
def test_bad_options_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        sweep(values, **options)


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"executor": "ray"}, {"executor": "print"}])
def test_under_a_launcher_each_run_takes_all_processes(values, options, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="under a launcher: use local and 1"):
        sweep(values, **options)
