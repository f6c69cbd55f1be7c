"""The recipe that goes from gamma and beta to alpha, at a tiny size."""

import math

import numpy as np
import pytest
import torch
from recipe_scripts import RECIPES, recipe

from rhm_hf.training.recipe import recipe_main


TINY = {
    "num_train": [2000, 20_000],
    "num_validation": 64,
    "num_test": 64,
    "context_length": 12,
    "batch_size": 32,
    "max_steps": 200,
    "warmup_steps": 5,
    "num_evaluations": 4,
    "learning_rate": 1e-2,
    "num_threads": 1,
    "num_workers": 1,
    "fit_max": 5,
    "max_distance": 10,
    "num_windows": 400,
    "config_overrides": "{n_embd: 16, n_layer: 1, n_head: 2}",
}


@pytest.fixture
def scaling_exponent():
    module = recipe("scaling_exponent")
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


def parts_of(module) -> dict:
    parts = {name: getattr(module, name) for name in ("measure", "conclude", "draw", "check")}
    return parts | {"name": "scaling_exponent", "options": module.OPTIONS, "shows": "exponents"}


def run(module, argv):
    return recipe_main(argv, **parts_of(module))


def argv(tmp_path, **overrides):
    settings = TINY | {"text": tmp_path / "text.txt", "output_dir": tmp_path / "runs"} | overrides
    lists = {k: v if isinstance(v, list) else [v] for k, v in settings.items()}
    given = [str(part) for name, values in lists.items() for part in (f"--{name}", *values)]
    return ["--config", str(RECIPES / "scaling_exponent" / "shakespeare.yaml"), *given]


def test_exponents_and_figure(scaling_exponent, tmp_path, capsys):
    words = ["hierarchy", "model", "random", "language", "token", "data"]  # the next letter needs several before it
    chosen = np.random.default_rng(0).integers(0, len(words), 10_000)
    (tmp_path / "text.txt").write_text(" ".join(words[i] for i in chosen))
    tables = run(scaling_exponent, argv(tmp_path))
    rows = {row["quantity"]: row for row in tables["exponents"]}
    ratio = rows["gamma"]["value"] / (2 * rows["beta"]["value"])
    assert rows["alpha = gamma / (2 beta)"]["value"] == pytest.approx(ratio)
    curve = tables["learning_curve"]
    assert [row["num_train"] for row in curve] == [2000, 20_000]
    slope = -math.log(curve[1]["test_loss"] / curve[0]["test_loss"]) / math.log(10)
    assert rows["alpha of L(P)"]["value"] == pytest.approx(slope)
    assert f"{rows['beta']['value']:.4g}" in capsys.readouterr().out
    assert len(tables["correlations"]) == 10
    for table in (tmp_path / "runs").glob("scaling_exponent_*.csv"):
        assert str(tmp_path) not in table.read_text()  # committed: no path of this machine


def test_it_needs_a_text_and_several_sizes(scaling_exponent, tmp_path):
    with pytest.raises(ValueError, match="several values of num_train"):
        run(scaling_exponent, argv(tmp_path, num_train=2000))
