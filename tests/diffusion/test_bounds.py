"""Bounds on the log likelihood: exact identities, unbiased estimates, limits."""

import itertools
import math

import numpy as np
import pytest
import torch
from exact_chain import Chain
from transformers import BertConfig, BertForMaskedLM

from rhm_hf import Grammar, RHMForMaskedLM
from rhm_hf.diffusion import (
    SCHEDULES,
    DenoisingLoss,
    ExactDenoiser,
    LinearSchedule,
    LogLinearSchedule,
    MaskedDiffusion,
    UniformDiffusion,
    log_likelihood_bound,
    stratified,
)
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import log_prob


TINY = Grammar.from_name("v3-m2-s2-L2", rules_seed=2)  # 24 sentences, 81 or 256 noisy states


def sentences_of(grammar):
    tokens, probs = enumerate_sentences(grammar)
    return torch.from_numpy(tokens.astype(np.int64)), probs


def any_order_bound(denoiser, tokens, v):
    """E over t of weight x hidden losses, summed over all masks: n hidden of d weigh (n - 1)! (d - n)! / d!."""
    d = tokens.shape[1]
    total = torch.zeros(len(tokens), dtype=torch.float64)
    for pattern in itertools.product([False, True], repeat=d):
        n = sum(pattern)
        if n == 0:
            continue
        hidden = torch.tensor(pattern).expand(len(tokens), d)
        logs = denoiser(torch.where(hidden, v + 2, tokens), n / d)
        losses = -logs.gather(2, tokens[:, :, None])[..., 0]
        total += math.factorial(n - 1) * math.factorial(d - n) / math.factorial(d) * (losses * hidden).sum(1)
    return total


