"""The recipe of classification at a tiny size, and the collapse it reads off known curves."""

import numpy as np
import pytest
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar
from rhm_hf.training.recipe import classified
from rhm_hf.training.sweep import expand


CPU = RECIPES / "classification" / "cpu.yaml"


@pytest.fixture(scope="module")
def module():
    return recipe("classification")


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(module, tmp_path):
    tables = dry_run(module, tmp_path, config=CPU)
    runs, variants = tables["runs"], yaml.safe_load(CPU.read_text())["variants"]
    assert len(runs) == len(variants) * 2 * 2
    assert {row["step"] for row in runs} == {3}  # the last evaluation, not the best
    for row in runs:
        grammar = Grammar.from_name(row["data"])
        classes, deep = grammar.num_classes, grammar.num_classes * grammar.parameters.num_synonyms**grammar.depth
        assert row["error"] == pytest.approx(1 - row["test_accuracy"])
        assert row["relative_error"] == pytest.approx(row["error"] / (1 - 1 / classes))
        assert row["scaled"] == pytest.approx(row["num_train"] / deep)
    assert {row["variant"] for row in tables["thresholds"]} == set(variants) - {"published"}
    for table, value, lowest in (("sensitivity", "sensitivity", 1), ("probes", "accuracy", 0)):
        rows = tables[table]
        assert {row["variant"] for row in rows} == {"cnn", "cnn_L3_m4"}
        assert {row["level"] for row in rows if row["variant"] == "cnn_L3_m4"} == set(range(lowest, 4))
        layers = {row["layer"] for row in rows if row["variant"] == "cnn_L3_m4"}
        assert layers == {"logits"} | {f"hidden_states[{k}]" for k in range(4)}
        assert all(0 <= row[value] < 1.5 for row in rows)
    tokens = [row for row in tables["probes"] if (row["layer"], row["level"]) == ("hidden_states[0]", 0)]
    assert all(row["accuracy"] == 1 for row in tokens)  # the input says which tokens it holds


def test_both_protocols_stand_beside_what_was_published(module):
    accuracies = {"published": (0.30, 0.36), "cnn": (0.25, 0.27)}
    runs = [
        {"variant": variant, "num_train": 256, "test_accuracy": accuracy, "seconds": 1.0}
        for variant, found in accuracies.items()
        for accuracy in found
    ]
    (row,) = [row for row in module.published(runs) if row["num_train"] == 256]
    assert row["published"] == 0.32
    assert (row["same_protocol"], row["disjoint"]) == pytest.approx((0.33, 0.26))


def run(module, variant, data, size, error, seed=0):
    row = {"run": f"{variant}-{seed}-{size}", "variant": variant, "model": "hierarchical_cnn", "data": data}
    row |= {"rules_seed": seed, "num_train": size, "test_accuracy": 1 - error, "seconds": 1.0, "best": 1}
    return row | {"scaled": module.scaled(row)}


def test_curves_that_follow_the_theory_collapse(module):
    rows = []
    for variant, data, classes, deep in (
        ("cnn", "v8-m8-s2-L2", 8, 512),
        ("cnn_L2_m4", "v8-m4-s2-L2", 8, 128),
        ("cnn_L3_m4", "v4-m4-s2-L3", 4, 256),
    ):
        for scaled in np.geomspace(1 / 8, 8, 13):
            size, share = round(scaled * deep), 1 / (1 + (scaled / 1.5) ** 2)  # half of the chance error at 1.5 P*
            rows += [run(module, variant, data, size, (1 - 1 / classes) * share, seed) for seed in (0, 1)]
    runs = classified(rows)
    for row in module.thresholds(runs):
        assert row["ratio"] == pytest.approx(1.5, rel=0.02)
        assert row["half_way_bound"] == ""
    for low, high, bound in ((0, 1, "at least"), (4, 100, "at most")):
        some = [row for row in runs if row["variant"] == "cnn" and low < row["scaled"] < high]
        (row,) = module.thresholds(some)
        end = (max if bound == "at least" else min)(row["num_train"] for row in some)
        assert (row["half_way_bound"], row["half_way"]) == (bound, end)
    right, by_symbols, wrong = module.collapse(runs)
    assert by_symbols["scale"] == "v m^L"
    assert by_symbols["ratio"] == right["ratio"]  # n_c = v in all of them
    assert (right["scale"], right["curves"]) == ("n_c m^L", 3)
    assert right["ratio"] < 0.01
    assert wrong["scale"] == "all sentences"
    assert wrong["residual"] > 100 * right["residual"]


@pytest.mark.parametrize(("model", "power"), [("hierarchical_cnn", 3), ("fully_connected", 4)])
def test_growth_tells_a_share_of_all_sentences_from_a_multiple_of_the_deep_law(module, model, power):
    """Half-way points at v^power / 2 of grammars of three sizes; a curve that does not come down is a bound."""
    rows = []
    for v in (4, 6, 8):
        for seed in (0, 1):
            middle = v**power / 2 * (1.1 if seed else 0.9)
            for share in (1 / 4, 1 / 2, 1, 2, 4) if (v, seed) != (8, 1) else (1 / 4, 1 / 2):
                error = (1 - 1 / v) / (1 + share**2)
                rows.append(run(module, f"all{v}", f"v{v}-m{v}-s2-L2", share * middle, error, seed) | {"model": model})
    (found,) = module.growth(classified(rows))
    assert (found["sizes"], found["grammars"], found["num_before"], found["num_beyond"]) == (3, 6, 0, 1)
    assert (found["n_c m^L"], found["all sentences"]) == (3, 4)
    assert found["low"] < found["exponent"] < power < found["high"]  # the bound is below what it bounds
    assert found["exponent"] == pytest.approx(power, abs=0.6)
    below = [row | {"rules_seed": 2, "run": f"below {row['run']}"} for row in rows if row["run"].startswith("all4-0-")]
    (found,) = module.growth(classified(rows + below[-2:]))  # a curve that begins below half is a bound, too
    assert (found["grammars"], found["num_before"], found["num_beyond"]) == (7, 1, 1)
    assert module.growth(classified([row for row in rows if row["data"] != "v6-m6-s2-L2"])) == []


def test_the_recipe_holds_the_comparison_point(module):
    values = yaml.safe_load((RECIPES / "classification" / "cpu.yaml").read_text())
    values.pop("num_workers")
    runs = expand(values)
    for variant in (module.MAIN, module.PUBLISHED):
        mine = [r for r in runs if r.training.output_dir.split("/")[-1].startswith(f"{variant}_rules")]
        assert {r.data.rules_seed for r in mine} == {0, 1, 2}
        assert {r.data.num_train for r in mine} >= set(module.ACCURACIES)
        assert {r.data.grammar for r in mine} == {"v8-m8-s2-L2"}
    assert {(r.training.patience, r.training.keep) for r in runs} == {(0, "last")}
    assert {r.training.learning_rate for r in runs if r.training.optimizer == "sgd"} == {3.0 * 256}
