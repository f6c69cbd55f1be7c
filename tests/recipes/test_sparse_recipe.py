"""The recipe of sparse sentences at a tiny size, and what its sensitivities say of known networks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar


@pytest.fixture(scope="module")
def module():
    return recipe("sparse")


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(module, tmp_path):
    tables = dry_run(module, tmp_path, config=RECIPES / "sparse" / "cpu.yaml")
    theory = {"cnn_m4": 8 * 2**4, "lcn_m4": 8 * 2**5}
    assert len(tables["runs"]) == 6 * 2 * 2
    for row in tables["runs"]:
        assert row["step"] == 3  # the last evaluation
        classes = Grammar.from_name(row["data"]).num_classes
        assert row["relative_error"] == pytest.approx((1 - row["test_accuracy"]) * classes / (classes - 1))
        if row["variant"] in theory:
            assert row["scaled"] == row["num_train"] / theory[row["variant"]]
    assert {row["variant"]: row["theory"] for row in tables["thresholds"]}.items() >= theory.items()
    assert len(tables["sensitivity"]) == 24 * 2 * 2 * 4  # runs, changes, levels, layers


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