def test_with_the_exact_denoiser_the_continuous_bound_is_log_p_of_every_sentence(small_grammar):
    v = small_grammar.vocab_size
    tokens, probs = sentences_of(small_grammar)
    some = slice(0, None, max(1, len(tokens) // 50))
    bounds = any_order_bound(ExactDenoiser(small_grammar, MaskedDiffusion(v)), tokens[some], v)
    torch.testing.assert_close(-bounds, log_prob(small_grammar, tokens[some]), rtol=1e-12, atol=1e-12)
    if len(tokens) <= 64:
        assert (bounds.numpy() * probs).sum() == pytest.approx(small_grammar.entropy, rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_continuous_loss_estimates_that_bound_whatever_the_schedule(schedule):
    """Averages over a fine grid of times and many masks, of one sentence; for a model that is not exact."""
    v, process = TINY.vocab_size, MaskedDiffusion(TINY.vocab_size, schedule)
    other = Grammar.from_name("v3-m2-s2-L2", rules_seed=5)
    wrong = ExactDenoiser(other, MaskedDiffusion(v))

    def smoothed(noisy, t):
        return (0.5 * wrong(noisy, t).exp() + 0.5 / v).log()

    class Smoothed(ExactDenoiser):
        __call__ = staticmethod(smoothed)

    denoiser = Smoothed(other, process)
    tokens = sentences_of(TINY)[0][5:6]
    expected = any_order_bound(denoiser, tokens, v).item() + 4 * process.prior_kl()
    num = 40_000
    uniforms = stratified(torch.rand(num, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    found = DenoisingLoss(process).sentence_bounds(denoiser, tokens.expand(num, 4), uniforms)
    assert found.mean().item() == pytest.approx(expected, abs=4.5 * found.std().item() / math.sqrt(num))
    assert found.std().item() / math.sqrt(num) < 0.02 * expected


@pytest.mark.parametrize(
    "process", [MaskedDiffusion(3), UniformDiffusion(3), UniformDiffusion(3, "log_linear")], ids=str
)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_d3pm_bound_is_that_of_the_enumerated_chain(process, steps):
    tokens, probs = sentences_of(TINY)
    chain = Chain(process, tokens.numpy(), probs)
    bounds = chain.bound(steps)
    law = chain.generated(steps)
    places = (tokens.numpy()[:, None] == chain.states[None]).all(-1).argmax(1)
    assert (bounds >= -np.log(law[places]) - 1e-12).all()  # it is a bound on the sampler's log likelihood
    if steps == 1 and process.prior_kl() == 0:
        np.testing.assert_allclose(bounds, -np.log(law[places]), atol=1e-12)  # and an equality in one step
    assert (bounds * probs).sum() > TINY.entropy
    num = 300
    rows = tokens.repeat_interleave(num, 0)
    uniforms = torch.rand(len(rows), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = DenoisingLoss(process, steps).sentence_bounds(TINY, rows, uniforms).view(-1, num)
    stderr = found.std(1).numpy() / math.sqrt(num)
    assert (np.abs(found.mean(1).numpy() - bounds) < 5 * stderr + 1e-9).all()
    overall = found.mean(1).numpy() @ probs
    assert overall == pytest.approx((bounds * probs).sum(), abs=4.5 * math.sqrt((stderr**2 * probs**2).sum()) + 1e-9)


@pytest.mark.parametrize("process", [MaskedDiffusion(3), UniformDiffusion(3)], ids=lambda p: p.name)
def test_the_d3pm_bound_falls_to_the_entropy_with_the_number_of_steps(process):
    tokens, probs = sentences_of(TINY)
    chain = Chain(process, tokens.numpy(), probs)
    excess = [chain.bound(steps) @ probs - TINY.entropy for steps in (1, 2, 4, 8, 16)]
    assert all(0 < after < before for before, after in itertools.pairwise(excess))
    assert excess[-1] < 0.2 * excess[0]
    assert 1.5 < excess[-2] / excess[-1] < 2.5  # like 1 / T


def test_the_bound_of_the_exact_denoiser_is_the_entropy_within_errors():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    tokens = grammar.sample(600, sampling="iid")
    process, generator = MaskedDiffusion(8), torch.Generator().manual_seed(3)
    result = log_likelihood_bound(grammar, process, tokens, num_samples=4, generator=generator)
    rate = grammar.entropy / 8
    assert result["bound"] == pytest.approx(rate, abs=4 * result["bound_stderr"])
    assert result["bound_stderr"] < 0.05 * rate
    assert result["bound_sentence"] == pytest.approx(8 * result["bound"])
    assert (result["num_infinite"], result["num_sentences"]) == (0, 600)
    other = Grammar.from_name("v8-m2-s2-L3", rules_seed=1)
    wrong = log_likelihood_bound(other, process, tokens, generator=generator)
    assert wrong["bound"] == math.inf
    assert 0 < wrong["num_infinite"] <= 600


def test_stratified_times_are_even_and_uniform():
    uniforms = torch.rand(100, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    even = stratified(uniforms)
    assert torch.equal(even[:, 1:], uniforms[:, 1:])
    assert even[0, 0] == uniforms[0, 0]
    assert torch.equal((even[:, 0] * 100).long().unique(), torch.arange(100))
    assert (stratified(torch.full((8, 2), 1 - 2.0**-24))[:, 0] < 1).all()


def bert(num_ids=6, positions=8):
    config = BertConfig(
        vocab_size=num_ids,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=positions,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    return BertForMaskedLM(config).eval()


@pytest.mark.parametrize("loss", [DenoisingLoss(MaskedDiffusion(3)), DenoisingLoss(UniformDiffusion(3), 10)])
def test_the_loss_is_a_pure_function_of_rows_and_trains(loss):
    model, tokens = bert(), torch.from_numpy(TINY.sample(16, sampling="iid"))
    uniforms = torch.rand(16, loss.num_uniforms(4), generator=torch.Generator().manual_seed(0))
    whole = loss(model, tokens, uniforms)
    halves = [loss(model, tokens[part], uniforms[part]) for part in (slice(8), slice(8, 16))]
    assert whole.item() == pytest.approx(sum(half.item() for half in halves) / 2, rel=1e-6)
    assert whole.dtype == torch.float32 or loss.steps is None
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        value = loss(model, tokens, uniforms)
        value.backward()
        optimizer.step()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert value.item() < 0.8 * whole.item()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"steps=None with UniformDiffusion.*give steps="):
        DenoisingLoss(UniformDiffusion(3))
    with pytest.raises(ValueError, match="steps=0"):
        DenoisingLoss(UniformDiffusion(3), 0)
    with pytest.raises(ValueError, match=r"uniforms has shape \(2, 4\): it must be \(2, 5\)"):
        DenoisingLoss(MaskedDiffusion(3))(TINY, torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4))
    tokens = TINY.sample(4)
    for tokens_or_not, options, match in (
        (tokens, {"batch_size": 0}, "batch_size=0"),
        (tokens, {"num_samples": 1.5}, "num_samples=1.5"),
        (tokens.astype(float), {}, "tokens has dtype float64"),
        (np.full((1, 4), 3), {}, "tokens holds 3: symbols are 0 to 2"),
        (np.full((1, 4), -1), {}, "tokens holds -1"),
    ):
        with pytest.raises(ValueError, match=match):
            log_likelihood_bound(TINY, MaskedDiffusion(3), tokens_or_not, **options)


@pytest.mark.parametrize("model", [TINY, RHMForMaskedLM.from_grammar(TINY)], ids=["grammar", "oracle"])
@pytest.mark.parametrize("steps", [None, 3])
def test_what_the_exact_denoiser_excludes_has_no_finite_bound(model, steps):
    possible = {tuple(row) for row in sentences_of(TINY)[0].tolist()}
    wrong = next(row for row in np.ndindex(3, 3, 3, 3) if row not in possible)
    process = MaskedDiffusion(3)
    for seed in range(20):  # also where the noise hides what shows it
        generator = torch.Generator().manual_seed(seed)
        found = log_likelihood_bound(model, process, np.array([wrong]), steps, generator=generator)
        assert (found["bound"], found["num_infinite"]) == (math.inf, 1)
    fine = log_likelihood_bound(model, process, TINY.sample(3), steps)
    assert fine["num_infinite"] == 0


def test_where_the_schedule_leaves_tokens_the_exact_bound_is_above_the_entropy():
    """By what the prior does not know of the tokens that are left at t = 1: KL(q(x_1) || prior), by enumeration."""
    sentences, probs = sentences_of(TINY)
    floor = 0.6
    process = MaskedDiffusion(3, LogLinearSchedule(floor))
    expected = 0.0
    for shown in itertools.product([False, True], repeat=4):
        law = {}
        for sentence, p in zip(sentences.tolist(), probs.tolist(), strict=True):
            key = tuple(x for x, s in zip(sentence, shown, strict=True) if s)
            law[key] = law.get(key, 0.0) + p
        entropy = -sum(p * math.log(p) for p in law.values())
        expected += floor ** sum(shown) * (1 - floor) ** (4 - sum(shown)) * (sum(shown) * math.log(3) - entropy)
    tokens = TINY.sample(4000, sampling="iid")
    options = {"num_samples": 16, "generator": torch.Generator().manual_seed(0)}
    found = log_likelihood_bound(TINY, process, tokens, **options)
    error = 4.5 * 4 * found["bound_stderr"]
    assert found["bound_sentence"] == pytest.approx(TINY.entropy + expected, abs=error)
    assert 4 * error < expected < 4 * floor * math.log(3)


def test_floor_of_the_schedule_costs_what_it_should():
    tokens = sentences_of(TINY)[0][:4]
    uniforms = torch.full((4, 5), 0.25, dtype=torch.float64)
    plain, floored = (
        DenoisingLoss(MaskedDiffusion(3, schedule)).sentence_bounds(TINY, tokens, uniforms)
        for schedule in (LinearSchedule(), LogLinearSchedule(0.1))
    )
    torch.testing.assert_close(floored - plain, torch.full((4,), 4 * 0.1 * math.log(3), dtype=torch.float64))
