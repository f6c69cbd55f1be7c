"""Forward-backward experiments against enumeration, and the limits of little and of total noise."""

import itertools
import math

import numpy as np
import pytest
import torch
from listed_source import palindromes

from rhm_hf import Grammar
from rhm_hf.diffusion import (
    EpsilonProcess,
    ExactDenoiser,
    GaussianDiffusion,
    MaskedDiffusion,
    UniformDiffusion,
    crossing,
    denoise,
    forward_backward,
    susceptibility,
)
from rhm_hf.diffusion.forward_backward import _survival
from rhm_hf.grammar import NotSupported
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import posteriors


TINY = Grammar.from_name("v3-m2-s2-L2", rules_seed=2)


@pytest.mark.parametrize("process", [MaskedDiffusion(3), UniformDiffusion(3), EpsilonProcess(3)], ids=lambda p: p.name)
def test_survival_and_spins_against_enumeration(process):
    tokens, probs = enumerate_sentences(TINY)
    t, d = 0.5, 4
    if process.name == "epsilon":
        noisy, forward = tokens.astype(int), np.eye(len(tokens))
    else:
        states = np.stack(np.unravel_index(range(process.num_states**d), (process.num_states,) * d), 1)
        matrix = process.transition(0.0, t).numpy()
        forward = np.prod(matrix[tokens[:, None].astype(int), states[None]], -1)
        noisy = process.ids_of(torch.from_numpy(states)).numpy()
    evidence = process.evidence(torch.from_numpy(noisy), t).numpy()
    weights = probs * np.prod(evidence[:, np.arange(d), tokens.astype(int)], -1)  # (states, sentences)
    back = weights / np.where(weights.sum(1) > 0, weights.sum(1), 1)[:, None]
    pairs = probs[:, None] * (forward @ back)  # of a sentence and what it becomes
    levels = TINY.parse(tokens)
    result = forward_backward(TINY, process, t, 4000, seed=1)
    for level, symbols in enumerate(levels):
        same = (symbols[:, None] == symbols[None]).mean(-1)
        expected = (pairs * same).sum()
        error = max(result.survival_stderr[level], 1e-12)
        assert result.survival[level] == pytest.approx(expected, abs=4.5 * error)
        assert error < 0.02
    spins = 2.0 * (tokens[:, None] != tokens[None]) - 1
    mean = np.einsum("xy,xyi->i", pairs, spins)
    covariance = np.einsum("xy,xyi,xyj->ij", pairs, spins, spins) - np.outer(mean, mean)
    np.testing.assert_allclose(result.covariance.numpy(), covariance, atol=0.08)
    assert result.susceptibility == pytest.approx(covariance.sum() / np.trace(covariance), abs=0.1)
    pair, far = covariance[[0, 2], [1, 3]].mean(), covariance[:2, 2:].mean()
    assert result.correlations == pytest.approx(
        [pair / np.diag(covariance).mean(), far / np.diag(covariance).mean()], abs=0.1
    )


@pytest.mark.parametrize("process", [MaskedDiffusion(8), UniformDiffusion(8), GaussianDiffusion(8), EpsilonProcess(8)])
def test_little_and_total_noise(process):
    grammar = Grammar.from_name("v8-m2-s2-L3")
    little, total = (forward_backward(grammar, process, t, 400) for t in (1e-6, 1.0))
    assert min(little.survival) > 0.999
    assert little.susceptibility == 0.0
    assert total.survival[-1] == pytest.approx(1 / 8, abs=1e-12)  # nothing is left: the prior
    middle = forward_backward(grammar, process, 0.5, 400)
    assert total.survival[-1] < middle.survival[-1] < little.survival[-1]
    assert middle.susceptibility > 1.2


def test_the_way_back_of_a_model_that_is_exact_is_the_posterior():
    """Many steps with the exact denoiser draw from p(x_0 | x_t): the same survival as the exact one."""
    process = MaskedDiffusion(3)
    exact = forward_backward(TINY, process, 0.6, 1500)
    stepped = forward_backward(TINY, process, 0.6, 1500, model=ExactDenoiser(TINY, process), steps=40)
    for level in range(3):
        error = np.hypot(exact.survival_stderr[level], stepped.survival_stderr[level])
        assert stepped.survival[level] == pytest.approx(exact.survival[level], abs=4.5 * error + 0.01)
    assert exact.grammatical == 1
    assert 0.8 < stepped.grammatical < 1  # two tokens of one step do not know of each other
    assert 0 < stepped.grammatical_stderr < 0.02
    tokens = torch.from_numpy(enumerate_sentences(TINY)[0].astype(np.int64))
    assert torch.equal(denoise(TINY, process, tokens, 0.5, 10), tokens)  # nothing is hidden


