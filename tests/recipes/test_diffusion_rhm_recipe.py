"""The recipe of diffusion: its tables and figure at a tiny size, and the steps it reads off known curves."""

import numpy as np
import pytest
import yaml
from recipe_scripts import RECIPES, recipe

from rhm_hf import Grammar
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.training import Arguments
from rhm_hf.training.data import load_data
from rhm_hf.training.recipe import KeptRun, recipe_main
from rhm_hf.training.results import read_csv


TINY = {
    "grammar": "v4-m2-s2-L3",
    "rules_seed": 0,
    "num_train": [64, 16],
    "num_validation": 16,
    "num_test": 16,
    "batch_size": 16,
    "max_steps": 20,
    "num_evaluations": 2,
    "kl_sentences": 16,
    "num_workers": 1,
    "num_samples": 64,
}


def test_tables_and_figure(tmp_path):
    module = recipe("diffusion_rhm")
    values = yaml.safe_load((RECIPES / "diffusion_rhm" / "cpu.yaml").read_text()) | TINY
    sizes = {"hidden_size": 8, "filter_size": 2, "num_hidden_layers": 3}
    values |= {"output_dir": str(tmp_path / "runs")}
    values["variants"] = {
        "masked": {"config_overrides": sizes},
        "uniform": {
            "config_overrides": sizes | {"time_embedding": True},
            "process": "uniform",
            "diffusion_steps": 4,
            "num_train": [64],
        },
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    parts = {"name": "diffusion_rhm", "measure": module.measure, "conclude": module.conclude, "draw": module.draw}
    parts |= {"options": {"num_samples": 4096}}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path)], **parts)
    kinds = {("masked", 64), ("masked", 16), ("uniform", 64)}
    assert {(row["process"], row["num_train"]) for row in tables["copies"]} == kinds
    assert len(tables["rules"]) == 3 * 3
    assert [row["level"] for row in tables["steps"]] == [1, 2, 3] * 2
    grammar = Grammar.from_name("v4-m2-s2-L3")
    (row,) = (r for r in tables["copies"] if (r["process"], r["num_train"]) == ("masked", 16))
    assert row["chance_of_copy"] == pytest.approx(16 / grammar.num_sentences)
    top = {(r["process"], r["num_train"]): r["correct"] for r in tables["rules"] if r["level"] == 3}
    for row in tables["copies"]:
        assert top[row["process"], row["num_train"]] >= row["valid"] >= row["copied"]
    check_emergence(tables, tmp_path / "runs")


def check_emergence(tables, runs):
    """It is what the evaluations of the largest P say; levels whose order is read off it are all there."""
    seen = {
        process: read_csv(runs / folder / "results.csv")
        for process, folder in (("masked", "masked_num_train-64"), ("uniform", "uniform_num_train-64"))
    }
    expected = [
        (process, row["step"], row["tokens_seen"], level, row[f"valid_level_{level}"])
        for process, rows in seen.items()
        for row in rows
        for level in (1, 2, 3)
    ]
    names = ("process", "step", "tokens_seen", "level", "correct")
    assert [tuple(row[name] for name in names) for row in tables["emergence"]] == expected
    assert {row["num_train"] for row in tables["emergence"]} == {64}
    chances = {row["level"]: row["chance"] for row in tables["rules"]}
    assert all(row["chance"] == chances[row["level"]] for row in tables["emergence"])
    assert [(row["process"], row["level"]) for row in tables["order"]] == [
        (process, level) for process in seen for level in (1, 2, 3)
    ]


def test_order_of_known_curves():
    """Levels half way at steps 4 and 12; the grammar that stopped early is not averaged with itself missing."""
    module = recipe("diffusion_rhm")
    keys = {"process": "masked", "data": "v8-m2-s2-L2", "num_train": 64, "chance": 0.2}
    curves = {1: {1: 0.2, 4: 0.6, 16: 1.0, 64: 0.0}, 2: {1: 0.2, 9: 0.4, 16: 0.8, 64: 1.0}}
    found = [
        keys | {"rules_seed": seed, "level": level, "step": step, "tokens_seen": 32 * step, "correct": correct}
        for level, curve in curves.items()
        for seed in (0, 1)
        for step, correct in curve.items()
        if step < 64 or (seed, level) == (0, 1)
    ]
    first, second = module.order(found)
    assert (first["half_way_step"], second["half_way_step"]) == pytest.approx((4, 12))
    assert (first["half_way_tokens"], second["half_way_tokens"]) == pytest.approx((128, 384))
    assert first["over_level_below"] == ""
    assert second["over_level_below"] == pytest.approx(3)
    assert first["grammars"] == 2


def test_variants_are_one_curve_of_the_better_runs():
    module = recipe("diffusion_rhm")
    keys = {"process": "masked", "data": "v8-m2-s2-L2", "rules_seed": 0}
    small, large, alone = (
        KeptRun(keys | {"num_train": size, "validation_loss": loss}, run)
        for run, size, loss in (("small", 64, 0.9), ("large", 64, 0.8), ("small", 16, 1.5))
    )
    assert module.one_each([small, large, alone]) == [large, alone]
    assert module.one_each([large, small]) == [large]


def test_evaluations_without_samples_have_no_emergence():
    module = recipe("diffusion_rhm")
    keys = {"process": "masked", "data": "v8-m2-s2-L2", "rules_seed": 0, "num_train": 64}
    rules = [keys | {"level": 1, "chance": 0.25}]
    row = keys | {"run": "a", "step": 1, "tokens_seen": 32}
    assert module.emergence([row, row | {"valid_level_1": ""}], [row], rules) == []
    assert module.order([]) == []


def test_copies_are_of_the_sentences_that_a_run_trains_on():
    run = Arguments.from_dict(
        {"grammar": "v4-m2-s2-L3", "num_train": 40, "sample_seed": 3, "num_validation": 8, "num_test": 8}
    )
    rows = load_data(run.data).splits["train"]
    sampled = Grammar.from_name("v4-m2-s2-L3").sample(40, seed=3, sampling=run.data.sampling)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, sampled.tolist()))


def test_steps_of_known_curves():
    module, grammar = recipe("diffusion_rhm"), Grammar.from_name("v8-m2-s2-L2")
    samples = {16: np.zeros((8, 4), dtype=np.int64), 64: grammar.sample(8)}  # nothing right, all right
    samples[16][:] = next(
        [a, b, a, b]
        for a in range(8)
        for b in range(8)
        if grammaticality(np.array([[a, b, a, b]]), grammar)["correct"][0] == 0
    )
    rules = []
    for size, tokens in samples.items():
        keys = {"process": "masked", "data": grammar.name, "rules_seed": 0, "num_train": size}
        rules += module.rule_rows(keys, grammar, grammaticality(tokens, grammar))
    found = module.steps(rules)
    assert [row["theory"] for row in found] == [16, 64]
    for row, chance in zip(found, (0.25, 0.25**3), strict=True):
        half = (1 + chance) / 2  # a straight line from 0 at 16 to 1 at 64
        assert row["half_way"] == pytest.approx(16 * 4**half)
        assert row["ratio"] == pytest.approx(row["half_way"] / row["theory"])
        assert row["half_way_bound"] == ""
    assert module.steps(rules[:2])[0]["half_way"] == ""  # one size has no curve
    wrong = [row | {"num_train": 4 * row["num_train"], "correct": row["chance"]} for row in rules[:2]]
    (never, _) = module.steps(rules[:2] + wrong)
    assert (never["half_way_bound"], never["half_way"]) == ("at least", 64)
