"""The last-token task: what models of each kind read, its exact laws, what it says of truncated oracles."""

import itertools

import numpy as np
import pytest
import torch

from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import position_entropies
from rhm_hf.tasks import LastToken


CAUSAL, MASKED = "AutoModelForCausalLM", "AutoModelForMaskedLM"


def task_of(grammar, *args, **kwargs):
    return LastToken(grammar.vocab_size, grammar.sentence_length, grammar, *args, **kwargs)


def brute_force_law(grammar, row, context):
    """P(x_d = . | the `context` tokens before it are those of `row`), from all sentences."""
    tokens, probs = enumerate_sentences(grammar)
    end = tokens.shape[1] - 1
    agree = (tokens[:, end - context : end] == row[end - context : end]).all(1)
    law = np.bincount(tokens[agree, end], probs[agree], grammar.vocab_size)
    return law / law.sum()


@pytest.mark.parametrize("visible", [None, 2])
def test_what_each_kind_of_model_reads(small_grammar, visible):
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    tokens = torch.from_numpy(small_grammar.sample(5, sampling="iid")).long()
    t = d - 1 if visible is None else visible
    for kind, expected in ((CAUSAL, [v]), (MASKED, [])):
        task = task_of(small_grammar, kind, visible_tokens=visible)
        batch = task.collate(tokens.to(torch.uint8))
        assert batch["labels"].tolist() == tokens[:, -1].tolist()
        end = [] if kind == CAUSAL else [v + 2]
        assert batch["input_ids"].tolist() == [expected + row[d - 1 - t : d - 1] + end for row in tokens.tolist()]
        assert task.context_length == batch["input_ids"].shape[1]


def test_exact_laws_equal_enumeration(small_grammar):
    d = small_grammar.sentence_length
    for visible in range(d):
        judged = task_of(small_grammar, visible_tokens=visible).judged
        levels = [int(name.removeprefix("kl_level_")) for name in judged.names]
        assert levels == [k for k in range(small_grammar.depth + 1) if small_grammar.block_length(k) - 1 <= visible]
        contexts = [*(small_grammar.block_length(level) - 1 for level in levels), visible]
        for (law, context), i in itertools.product(
            zip(judged.laws, contexts, strict=True), (0, len(judged.rows) // 2)
        ):
            expected = brute_force_law(small_grammar, judged.rows[i].numpy(), context)
            assert law[i, 0].numpy() == pytest.approx(expected, abs=1e-12)
        assert judged.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_truncated_oracle_is_closest_to_its_own_law(level):
    grammar = Grammar.from_name("v4-m2-s2-L3")
    task = task_of(grammar, CAUSAL)
    found = task.judge(RHMForCausalLM.from_grammar(grammar, context_level=level))
    assert tuple(found) == task.columns
    entropies = [float(position_entropies(grammar, k)[-1]) for k in range(4)]
    assert found["kl"] == pytest.approx(entropies[level] - entropies[3], abs=1e-9)
    assert found["entropy"] == pytest.approx(entropies[3], abs=1e-9)
    assert found[f"kl_level_{level}"] == pytest.approx(0, abs=1e-12)
    assert min(range(4), key=lambda k: found[f"kl_level_{k}"]) == level
    for wider in range(level, 4):  # what the wider context is worth
        assert found[f"kl_level_{wider}"] == pytest.approx(entropies[level] - entropies[wider], abs=1e-9)
    assert found["accuracy"] <= found["bayes_accuracy"] + 1e-12
    assert found["kl_stderr"] == 0


def test_the_masked_oracle_is_exact_and_the_loss_is_the_entropy():
    grammar = Grammar.from_name("v4-m2-s2-L3")
    task, oracle = task_of(grammar), RHMForMaskedLM.from_grammar(grammar)
    assert task.auto_class == MASKED
    found = task.judge(oracle)
    assert found["kl"] == pytest.approx(0, abs=1e-12)
    assert found["accuracy"] == pytest.approx(found["bayes_accuracy"], abs=1e-12)
    loss, right, count = task.scores(oracle, task.collate(task.judged.rows)).tolist()
    assert count == grammar.num_sentences
    assert loss / count == pytest.approx(found["entropy"], abs=1e-6)  # all sentences are equally likely
    assert right / count == pytest.approx(found["accuracy"], abs=1e-9)
    assert task.loss(oracle, task.collate(task.judged.rows)).item() == pytest.approx(loss / count, abs=1e-9)


def test_large_grammars_are_sampled_with_errors():
    grammar = Grammar.from_name("v16-m4-s2-L3")
    task = task_of(grammar, CAUSAL, kl_sentences=512)
    found = task.judge(RHMForCausalLM.from_grammar(grammar, context_level=1), batch_size=100)
    expected = float(position_entropies(grammar, 1)[-1] - position_entropies(grammar, 3)[-1])
    assert found["kl_stderr"] > 0
    assert abs(found["kl"] - expected) < 5 * found["kl_stderr"]
    whole = task.judge(RHMForCausalLM.from_grammar(grammar, context_level=1))
    assert whole == pytest.approx(found, rel=1e-9)


def test_bad_contexts_are_named(small_grammar):
    d = small_grammar.sentence_length
    with pytest.raises(ValueError, match=f"visible_tokens={d} is out of range"):
        task_of(small_grammar, visible_tokens=d)
