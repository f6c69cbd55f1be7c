"""The next-token task: its batch, its loss, its judge."""

import math

import pytest
import torch

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.inference import log_prob, plateau, position_entropies
from rhm_hf.tasks import NextToken


def task_of(grammar, **kwargs):
    return NextToken(grammar.vocab_size, grammar.sentence_length, grammar, **kwargs)


def test_batch_puts_bos_first_and_predicts_every_symbol(small_grammar):
    task = task_of(small_grammar)
    tokens = torch.from_numpy(small_grammar.sample(5, sampling="iid"))
    batch = task.collate(tokens)
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64
    assert torch.equal(batch["labels"], tokens.long())
    assert (batch["input_ids"][:, 0] == small_grammar.vocab_size).all()
    assert torch.equal(batch["input_ids"][:, 1:], tokens[:, :-1].long())
    assert task.context_length == small_grammar.sentence_length + 1


def test_loss_of_the_oracle_is_its_log_probability(small_grammar):
    task = task_of(small_grammar)
    tokens = torch.from_numpy(small_grammar.sample(20, sampling="iid")).long()
    oracle = RHMForCausalLM.from_grammar(small_grammar)
    expected = -log_prob(small_grammar, tokens).mean().item() / small_grammar.sentence_length
    assert task.loss(oracle, task.collate(tokens)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_judge_gives_the_truncated_oracle_its_plateau(level):
    grammar = Grammar.from_name("v4-m2-s2-L3")  # 512 sentences: all are judged, weighted
    task = task_of(grammar)
    found = task.judge(RHMForCausalLM.from_grammar(grammar, context_level=level))
    assert tuple(found) == task.columns
    assert found["entropy"] == grammar.entropy / 8
    assert found["kl"] == pytest.approx(plateau(grammar, level) - grammar.entropy / 8, abs=1e-6)
    last = float(position_entropies(grammar, level)[-1])
    assert found["kl_last"] == pytest.approx(last - float(position_entropies(grammar, 3)[-1]), abs=1e-6)
    assert found["kl_stderr"] == 0


def test_judge_samples_fresh_sentences_of_large_grammars():
    grammar = Grammar.from_name("v16-m4-s2-L3")
    found = task_of(grammar, kl_sentences=64).judge(RHMForCausalLM.from_grammar(grammar))
    assert 0 <= found["kl"] < 1e-6
    assert found["kl_stderr"] < 1e-6
    assert math.isclose(found["entropy"], math.log(grammar.num_sentences) / 8)
