"""The recipe of models that see t tokens, at a tiny size."""

import math
from pathlib import Path

import numpy as np
import pytest
import recipe_scripts
import torch
import yaml
from matplotlib.image import imread

from rhm_hf import Grammar
from rhm_hf.inference import position_entropies
from rhm_hf.training.arguments import parse_sweep
from rhm_hf.training.data import load_text
from rhm_hf.training.recipe import read_tables, recipe_main
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand


RECIPE = recipe_scripts.RECIPES / "context_window"
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
STEPS = {"batch_size": 32, "max_steps": 20, "learning_rate": 1e-2}


@pytest.fixture
def recipe():
    module = recipe_scripts.recipe("context_window")
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def run(recipe, argv):
    return recipe_main(
        argv,
        name="context_window",
        measure=recipe.measure,
        conclude=recipe.conclude,
        draw=recipe.draw,
        options=dict(recipe.OPTIONS),
    )


def tiny(tmp_path) -> Path:
    """cpu.yaml with fewer, smaller and shorter runs."""
    values = yaml.safe_load((RECIPE / "cpu.yaml").read_text())
    values |= {"num_validation": 32, "num_test": 32, "num_evaluations": 3, "warmup_steps": 2, "kl_sentences": 64}
    values |= {"num_workers": 1, "output_dir": str(tmp_path / "runs"), "num_targets": 640, "fit_max": 4}
    characters, sentences = values["variants"]["characters"], values["variants"]["sentences"]
    values["variants"] = {"characters": characters, "sentences": sentences}
    characters |= STEPS | {"config_overrides": SMALL, "context_length": [3, 1], "num_train": [4000, 1000, 250]}
    sentences |= STEPS | {"config_overrides": {"n_embd": 16, "n_layer": 1, "n_head": 2}, "rules_seed": 0}
    sentences |= {"grammar": "v4-m2-s2-L3", "visible_tokens": [3, 1], "num_train": [64, 16, 4]}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return tmp_path / "tiny.yaml"


def test_tables_and_figure(recipe, tmp_path):
    words = ["hierarchy", "model", "random", "language", "token", "data"]
    chosen = np.random.default_rng(0).integers(0, len(words), 2000)
    (tmp_path / "words.txt").write_text(" ".join(words[i] for i in chosen))
    argv = ["--config", str(tiny(tmp_path)), "--text", str(tmp_path / "words.txt"), "--figures", str(tmp_path / "out")]
    run(recipe, argv)
    tables = read_tables(tmp_path / "out", "context_window")
    assert set(tables) == {"runs", "plateaus", "ngrams", "betas", "blocks", "exponents", "scans"}
    found = {(row["data"], row["t"], row["num_train"]): row for row in tables["runs"]}
    assert len(found) == 12
    assert {row["data"] for row in tables["runs"]} == {"words", "v4-m2-s2-L3"}
    for table in (tmp_path / "out").glob("*.csv"):
        assert str(tmp_path) not in table.read_text()  # committed: no path of this machine

    results = {row["run"]: row for row in read_csv(tmp_path / "runs" / "results.csv") if row["best"]}
    best = results["sentences_visible_tokens-3_num_train-16"]
    assert found["v4-m2-s2-L3", 3, 16]["loss"] == pytest.approx(best["kl"] + best["entropy"], abs=1e-12)
    exact = [float(e[-1]) for e in (position_entropies(Grammar.from_name("v4-m2-s2-L3"), level) for level in range(4))]
    assert [(row["t"], row["loss"]) for row in tables["plateaus"]] == list(zip([0, 1, 3, 7], exact, strict=True))
    for row in tables["runs"]:
        assert 0 < row["loss"] < 2 * math.log(30)
    ended = [row["stopped_by"] for row in results.values()]
    assert sum(row["steps_limit"] for row in tables["runs"]) == ended.count("max_steps")
    counted = {(row["data"], row["t"], row["num_train"]): row["loss"] for row in tables["ngrams"]}
    assert counted["words", 3, 4000] < counted["words", 1, 4000] < math.log(16)

    for row in tables["exponents"]:
        assert row["curves"] in ("all", "without 1", "without 3", "z expected")
        assert row["steps_limited"] == sum(r["steps_limit"] for r in tables["runs"] if r["data"] == row["data"])
        if row["curves"] == "z expected":
            assert row["alpha"] == pytest.approx(row["alpha_z"] / row["z"])
    for row in tables["runs"]:
        if row["data"] == "words":
            blocks = [r["loss"] for r in tables["blocks"] if (r["t"], r["num_train"]) == (row["t"], row["num_train"])]
            assert row["loss"] == pytest.approx(np.mean(blocks))
    assert {(row["data"], row["scale"]) for row in tables["exponents"]} <= {
        (data, scale) for data in ("words", "v4-m2-s2-L3") for scale in ("t", "t + 1")
    }
    image = imread(tmp_path / "out" / "context_window.png")
    assert recipe_scripts.drawn(image)
    recipe.draw(tables | {"exponents": []}, tmp_path / "out" / "context_window.png")  # where nothing collapses
    assert not np.array_equal(imread(tmp_path / "out" / "context_window.png"), image)


