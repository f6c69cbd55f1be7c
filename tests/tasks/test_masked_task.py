"""The masked task: masks as a function of the noise, exact posteriors of blocks, the oracle."""

import numpy as np
import pytest
import torch

from rhm_hf import Grammar, RHMForMaskedLM
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import block_posteriors
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.tasks import Masked


def task_of(grammar, **kwargs):
    return Masked(grammar.vocab_size, grammar.sentence_length, grammar, **kwargs)


def noise_for(task, n, seed=0):
    return torch.rand(n, task.noise_per_row, generator=torch.Generator().manual_seed(seed))


def test_batch_hides_what_the_noise_says(small_grammar):
    task, v = task_of(small_grammar, mask_probability=0.3), small_grammar.vocab_size
    rows = torch.from_numpy(small_grammar.sample(400, sampling="iid"))
    noise = noise_for(task, 400)
    batch = task.collate(rows, noise)
    hidden = batch["input_ids"][:, 1:] == v + 2
    assert (batch["input_ids"][:, 0] == v).all()
    assert (batch["labels"][:, 0] == -100).all()
    assert hidden.any(1).all()
    assert torch.equal(hidden | (noise >= 0.3), torch.ones_like(hidden))
    assert torch.equal(batch["labels"][:, 1:] == -100, ~hidden)
    assert torch.equal(batch["labels"][:, 1:][hidden], rows.long()[hidden])
    assert torch.equal(batch["input_ids"][:, 1:][~hidden], rows.long()[~hidden])


@pytest.mark.parametrize("probability", [0.05, 0.5, 1.0])
def test_expected_number_of_targets(probability):
    task = Masked(4, 8, mask_probability=probability)
    counts = task.hidden(noise_for(task, 20_000)).sum(1).double()
    assert counts.mean().item() == pytest.approx(
        task.targets_per_row, abs=5 * counts.std().item() / 20_000**0.5 + 1e-9
    )


def test_loss_of_a_batch_is_the_mean_of_its_parts(small_grammar):
    task, oracle = task_of(small_grammar), RHMForMaskedLM.from_grammar(small_grammar)
    rows, noise = torch.from_numpy(small_grammar.sample(32, sampling="iid")), noise_for(task_of(small_grammar), 32)
    whole = task.loss(oracle, task.collate(rows, noise))
    parts = [task.loss(oracle, task.collate(r, n)) for r, n in zip(rows.split(8), noise.split(8), strict=True)]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), abs=1e-9)


def test_block_posteriors_equal_enumeration(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    rows = torch.from_numpy(tokens[:: max(1, len(tokens) // 6)].astype(np.int64))
    hidden = torch.rand(rows.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    for level, laws in enumerate(block_posteriors(small_grammar, rows, hidden)):
        size = small_grammar.block_length(level)
        for row, mask, law in zip(rows.numpy(), hidden.numpy(), laws.numpy(), strict=True):
            for i in range(tokens.shape[1]):
                block = np.arange(i // size * size, (i // size + 1) * size)
                seen = block[~mask[block]] if level else []
                agree = (tokens[:, seen] == row[seen]).all(1)
                expected = np.bincount(tokens[agree, i], probs[agree], small_grammar.vocab_size)
                assert law[i] == pytest.approx(expected / expected.sum(), abs=1e-12)


def test_the_oracle_is_exact_and_agrees_with_the_metric():
    grammar = Grammar.from_name("v4-m2-s2-L3")
    task, oracle = task_of(grammar, mask_probability=0.4), RHMForMaskedLM.from_grammar(grammar)
    found = task.judge(oracle)
    assert tuple(found) == task.columns
    assert found["kl"] == pytest.approx(0, abs=1e-12)
    assert found["accuracy"] == pytest.approx(found["bayes_accuracy"], abs=1e-12)
    assert found["kl_level_0"] < 0 or found["kl_level_0"] > 0.1
    metric = kl_divergence(oracle, grammar, mask_probability=0.4)
    assert found["entropy"] == pytest.approx(metric["entropy"], rel=0.1)  # other masks

    other = RHMForMaskedLM.from_grammar(Grammar.from_name("v4-m2-s2-L3", rules_seed=7))
    wrong = task.judge(other)
    reference = kl_divergence(other, grammar, mask_probability=0.4)
    assert wrong["kl"] == reference["kl"] == float("inf")  # another grammar excludes possible tokens


def test_bad_probabilities_are_named():
    with pytest.raises(ValueError, match=r"mask_probability=0.0 must be above 0"):
        Masked(4, 8, mask_probability=0.0)
