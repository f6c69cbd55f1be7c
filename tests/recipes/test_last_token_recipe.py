"""The recipe of the last token: its tables at a tiny size, and the exponents it reads off known curves."""

import math

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from recipe_scripts import RECIPES, recipe

from rhm_hf import Grammar, theory
from rhm_hf.inference import position_entropies
from rhm_hf.training.recipe import read_tables, recipe_main
from rhm_hf.training.results import read_csv


TINY = {
    "rules_seed": [0, 1],
    "num_validation": 16,
    "num_test": 16,
    "batch_size": 16,
    "max_steps": 30,
    "num_evaluations": 3,
    "kl_sentences": 16,
    "num_workers": 1,
}


def test_tables_and_figure(tmp_path, monkeypatch):
    module = recipe("last_token")
    values = yaml.safe_load((RECIPES / "last_token" / "cpu.yaml").read_text()) | TINY
    variants = {name: values["variants"][name] for name in ("gpt2", "cnn")}
    for own in variants.values():
        own |= {"grammar": "v4-m2-s2-L3", "num_train": [64, 16]}
    variants["gpt2"]["config_overrides"] = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    values |= {"variants": variants, "output_dir": str(tmp_path / "runs")}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    parts = {"name": "last_token", "measure": module.measure, "conclude": module.conclude, "draw": module.draw}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path / "figures")], **parts)
    assert len(tables["runs"]) == 8
    for row in tables["runs"]:
        exact = position_entropies(Grammar.from_name("v4-m2-s2-L3", rules_seed=row["rules_seed"]), 3)[-1]
        assert row["loss"] == pytest.approx(row["kl"] + float(exact), abs=1e-9)
        assert row["kl"] == row["kl_level_3"]
    assert {(row["model"], row["num_train"]) for row in tables["ngrams"]} == {
        (model, size) for model in ("ngram", "hierarchical_ngram") for size in (16, 64)
    }
    assert len(tables["plateaus"]) == 2 * 4
    assert tables["exponents"] == []
    image = imread(tmp_path / "figures" / "last_token.png")
    assert read_tables(tmp_path / "figures", "last_token")["plateaus"][1]["loss"] == tables["plateaus"][1]["loss"]

    monkeypatch.setattr("rhm_hf.training.recipe.sweep", None)  # drawing trains nothing
    (tmp_path / "figures" / "last_token.png").unlink()
    recipe_main(["--draw", str(tmp_path / "figures")], **parts)
    assert np.array_equal(imread(tmp_path / "figures" / "last_token.png"), image)
    with pytest.raises(ValueError, match=r"there is no last_token_\*\.csv; measure first"):
        recipe_main(["--draw", str(tmp_path)], **parts)


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