def test_exponents_of_curves_that_collapse(recipe):
    """L = t^(-αz) F(P / t^z) with z = 3, αz = 0.6, F(x) = (1 + 1/x)^0.2."""
    sizes, z, alpha_z = 2.0 ** np.arange(4, 24), 3.0, 0.6
    table = {t: (sizes, np.array([t**-alpha_z * (1 + t**z / sizes) ** 0.2])) for t in (1, 3, 7, 15)}
    (right, scan), (wrong, _) = (recipe.collapses(table, shift, z) for shift in (0, 1))
    rows, others = ({row["curves"]: row for row in found} for found in (right, wrong))
    for name in ("all", "z expected"):
        assert rows[name]["z"] == pytest.approx(z, rel=0.02)
        assert rows[name]["alpha_z"] == pytest.approx(alpha_z, rel=0.02)
        assert rows[name]["ratio"] < 1e-3
    assert rows["all"]["pinned"] == 0
    for t in (1, 3, 7, 15):
        assert rows[f"without {t}"]["z"] == pytest.approx(z, rel=0.02)
    assert min(scan, key=lambda row: row["residual"])["z"] == pytest.approx(z, abs=0.2)
    assert others["all"]["z"] > 1.05 * z  # other lengths, another exponent
    assert others["all"]["residual"] > 10 * rows["all"]["residual"]


def test_held_out_targets_are_the_same_for_every_length(recipe, tmp_path):
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question. " * 30)
    values = parse_sweep(
        ["--config", str(tiny(tmp_path)), "--text", str(tmp_path / "text.txt")], extra=recipe_options()
    )
    values = {name: value for name, value in values.items() if name not in ("num_workers", "num_targets", "fit_max")}
    text = load_text(expand(values)[0].data).splits["test"]
    rows = recipe.held_out(text, 5, 40)
    assert rows.shape == (40, 6)
    every = np.lib.stride_tricks.sliding_window_view(text.ids, 6)
    starts = np.arange(40) * len(every) // 40
    assert np.array_equal(rows.numpy(), every[starts])
    assert len(recipe.held_out(text, 5, 10**6)) == len(every)


def recipe_options():
    return ["num_workers", "num_targets", "fit_max", "variants"]


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_configurations(name):
    values = parse_sweep(["--config", str(RECIPE / f"{name}.yaml")], extra=recipe_options())
    values.pop("num_workers", None)
    runs = expand(values)
    assert {run.training.output_dir.split("/")[0] for run in runs} == {"runs"}  # git ignores it
    assert {run.data.text is None for run in runs} == {True, False}
    for run in runs:
        if run.data.text is None:
            grammar = Grammar.from_name(run.data.grammar)
            assert run.training.visible_tokens in [grammar.block_length(level) - 1 for level in range(1, 4)]
            wanted = run.data.num_train + run.data.num_validation + run.data.num_test
            assert wanted <= grammar.num_sentences
        else:
            assert (run.data.context_length + 1).bit_count() == 1
