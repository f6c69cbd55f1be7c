"""The recipe of memorisation at a tiny size: last models are sampled; a training set is all copies of itself."""

from types import SimpleNamespace

import pytest
import torch
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar


MODULE = recipe("memorisation")


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(tmp_path, monkeypatch):
    grammar = Grammar.from_name("v8-m2-s2-L4", rules_seed=1)
    real = MODULE.samples_of

    def samples(run, num):
        found = real(run, num)
        assert found.shape == (num, 16)
        if (run["rules_seed"], run["num_train"]) != (1, 16):
            return found
        return torch.from_numpy(grammar.sample(16, seed=run["sample_seed"]).astype("int64"))  # its training set

    monkeypatch.setattr(MODULE, "samples_of", samples)
    tables = dry_run(MODULE, tmp_path, config=RECIPES / "memorisation" / "cpu.yaml")
    assert {row["step"] for row in tables["copies"]} == {3}  # the last model
    assert {(row["rules_seed"], row["num_train"]) for row in tables["copies"]} == {
        (seed, size) for seed in (0, 1) for size in (16, 20, 24, 28)
    }
    (copied,) = [row for row in tables["copies"] if (row["rules_seed"], row["num_train"]) == (1, 16)]
    assert (copied["copied"], copied["valid"], copied["novel"]) == (1, 1, 0)
    assert copied["chance_of_copy"] == pytest.approx(16 / grammar.num_sentences)
    assert len(tables["emergence"]) == 8 * 2


def test_early_stopping_is_refused():
    run = SimpleNamespace(arguments=SimpleNamespace(training=SimpleNamespace(keep="best")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "kept_runs", lambda rows, values: [run])
        with pytest.raises(ValueError, match="keep='best'"):
            MODULE.measure([], {}, 8)