@pytest.mark.parametrize(
    "name", ["v3-m2-s2-L2-cut1", "hmm-v3-h2-m2-d4-p0.5", "v2-m2-s2-L1-sparse1", "layered-c2-v3.3-m2.2-s2.2"]
)
def test_survival_at_every_level_of_every_family(name):
    """Of masked diffusion: over all masks and sentences, the probability that two draws of a symbol agree."""
    grammar, t = Grammar.from_name(name, rules_seed=1), 0.4
    sentences, probs = enumerate_sentences(grammar)
    tokens, probs = torch.from_numpy(sentences.astype(np.int64)), torch.from_numpy(probs)
    d = tokens.shape[1]
    expected = np.zeros(grammar.depth + 1)
    for hidden in itertools.product([False, True], repeat=d):
        weight = t ** sum(hidden) * (1 - t) ** (d - sum(hidden))
        laws = posteriors(grammar, tokens, torch.tensor(hidden).expand(len(tokens), -1))
        expected += [weight * float(probs @ (law**2).sum(-1).mean(-1)) for law in laws]
    process = MaskedDiffusion(grammar.vocab_size)
    result = forward_backward(grammar, process, t, 3000, seed=1)
    assert len(result.survival) == grammar.depth + 1
    for found, error, exact in zip(result.survival, result.survival_stderr, expected, strict=True):
        assert found == pytest.approx(exact, abs=4.5 * error + 1e-12)
    assert result.grammatical == 1
    assert [value is None for value in result.correlations] == [
        grammar.block_length(level) == grammar.block_length(level - 1) for level in range(1, grammar.depth + 1)
    ]
    steps = forward_backward(grammar, process, t, 3000, seed=2, model=grammar, steps=200)  # nearly one at a time
    for found, error, exact in zip(steps.survival, steps.survival_stderr, expected, strict=True):
        assert found == pytest.approx(exact, abs=4.5 * error + 0.01)
    assert steps.grammatical > 0.98


def test_a_denoised_sentence_keeps_a_state_as_far_as_it_tells():
    grammar = Grammar.from_name("hmm-v3-h2-m2-d4-p0.5", rules_seed=1)
    levels = [torch.from_numpy(level.astype(np.int64)) for level in grammar.derivations(50, seed=1)]
    tokens = levels[0].clone()
    same = _survival(grammar, tokens, levels)
    laws = posteriors(grammar, tokens)
    for level, (kept, true) in enumerate(zip(same, levels, strict=True)):
        expected = torch.ones_like(kept, dtype=torch.float64)
        if level > grammar.parsed_depth:
            expected = laws[level].gather(2, true[..., None])[..., 0]
        torch.testing.assert_close(kept.double(), expected, rtol=0, atol=1e-12)


def test_the_same_noise_serves_every_time():
    one, two = (forward_backward(TINY, UniformDiffusion(3), 0.3, 50, seed=4) for _ in range(2))
    assert one.survival == two.survival
    assert torch.equal(one.covariance, two.covariance)
    times = np.linspace(0.05, 0.95, 10)
    curve = [forward_backward(TINY, MaskedDiffusion(3), t, 200).survival[0] for t in times]
    assert (np.diff(curve) < 0).all()


def test_susceptibility_is_the_size_of_blocks():
    generator = torch.Generator().manual_seed(0)
    blocks = torch.rand(20_000, 4, generator=generator) < 0.3
    for size in (1, 3):
        spins = 2.0 * blocks.repeat_interleave(size, 1) - 1
        assert susceptibility(torch.cov(spins.t().double())) == pytest.approx(size, rel=0.05)
    assert susceptibility(torch.zeros(4, 4)) == 0


def test_crossing_is_interpolated_and_the_clearest():
    times = [0.0, 1.0, 2.0, 3.0]
    assert crossing(times, [0.5] * 4, [1.0, 0.7, 0.4, 0.0]) == pytest.approx(1 + 0.2 / 0.3)
    assert crossing(times, [0.5] * 4, [0.6, 0.7, 0.8, 0.9]) is None
    wiggle = [0.51, 0.49, 0.9, 0.1]
    assert crossing(times, [0.5] * 4, wiggle) == pytest.approx(2.5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="t=0 must be above 0"):
        forward_backward(TINY, MaskedDiffusion(3), 0)
    with pytest.raises(ValueError, match="num_sentences=1"):
        forward_backward(TINY, MaskedDiffusion(3), 0.5, 1)
    with pytest.raises(ValueError, match="t=nan is out of range"):
        forward_backward(TINY, MaskedDiffusion(3), math.nan)
    with pytest.raises(ValueError, match="steps=0"):
        forward_backward(TINY, MaskedDiffusion(3), 0.5, 2, steps=0)
    with pytest.raises(NotSupported, match="forward_backward does not exist for custom-"):
        forward_backward(palindromes(), MaskedDiffusion(3), 0.5)
