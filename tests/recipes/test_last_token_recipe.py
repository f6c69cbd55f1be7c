"""The recipe of the last token: its tables at a tiny size, and the exponents it reads off known curves."""

import math

import pytest
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import where
from rhm_hf.inference import position_entropies
from rhm_hf.training.results import read_csv


CPU = RECIPES / "last_token" / "cpu.yaml"


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(tmp_path):
    tables = dry_run(recipe("last_token"), tmp_path, config=CPU)
    variants = yaml.safe_load(CPU.read_text())["variants"]
    assert len(tables["runs"]) == len(variants) * 2 * 2
    for row in tables["runs"]:
        assert row["loss"] == row["kl"] + row["entropy"]
        assert row["kl"] == row[f"kl_level_{Grammar.from_name(row['data']).depth}"]
    for row in tables["plateaus"]:
        exact = position_entropies(Grammar.from_name(row["data"], rules_seed=row["rules_seed"]), row["level"])[-1]
        assert row["loss"] == float(exact)
    counted = where(tables["ngrams"], data="v10-m4-s2-L3", rules_seed=3)  # beside the grammar of the curve
    assert {(row["model"], row["num_train"]) for row in counted} == {
        (model, row["num_train"])
        for model in ("ngram", "hierarchical_ngram")
        for row in where(tables["runs"], data="v10-m4-s2-L3")
    }
    sources = {(row["data"], row["rules_seed"]) for row in tables["runs"]}
    assert len(tables["plateaus"]) == sum(Grammar.from_name(name).depth + 1 for name, _ in sources)
    assert tables["exponents"] == []  # nothing is learnt in three steps


def test_exponents_of_curves_that_follow_the_theory():
    module = recipe("last_token")
    sizes = [2**k for k in range(3, 22)]
    grammars = {
        (name, seed): Grammar.from_name(name, rules_seed=seed)
        for name in ("v16-m2-s2-L3", "v16-m3-s2-L3", "v16-m4-s2-L3")
        for seed in range(4)
    }
    best, plateaus = [], []
    for (data, seed), grammar in grammars.items():
        rows = module.plateau_rows(grammar)
        losses, steps, plateaus = [row["loss"] for row in rows], [], plateaus + rows
        for level in (1, 2, 3):
            steps.append(1.7 * theory.sample_complexity(grammar.parameters, level))
        for size in sizes:  # a staircase, linear in ln P within a factor of two of each step
            loss = losses[0]
            for level, step in enumerate(steps, start=1):
                share = min(1.0, max(0.0, 0.5 + math.log(size / step) / math.log(4)))
                loss += share * (losses[level] - losses[level - 1])
            best.append({"model": "gpt2", "data": data, "rules_seed": seed, "num_train": size, "loss": loss})
    points, exponents = module.scaling(best, plateaus)
    for row in points:
        assert row["ratio"] == pytest.approx(1.7, rel=0.1)
        assert (row["half_way_bound"], row["num_before"], row["num_beyond"]) == ("", 0, 0)
    cut = [row for row in best if row["data"] == "v16-m4-s2-L3" and 32 < row["num_train"] < 2**15]
    first, second, third = module.scaling(cut, plateaus)[0]
    assert first["half_way_bound"] == second["half_way_bound"] == ""
    assert (third["half_way_bound"], third["num_beyond"]) == ("at least", 4)
    assert third["half_way"] == pytest.approx(2**14)
    for row, level in zip(exponents, (1, 2), strict=True):
        assert row["theory"] == 2 * level - 1
        assert row["exponent"] == pytest.approx(row["theory"], abs=0.1)
        assert row["exponent_plain"] > row["exponent"]  # 1 / (1 - f) grows with m too
        assert row["low"] <= row["exponent"] <= row["high"]


def test_committed_tables_say_what_they_are_of():
    rows = read_csv(RECIPES.parent / "docs" / "figures" / "last_token_runs.csv")
    values = yaml.safe_load((RECIPES / "last_token" / "cpu.yaml").read_text())
    wanted = sum(len(own["num_train"]) for own in values["variants"].values()) * len(values["rules_seed"])
    assert len(rows) == wanted
    assert all(row["commit"] and "dirty" not in row["commit"] for row in rows)
