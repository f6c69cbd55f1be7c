"""The recipe of trees of varying shape: thresholds beside every run, parts that sum to the whole, half-way points."""

from types import SimpleNamespace

import pytest
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import where


@pytest.mark.usefixtures("dry_run")
def test_a_dry_run_has_thresholds_and_parts_that_sum_to_the_whole(tmp_path):
    tables = dry_run(recipe("trees"), tmp_path, config=RECIPES / "trees" / "cpu.yaml")
    for row in tables["roots"]:
        grammar = Grammar.from_name(row["data"], row["rules_seed"])
        assert row["over_exact"] == pytest.approx(row["num_train"] / theory.root_threshold(grammar))
        assert row["over_formula"] == row["num_train"] / theory.tree_sample_complexity(grammar.parameters)
        assert row["error"] == pytest.approx(1 - row["test_accuracy"])
    for row in tables["runs"]:
        for name in ("levels", "rules"):
            parts = where(tables[name], data=row["data"], num_train=row["num_train"])
            assert sum(part["adds"] for part in parts) == pytest.approx(row["kl"], abs=1e-6)
            assert sum(part["share"] for part in parts) == pytest.approx(1, abs=1e-9)
    kinds = {row["kind"] for row in tables["rules"]}
    assert kinds <= {"(END)", *(f"level {level}, {children} children" for level in (1, 2, 3) for children in (2, 3))}


def test_rules_of_a_kind_are_summed():
    found = {
        "split_groups": ["2.0 -> 1.1 1.2", "2.1 -> 1.0 1.0", "1.0 -> 3 4 5", "(END)"],
        "kl_split": [0.1, 0.2, -0.05, 0.3],
        "split_share": [0.2, 0.2, 0.5, 0.1],
    }
    summed = recipe("trees").by_kind(found)
    assert summed["split_groups"] == ["(END)", "level 1, 3 children", "level 2, 2 children"]
    assert summed["kl_split"] == pytest.approx([0.3, -0.05, 0.3])
    assert summed["split_share"] == pytest.approx([0.1, 0.5, 0.4])


def test_an_error_counts_from_that_of_the_exact_posterior():
    grammar = Grammar.from_name("trees-v8-f0.25-L2")
    row = {"test_accuracy": 0.5, "bayes_accuracy": 0.9, "num_train": 1000, "data": "trees-v8-f0.25-L2"}
    run = SimpleNamespace(row=row, grammar=lambda: grammar, keys=lambda *names: {n: row[n] for n in names if n in row})
    run = type("Run", (), {**vars(run), "__getitem__": lambda self, name: row[name]})
    run.grammar, run.keys = staticmethod(run.grammar), staticmethod(run.keys)
    found = recipe("trees").root_row(run())
    assert found["relative_error"] == pytest.approx(0.4 / (1 - 1 / 8 - 0.1))


def test_half_way_points_are_over_both_scales():
    common = {"variant": "cnn", "model": "hierarchical_cnn", "data": "d", "exact_threshold": 500.0, "formula": 1000.0}
    rows = [
        common | {"rules_seed": seed, "num_train": size, "relative_error": error}
        for seed in (0, 1)
        for size, error in ((250, 0.9), (1000, 0.5), (4000, 0.1))
    ]
    (found,) = recipe("trees").conclude({"roots": rows})["thresholds"]
    assert found["half_way"] == pytest.approx(1000)
    assert (found["over_exact"], found["over_formula"]) == (pytest.approx(2), pytest.approx(1))
    assert found["half_way_bound"] == ""
