"""Noise processes against products of transition matrices, Bayes by enumeration, and the law of what they draw."""

import math

import numpy as np
import pytest
import torch

from rhm_hf import Grammar
from rhm_hf.diffusion import (
    SCHEDULES,
    EpsilonProcess,
    GaussianDiffusion,
    LogLinearSchedule,
    MaskedDiffusion,
    UniformDiffusion,
)
from rhm_hf.diffusion.processes import categorical
from rhm_hf.inference import posteriors


V = 4
PROCESSES = [kind(V, schedule) for kind in (MaskedDiffusion, UniformDiffusion) for schedule in SCHEDULES]
PAIRS = [(0.0, 0.3), (0.2, 0.7), (0.5, 0.55), (0.1, 1.0), (0.0, 1.0)]


@pytest.fixture(params=PROCESSES, ids=lambda p: f"{p.name}-{p.schedule.name}")
def process(request):
    return request.param


def grid():
    return torch.linspace(0, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_fall_from_one_and_invert(name):
    schedule, t = SCHEDULES[name](), grid().requires_grad_()
    alpha = schedule.alpha(t)
    (slope,) = torch.autograd.grad(alpha.sum(), t)
    torch.testing.assert_close(schedule.slope(t), slope, rtol=1e-12, atol=1e-12)
    assert alpha[0] == 1
    assert 0 <= alpha[-1] <= 1e-3 + 1e-15
    assert (alpha.diff() < 0).all()
    torch.testing.assert_close(schedule.time(alpha), t, rtol=0, atol=1e-7)  # flat at the end of the cosine
    inside = t[1:]
    torch.testing.assert_close(
        schedule.weight(inside), -schedule.slope(inside) / (1 - schedule.alpha(inside)), rtol=1e-12, atol=1e-12
    )


def test_log_linear_is_sedd_s_noise():
    """sigma(t) = -log(1 - (1 - eps) t), alpha = exp(-sigma)."""
    t, schedule = grid(), LogLinearSchedule(1e-2)
    sigma = -torch.log1p(-(1 - 1e-2) * t)
    torch.testing.assert_close(schedule.alpha(t), (-sigma).exp(), rtol=1e-13, atol=0)


def test_marginals_are_products_of_transition_matrices(process):
    steps = 7
    product = torch.eye(process.num_states, dtype=torch.float64)
    tokens = torch.arange(V)[:, None]
    for k in range(steps):
        matrix = process.transition(k / steps, (k + 1) / steps)
        assert matrix.sum(1).sub(1).abs().max() < 1e-14
        assert (matrix >= 0).all()
        product = product @ matrix
        found = process.marginal(tokens, (k + 1) / steps)[:, 0]
        torch.testing.assert_close(found, product[:V], rtol=0, atol=1e-13)


@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_posteriors_are_bayes_by_enumeration(process, s, t):
    to_s = process.marginal(torch.arange(V)[:, None], s)[:, 0]
    onward = process.transition(s, t)
    to_t = process.marginal(torch.arange(V)[:, None], t)[:, 0]
    for x0 in range(V):
        for state in range(process.num_states):
            if to_t[x0, state] == 0:
                continue
            expected = to_s[x0] * onward[:, state] / to_t[x0, state]
            noisy = process.ids_of(torch.tensor([[state]]))
            found = process.posterior(noisy, torch.tensor([[x0]]), s, t)[0, 0]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_reverse_laws_mix_posteriors_with_what_the_denoiser_believes(process):
    belief = torch.rand(1, 1, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    belief /= belief.sum()
    for s, t in PAIRS:
        for state in range(process.num_states):
            noisy, weights = process.ids_of(torch.tensor([[state]])), belief[0, 0].clone()
            if state < V and process.name == "masked":
                weights = torch.eye(V, dtype=torch.float64)[state]  # a visible token is known
            parts = [process.posterior(noisy, torch.tensor([[x0]]), s, t)[0, 0] * weights[x0] for x0 in range(V)]
            found = process.log_reverse(noisy, belief.log(), s, t).exp()[0, 0]
            torch.testing.assert_close(found, sum(parts), rtol=0, atol=1e-12)


def test_times_of_their_own_for_every_row(process):
    tokens, times = torch.tensor([[0, 1, 2], [3, 1, 0]]), torch.tensor([0.3, 0.8])
    uniforms = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    belief = torch.rand(2, 3, V, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    noisy = process.noise(tokens, times, uniforms)
    reverse = process.log_reverse(noisy, belief, times / 2, times)
    for i, t in enumerate((0.3, 0.8)):
        one, t = slice(i, i + 1), times[i].item()
        assert torch.equal(process.noise(tokens[one], t, uniforms[one]), noisy[one])
        torch.testing.assert_close(process.log_reverse(noisy[one], belief[one], t / 2, t), reverse[one])
        torch.testing.assert_close(process.evidence(noisy[one], t), process.evidence(noisy, times)[one])


def test_noise_has_the_marginal_law_and_grows_with_time(process):
    uniforms = (torch.arange(100_000, dtype=torch.float64)[:, None] + 0.5) / 100_000  # evenly spaced: no noise
    tokens = torch.full((100_000, 1), 2)
    hit = torch.zeros(100_000, dtype=torch.bool)
    for t in (0.2, 0.6, 1.0):
        noisy = process.noise(tokens, t, uniforms)
        counts = torch.bincount(process.states_of(noisy)[:, 0], minlength=process.num_states).double()
        torch.testing.assert_close(counts / 100_000, process.marginal(tokens[:1], t)[0, 0], rtol=0, atol=3e-5)
        if process.name == "masked":
            assert (noisy[hit] == process.mask_token_id).all()
            hit = noisy[:, 0] == process.mask_token_id
    assert torch.equal(process.noise(tokens, 0.0, uniforms), tokens)


def test_evidence_is_the_likelihood_of_what_was_seen(process):
    for state in range(process.num_states):
        noisy, t = process.ids_of(torch.tensor([[state]])), 0.4
        likelihood = process.marginal(torch.arange(V)[:, None], t)[:, 0, state]
        found = process.evidence(noisy, t)[0, 0]
        torch.testing.assert_close(found / found.sum(), likelihood / likelihood.sum(), rtol=0, atol=1e-14)


def test_priors(process):
    """Where alpha(1) > 0 the prior leaves that share of tokens visible, which costs log v each."""
    assert process.prior().sum().item() == pytest.approx(1)
    floor = process.schedule.alpha(torch.tensor(1.0, dtype=torch.float64)).item()
    if floor < 1e-12:
        assert process.prior_kl() == pytest.approx(0, abs=1e-12)
        assert torch.allclose(process.prior(), process.stationary())
    elif process.name == "masked":
        assert process.prior_kl() == pytest.approx(floor * math.log(V))
    else:
        q = np.full(V, (1 - floor) / V)
        q[0] += floor
        assert process.prior_kl() == pytest.approx((q * np.log(q * V)).sum())


def test_gaussian_noise_is_gaussian_and_its_evidence_is_bayes():
    process, t = GaussianDiffusion(V, "cosine"), 0.6
    tokens = torch.full((20_000, 1), 2)
    uniforms = torch.rand(20_000, 1, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = process.noise(tokens, t, uniforms)[:, 0]
    alpha = process.schedule.alpha(torch.tensor(t, dtype=torch.float64)).item()
    expected = math.sqrt(alpha) * np.eye(V)[2]
    assert np.abs(z.mean(0).numpy() - expected).max() < 0.03
    assert np.abs(np.cov(z.numpy().T) - (1 - alpha) * np.eye(V)).max() < 0.03
    some = z[:5, None]
    logs = -((some[:, 0, None] - math.sqrt(alpha) * torch.eye(V, dtype=torch.float64)) ** 2).sum(-1) / (
        2 * (1 - alpha)
    )
    found = process.evidence(some, t)[:, 0]
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), logs.softmax(-1), rtol=0, atol=1e-12)
    assert process.noise(tokens[:1], t, torch.zeros(1, 1, V)).isfinite().all()


def test_all_evidence_feeds_belief_propagation(small_grammar):
    v = small_grammar.vocab_size
    tokens = torch.from_numpy(small_grammar.sample(8, sampling="iid").astype(np.int64))
    for process in (MaskedDiffusion(v), UniformDiffusion(v), GaussianDiffusion(v)):
        numbers = process.uniforms(tokens, torch.Generator().manual_seed(0))
        evidence = process.evidence(process.noise(tokens, 0.5, numbers), 0.5)
        laws, logs = posteriors(small_grammar, evidence=evidence, return_log_evidence=True)
        assert logs.isfinite().all()
        assert (laws[0].gather(2, tokens[:, :, None]) > 0).all()
    certain, blank = (posteriors(small_grammar, evidence=EpsilonProcess(v).evidence(tokens, e))[0] for e in (0.0, 1.0))
    assert torch.equal(certain, torch.nn.functional.one_hot(tokens, v).double())
    torch.testing.assert_close(blank[0], blank[1])  # nothing known: the same law for all
    process = EpsilonProcess(v)
    assert process.noise(tokens, 0.4, process.uniforms(tokens)) is tokens
    belief = process.evidence(tokens, 0.4)
    assert belief.sum(-1).sub(1).abs().max() < 1e-14
    assert belief.gather(2, tokens[:, :, None]).sub(0.6 + 0.4 / v).abs().max() < 1e-14


def test_categorical_never_draws_the_impossible():
    log_probs = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]).log().expand(20_000, 5)
    drawn = categorical(log_probs, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    assert abs(counts[1].item() - 5000) < 5 * math.sqrt(20_000 * 0.25 * 0.75)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: MaskedDiffusion(1), "num_symbols=1"),
        (lambda: MaskedDiffusion(4, "quadratic"), "schedule='quadratic' is unknown: it must be linear, cosine"),
        (lambda: LogLinearSchedule(1.0), "floor=1.0"),
        (lambda: MaskedDiffusion(4).transition(0.5, 0.5), r"s=0.5 and t=0.5 must satisfy 0 <= s < t <= 1"),
    ],
)
def test_mistakes_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("t", [math.nan, -0.1, 1.1, math.inf, True, "0.5"])
@pytest.mark.parametrize("process", [MaskedDiffusion(3), UniformDiffusion(3), GaussianDiffusion(3)])
def test_times_lie_between_data_and_noise(process, t):
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="t="):
        process.noise(tokens, t, process.uniforms(tokens))


def test_a_process_prints_what_it_is():
    assert repr(UniformDiffusion(3)) == "UniformDiffusion(3, LinearSchedule())"
    assert Grammar.from_name("v4-m2-s2-L2").vocab_size == V


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 1.5])
def test_times_are_looked_at_in_tensors_too(bad):
    tokens = torch.tensor([[0, 1, 2, 3]] * 2)
    for process in (MaskedDiffusion(4), UniformDiffusion(4)):
        uniforms = process.uniforms(tokens, torch.Generator().manual_seed(0))
        for t in (bad, torch.tensor(bad), torch.tensor([0.5, bad])):
            with pytest.raises(ValueError, match=r"^t(=| holds )"):
                process.noise(tokens, t, uniforms)
            with pytest.raises(ValueError, match=r"^s(=| holds )"):
                process.log_reverse(tokens, torch.zeros(2, 4, 4), t, 0.5)
        process.noise(tokens, torch.tensor([0.0, 1.0]), uniforms)
    with pytest.raises(ValueError, match="0 <= s < t <= 1"):
        MaskedDiffusion(4).log_reverse(
            tokens, torch.zeros(2, 4, 4), torch.tensor([0.1, 0.6]), torch.tensor([0.5, 0.5])
        )
