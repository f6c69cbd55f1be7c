"""What is asked of trained models, tried on models whose answers are known: the oracles and their truncations."""

import numpy as np
import pytest
import torch

from rhm_hf import Grammar, NGramForCausalLM, RHMForCausalLM
from rhm_hf.bench.afterwards import beyond_training, nearest_oracle, oracle_distances
from rhm_hf.bench.suite import FOLDER
from rhm_hf.inference import next_token_probs


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_truncated_oracle_is_closest_to_itself(level):
    grammar = Grammar.from_name("v6-m3-s2-L3")
    model = RHMForCausalLM.from_grammar(grammar, context_level=level)
    found = oracle_distances(model, grammar)
    wanted = found["kl"] if level == 3 else found[f"kl_level_{level}"]
    assert wanted == pytest.approx(0, abs=1e-9)
    assert nearest_oracle({}, lambda: model, grammar, "next_token") == level


def test_distances_are_the_kl_from_each_oracle():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    model = NGramForCausalLM.fit(grammar.sample(64, sampling="iid"), 3, num_symbols=4, discount=0.5)
    found = oracle_distances(model, grammar)
    tokens = torch.from_numpy(grammar.sample(512, split="evaluation", sampling="iid").astype(np.int64))
    seen = torch.ones(512, 3, dtype=torch.bool)
    q = model.next_probs(tokens[:, :-1], seen, ~seen)
    for level, name in enumerate(["kl_level_0", "kl_level_1", "kl"]):
        p = next_token_probs(grammar, tokens, context_level=level)
        assert found[name] == pytest.approx(float(torch.special.xlogy(p, p / q).sum(-1).mean()), rel=1e-6)


def test_rows_of_other_tasks_have_the_distances_and_classes_have_none():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    row = {"kl": 0.3, "kl_level_0": 0.5, "kl_level_1": 0.2}
    assert nearest_oracle(row, lambda: None, grammar, "last_token") == 1
    assert nearest_oracle(row | {"kl_level_1": 0.3}, lambda: None, grammar, "masked") == 2  # the higher of equals
    assert nearest_oracle(row, lambda: None, grammar, "classification") == ""


def test_the_law_is_the_law_beyond_the_training_sentences_and_a_window_is_worse_there():
    source = Grammar.from_file(FOLDER / "rhm-bench-1-dyck.cfg")
    oracle = RHMForCausalLM.from_grammar(source)
    found = beyond_training(oracle, source, 20, 40)
    assert found["beyond_kl"] == pytest.approx(0, abs=1e-9)
    assert found["within_kl"] == pytest.approx(0, abs=1e-9)
    assert found["beyond_sentences"] == 256
    window = NGramForCausalLM.fit(
        source.sample(4096, sampling="iid"), 3, num_symbols=4, tied=True, ends=True, discount=0.5
    )
    assert beyond_training(window, source, 20, 40)["beyond_kl"] > 0.05
    assert beyond_training(oracle, source, 40, 40) == {"beyond_sentences": 0}
