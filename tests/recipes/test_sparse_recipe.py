"""The recipe of sparse sentences at a tiny size, and what its sensitivities say of known networks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe

from rhm_hf import Grammar
from rhm_hf.training.recipe import recipe_main


@pytest.fixture(scope="module")
def module():
    return recipe("sparse")


def test_tables_and_figure(module, tmp_path, monkeypatch):
    values = yaml.safe_load((RECIPES / "sparse" / "cpu.yaml").read_text())
    values |= {"num_validation": 16, "num_test": 64, "max_steps": 6, "num_evaluations": 2, "batch_size": 32}
    values |= {"kl_sentences": 16, "learning_rate": 24.0, "output_dir": str(tmp_path / "runs"), "num_workers": 1}
    variants = {name: values["variants"][name] | {"num_train": [256, 64]} for name in ("cnn_m4", "lcn_m4")}
    for own in variants.values():
        own["config_overrides"] = own["config_overrides"] | {"hidden_size": 8}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values | {"variants": variants, "rules_seed": [0]}))
    parts = {"name": "sparse", "measure": module.measure, "draw": module.draw, "conclude": module.conclude}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path / "figures")], **parts)
    assert len(tables["runs"]) == 4
    for row in tables["runs"]:
        assert row["step"] == 6  # the last evaluation
        assert row["relative_error"] == pytest.approx((1 - row["test_accuracy"]) * 8 / 7)
        assert row["scaled"] == row["num_train"] / (512 if row["variant"] == "cnn_m4" else 1024)
    assert {row["theory"] for row in tables["thresholds"]} == {512, 1024}
    assert len(tables["sensitivity"]) == 4 * 2 * 2 * 4  # runs, changes, levels, layers
    check_redraw(monkeypatch, tmp_path / "figures", parts)


def test_sensitivities_of_known_networks(module, monkeypatch):
    grammar = Grammar.from_name("v8-m4-s2-L2-sparse1")

    def features(tokens):
        """One that knows the class, one that knows the informative tokens, wherever they are."""
        words = torch.nn.functional.one_hot(torch.from_numpy(grammar.informative(tokens).astype(np.int64)), 8)
        label = torch.from_numpy(grammar.parse(tokens)[-1].astype(np.int64)).flatten()
        return {"class": torch.nn.functional.one_hot(label, 8).double(), "words": words.flatten(1).double()}

    known = SimpleNamespace(collect=lambda tokens, batch_size: features(tokens))
    monkeypatch.setattr(module, "Activations", SimpleNamespace(of=lambda model, grammar: known))
    found = {(r["layer"], r["change"], r["level"]): r["sensitivity"] for r in module.sensitivities(None, grammar)}
    for level in (1, 2):
        assert found["class", "synonyms", level] == found["class", "displacements", level] == 0
        assert found["words", "displacements", level] == 0
        assert found["words", "synonyms", level] > 0.5


def test_filters_are_patches(module):
    values = yaml.safe_load((RECIPES / "sparse" / "cpu.yaml").read_text())
    for own in values["variants"].values():
        grammar = Grammar.from_name(own["grammar"])
        assert own["config_overrides"]["filter_size"] ** grammar.depth == grammar.sentence_length
        sizes = own["num_train"]
        assert min(sizes) < module.expected({"data": own["grammar"], "model": own["model_type"]}) < max(sizes)
