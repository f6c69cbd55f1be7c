"""The recipe of memorisation at a tiny size: last models are sampled; a training set is all copies of itself."""

from types import SimpleNamespace

import pytest
import torch
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe

from rhm_hf import Grammar
from rhm_hf.training.recipe import recipe_main


MODULE = recipe("memorisation")
PARTS = {"name": "memorisation", "measure": MODULE.measure, "draw": MODULE.draw, "options": {"num_samples": 32}}


def tiny(tmp_path, **changed):
    values = yaml.safe_load((RECIPES / "memorisation" / "cpu.yaml").read_text())
    values |= {"grammar": "v4-m2-s2-L3", "num_train": [32, 16], "num_validation": 16, "num_test": 16, "batch_size": 8}
    values |= {"config_overrides": {"hidden_size": 8, "filter_size": 2, "num_hidden_layers": 3}, "max_steps": 4}
    values |= {"num_evaluations": 2, "kl_sentences": 16, "output_dir": str(tmp_path / "runs")}
    del values["variants"]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values | changed))
    return ["--config", str(path), "--figures", str(tmp_path / "figures")]


def test_tables_and_figure(tmp_path, monkeypatch):
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    real = MODULE.samples_of

    def samples(run, num):
        found = real(run, num)
        assert found.shape == (num, 8)
        if (run["rules_seed"], run["num_train"]) != (1, 16):
            return found
        return torch.from_numpy(grammar.sample(16, seed=run["sample_seed"]).astype("int64"))  # its training set

    monkeypatch.setattr(MODULE, "samples_of", samples)
    tables = recipe_main(tiny(tmp_path), **PARTS)
    assert {row["step"] for row in tables["copies"]} == {4}  # the last model
    assert {(row["rules_seed"], row["num_train"]) for row in tables["copies"]} == {(0, 16), (0, 32), (1, 16), (1, 32)}
    (copied,) = [row for row in tables["copies"] if (row["rules_seed"], row["num_train"]) == (1, 16)]
    assert (copied["copied"], copied["valid"], copied["novel"]) == (1, 1, 0)
    assert copied["chance_of_copy"] == pytest.approx(16 / grammar.num_sentences)
    assert len(tables["emergence"]) == 4 * 2
    check_redraw(monkeypatch, tmp_path / "figures", PARTS)


def test_early_stopping_is_refused():
    run = SimpleNamespace(arguments=SimpleNamespace(training=SimpleNamespace(keep="best")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "kept_runs", lambda rows, values: [run])
        with pytest.raises(ValueError, match="keep='best'"):
            MODULE.measure([], {}, 8)
