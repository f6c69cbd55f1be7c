"""The recipe of the counting learners, run small; its losses are those of the models."""

import numpy as np
import pytest
import torch
from recipe_scripts import dry_run, recipe

from rhm_hf import Grammar, HierarchicalNGramForCausalLM, NGramForCausalLM
from rhm_hf.inference import next_token_probs
from rhm_hf.statistics import learn_latents


def test_losses_are_those_of_the_models():
    grammar = Grammar.from_name("v8-m3-s2-L3", rules_seed=1)
    train = grammar.sample(300, sampling="iid").astype(np.int64)
    fresh = grammar.sample(200, split="evaluation", sampling="iid").astype(np.int64)
    losses, _ = recipe("ngram").measure_size(grammar, 300, 200)
    inferred = learn_latents(train, 8, 2, targets="sibling_token", num_symbols=8).grammar()
    models = {
        "plain": NGramForCausalLM.fit(train, 8, num_symbols=8),
        "hierarchical": HierarchicalNGramForCausalLM.fit(train, grammar),
        "sibling_token": HierarchicalNGramForCausalLM.fit(train, inferred),
    }
    law = next_token_probs(grammar, fresh)[:, -1]
    ids = torch.from_numpy(np.pad(fresh[:, :-1], ((0, 0), (1, 0)), constant_values=8))
    found = {row["learner"]: row["loss"] for row in losses}
    for learner, model in models.items():
        logits = model(ids).logits[:, -1, :8]
        expected = -torch.where(law > 0, law * logits, 0).sum(1).mean().item()
        assert found[learner] == pytest.approx(expected, rel=1e-12)


def test_the_recipe_writes_its_tables_and_figure(tmp_path):
    tables = dry_run(recipe("ngram"), tmp_path, "--max_log2", "8")
    assert len(tables["losses"]) == 2 * 5 * 5
    assert len(tables["agreement"]) == 2 * 5 * (3 + 2 + 2)
    assert all(row["loss"] > 0 for row in tables["losses"])
    assert len(tables["half_way"]) == 5 * 3 + 7
    plain = [row for row in tables["half_way"] if row["learner"] == "plain"]
    assert [(row["measured"], row["measured_bound"]) for row in plain][-1] == (256, "at least")
