"""The classification task: rows with their class, the exact posterior as the best classifier."""

import numpy as np
import pytest
import torch

from rhm_hf import Grammar, RHMForSequenceClassification
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.tasks import Classification


def test_batch_and_exact_posterior(small_grammar):
    d = small_grammar.sentence_length
    task = Classification(small_grammar.vocab_size, d, small_grammar)
    levels = small_grammar.derivations(50, seed=1, sampling="iid")
    rows = torch.from_numpy(np.concatenate([levels[0], levels[-1].astype(levels[0].dtype)], 1))
    batch = task.collate(rows)
    assert torch.equal(batch["input_ids"], rows[:, :d].long())
    assert torch.equal(batch["labels"], rows[:, -1].long())
    assert task.num_labels == small_grammar.num_classes
    oracle = RHMForSequenceClassification.from_grammar(small_grammar)
    loss, right, count = task.scores(oracle, batch).tolist()
    assert (loss, right, count) == (pytest.approx(0, abs=1e-9), 50, 50)
    found = task.judge(oracle)
    assert tuple(found) == task.columns
    assert [found[name] for name in ("kl", "entropy", "error_gap")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert found["accuracy"] == pytest.approx(1)


def test_a_classifier_of_another_grammar_errs_as_often_as_counted():
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    uniform = RHMForSequenceClassification.from_grammar(Grammar.from_name("v4-m4-s2-L3", rules_seed=2))
    found = Classification(4, 8, grammar).judge(uniform)  # all tuples are rules there: it has an answer to everything
    tokens, _ = enumerate_sentences(grammar)
    guesses = uniform(torch.from_numpy(tokens.astype(np.int64))).logits.argmax(-1).numpy()
    classes = np.repeat(np.arange(4), len(tokens) // 4)  # the order of enumeration: by class
    assert found["error_gap"] == pytest.approx(float((guesses != classes).mean()), abs=1e-12)
    assert found["error_gap"] > 0.3


def test_text_has_no_classes():
    with pytest.raises(ValueError, match="needs a grammar: windows of a text have no class"):
        Classification(4, 8)
