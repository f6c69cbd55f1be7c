"""Samplers reproduce the laws they should: chi-squared against the grammar's, and against enumerated chains."""

import functools
import itertools
import math
import sys

import numpy as np
import pytest
import torch
from exact_chain import Chain
from small_grammars import all_sentences
from transformers import BertConfig, BertForMaskedLM

from rhm_hf import Grammar, RHMForMaskedLM
from rhm_hf.diffusion import (
    ExactDenoiser,
    MaskedDiffusion,
    UniformDiffusion,
    denoise,
    judge_samples,
    one_step_kl,
    reveal_log_probs,
    revealing_law,
    sample_ancestral,
    sample_revealing,
)
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import log_prob


TINY = Grammar.from_name("v3-m2-s2-L2", rules_seed=2)
ORDERS = ["random", "confidence", "left_to_right"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def chi_squared(samples, laws, keys):
    """Pearson's statistic in standard deviations from its mean; cells of less than 5 expected are pooled."""
    keys = {tuple(row): k for k, row in enumerate(np.asarray(keys).tolist())}
    counts = np.zeros(len(laws))
    for row in samples.tolist():
        counts[keys[tuple(row)]] += 1
    expected = len(samples) * np.asarray(laws)
    rare = expected < 5
    assert counts[expected == 0].sum() == 0
    observed, expected = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    cells = len(expected) - 1
    return (((observed - expected) ** 2 / expected).sum() - cells) / math.sqrt(2 * cells)


@pytest.mark.parametrize("order", ORDERS)
def test_one_token_at_a_time_the_exact_denoiser_samples_the_grammar(small_grammar, order):
    process = MaskedDiffusion(small_grammar.vocab_size)
    d = small_grammar.sentence_length
    samples = sample_revealing(small_grammar, process, 3000, d, order=order, generator=generator(1), batch_size=3000)
    tokens, probs = enumerate_sentences(small_grammar)
    assert log_prob(small_grammar, samples).isfinite().all()  # all are grammatical
    assert abs(chi_squared(samples, probs, tokens)) < 4


@pytest.mark.parametrize(
    "process", [MaskedDiffusion(3), UniformDiffusion(3), MaskedDiffusion(3, "log_linear")], ids=str
)
@pytest.mark.parametrize("steps", [1, 4])
def test_ancestral_samples_have_the_law_of_the_enumerated_chain(process, steps):
    tokens, probs = enumerate_sentences(TINY)
    chain = Chain(process, tokens, probs)
    law = chain.generated(steps)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    samples = sample_ancestral(TINY, process, 4000, 4, steps, generator(2), batch_size=4000)
    assert samples.max() < 3
    assert abs(chi_squared(samples, law, chain.ids)) < 4


def test_many_ancestral_steps_reach_the_grammar():
    for process in (MaskedDiffusion(3), UniformDiffusion(3)):
        tokens, probs = enumerate_sentences(TINY)
        chain = Chain(process, tokens, probs)
        places = (tokens[:, None] == chain.states[None]).all(-1).argmax(1)
        losses = [1 - chain.generated(steps)[places].sum() for steps in (1, 4, 16)]
        assert losses[0] > 2 * losses[1] > 4 * losses[2] > 0


@pytest.mark.parametrize("order", ["confidence", "left_to_right"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_exact_law_of_k_tokens_at_a_time(order, k):
    """Over all strings it sums to 1, samples follow it, and on the sentences it is the exact grammatical fraction."""
    process, d = MaskedDiffusion(3), 4
    strings = torch.tensor(list(itertools.product(range(3), repeat=d)))
    law = reveal_log_probs(TINY, process, strings, k, order).exp()
    assert law.sum().item() == pytest.approx(1, abs=1e-12)
    samples = sample_revealing(TINY, process, 4000, d, k, order, generator(3))
    assert abs(chi_squared(samples, law, strings)) < 4
    tokens, probs = all_sentences(TINY)
    result = revealing_law(TINY, TINY, process, k, order)
    on_sentences = reveal_log_probs(TINY, process, tokens, k, order, batch_size=7).exp()
    assert result["fraction_grammatical"] == pytest.approx(on_sentences.sum().item(), rel=1e-12)
    assert result["kl"] == pytest.approx((probs * (probs.log() - on_sentences.log())).sum().item(), abs=1e-12)
    assert (result["kl_stderr"], result["fraction_grammatical_stderr"]) == (0, 0)
    if k == 1:
        assert result["fraction_grammatical"] == pytest.approx(1, abs=1e-12)
        assert abs(result["kl"]) < 1e-12
    else:
        judged = judge_samples(TINY, samples)
        assert judged["fraction_grammatical"] == pytest.approx(
            result["fraction_grammatical"], abs=4 * judged["fraction_grammatical_stderr"]
        )


def test_pairs_by_hand():
    """Children revealed together are independent given the rest: for one rule layer the fraction is known."""
    grammar = Grammar.from_rules([np.array([[[0, 0], [1, 1]]])])  # 00 or 11
    result = revealing_law(grammar, grammar, MaskedDiffusion(2), 2, "left_to_right")
    assert result["fraction_grammatical"] == pytest.approx(0.5)
    assert result["kl"] == pytest.approx(math.log(2))


def test_random_orders_and_given_ranks():
    process = MaskedDiffusion(3)
    tokens, _ = all_sentences(TINY)
    given = reveal_log_probs(TINY, process, tokens, 2, torch.tensor([0, 2, 1, 3]))
    own = reveal_log_probs(TINY, process, tokens, 2, torch.tensor([[0, 2, 1, 3]]).expand(len(tokens), 4))
    assert torch.equal(given, own)
    assert (given - reveal_log_probs(TINY, process, tokens, 2, "left_to_right")).abs().max() > 1e-3
    result = revealing_law(TINY, TINY, process, 2, "random")
    pairs = [list(p) for p in itertools.permutations(range(4))]
    exact = [reveal_log_probs(TINY, process, tokens, 2, torch.tensor(p)).exp().sum().item() for p in pairs]
    error = result["fraction_grammatical_stderr"]
    assert result["fraction_grammatical"] == pytest.approx(np.mean(exact), abs=4 * error)
    assert 0 < error < 0.1


def test_more_tokens_at_a_time_cost_more_and_fresh_sentences_tell_the_same():
    grammar, process = Grammar.from_name("v8-m2-s2-L3"), MaskedDiffusion(8)
    results = [revealing_law(grammar, grammar, process, k, "left_to_right") for k in (1, 2, 8)]
    fractions = [result["fraction_grammatical"] for result in results]
    assert fractions[0] == pytest.approx(1)
    assert fractions[0] > fractions[1] > fractions[2] > 0
    kls = [result["kl"] for result in results]
    assert abs(kls[0]) < 1e-12
    assert kls[2] > kls[1] > 0
    large = Grammar.from_name("v8-m2-s2-L4")  # too many to judge all
    sampled = revealing_law(large, large, process, 2, "left_to_right", num_sentences=200)
    samples = judge_samples(large, sample_revealing(large, process, 200, 16, 2, "left_to_right", generator(5)))
    difference = sampled["fraction_grammatical"] - samples["fraction_grammatical"]
    errors = math.hypot(sampled["fraction_grammatical_stderr"], samples["fraction_grammatical_stderr"])
    assert sampled["num_sentences"] == 200
    assert abs(difference) < 4 * errors < 0.5


def test_seeds_and_empty_samples():
    process = MaskedDiffusion(3)
    for sampler, options in ((sample_revealing, {}), (sample_ancestral, {"steps": 3})):
        draws = [sampler(TINY, process, 20, 4, generator=generator(seed), **options) for seed in (1, 1, 2)]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])
        assert sampler(TINY, process, 0, 4, **options).shape == (0, 4)
    oracle = RHMForMaskedLM.from_grammar(TINY)
    assert torch.equal(sample_revealing(oracle, process, 20, 4, generator=generator(1)), sample_revealing(
        TINY, process, 20, 4, generator=generator(1)))  # fmt: skip


@pytest.mark.parametrize(
    ("sampler", "options", "calls"),
    [(sample_revealing, {"tokens_per_step": 3}, 6), (sample_ancestral, {"steps": 3}, 9)],
)
def test_a_bar_counts_calls_and_changes_no_sample(sampler, options, calls, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    draw = functools.partial(sampler, TINY, MaskedDiffusion(3), 20, 4, batch_size=8, **options)
    plain = draw(generator=generator(1))
    assert capsys.readouterr().err == ""
    assert torch.equal(draw(generator=generator(1), progress=True), plain)
    assert f" 0/{calls} " in capsys.readouterr().err


@pytest.mark.parametrize("process", [MaskedDiffusion(3), UniformDiffusion(3)], ids=lambda p: p.name)
def test_one_step_kl_against_enumeration(process):
    tokens, probs = all_sentences(TINY)
    other = Grammar.from_name("v3-m2-s2-L2", rules_seed=5)

    class Blurred(ExactDenoiser):
        def __call__(self, noisy, t):
            return (0.7 * super().__call__(noisy, t).exp() + 0.1).log()

    wrong = Blurred(other, process)
    assert one_step_kl(TINY, TINY, process, tokens, 4, generator=generator())["step_kl"] == pytest.approx(0, abs=1e-12)
    assert one_step_kl(other, TINY, process, tokens, 4, generator=generator())["denoiser_kl"] == math.inf
    num, t = 400, 0.75
    result = one_step_kl(wrong, TINY, process, tokens.repeat(num, 1), 4, t, generator())
    chain = Chain(process, tokens.numpy(), probs.numpy())
    ids = torch.from_numpy(chain.ids)
    states = chain.joint(t).sum(0)
    p, q = (denoiser(ids, t) for denoiser in (ExactDenoiser(TINY, process), wrong))
    by_state = []
    for logs_p, logs_q in ((p, q), (process.log_reverse(ids, p, 0.5, t), process.log_reverse(ids, q, 0.5, t))):
        terms = torch.where(logs_p > -torch.inf, logs_p.exp() * (logs_p - logs_q), 0).sum(-1)
        if process.name == "masked":
            terms = terms * (ids == 5)
        by_state.append((terms.sum(1).numpy() * states).sum() / 4)
    for name, expected in zip(("denoiser_kl", "step_kl"), by_state, strict=True):
        assert result[name] == pytest.approx(expected, abs=4.5 * result[f"{name}_stderr"])
        assert 0 < result[f"{name}_stderr"] < 0.05 * expected
    assert (result["num_infinite"], result["num_sentences"]) == (0, num * len(tokens))


def test_one_step_kl_takes_the_times_of_the_steps():
    """Times 1/T .. 1 are hit equally often: the mean over them is the mean of the single ones."""
    process, tokens = UniformDiffusion(3), all_sentences(TINY)[0].repeat(100, 1)
    wrong = Grammar.from_name("v3-m2-s2-L2", rules_seed=5)
    whole = one_step_kl(wrong, TINY, process, tokens, 2, generator=generator())
    parts = [one_step_kl(wrong, TINY, process, tokens, 2, t, generator()) for t in (0.5, 1.0)]
    assert parts[1]["step_kl"] < parts[0]["step_kl"]
    mean = sum(part["step_kl"] for part in parts) / 2
    assert whole["step_kl"] == pytest.approx(mean, abs=5 * whole["step_kl_stderr"])


WRONG = next([row] for row in np.ndindex(3, 3, 3, 3) if row not in set(map(tuple, enumerate_sentences(TINY)[0])))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"t": math.nan}, "t=nan is out of range"),
        ({"t": -1}, "t=-1 is out of range"),
        ({"t": 0}, "t=0 must be above 0"),
        ({"t": 1.5}, "t=1.5 is out of range"),
        ({"steps": -4}, "steps=-4 is out of range"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"tokens": np.zeros((2, 4))}, "tokens has dtype float64"),
        ({"tokens": [[0, 1, 2]]}, r"tokens has shape \(1, 3\)"),
        ({"tokens": [[0, 1, 2, 3]]}, "tokens holds 3"),
        ({"tokens": WRONG}, r"tokens\[0\] = .* is no sentence of v3-m2-s2-L2"),
    ],
)
def test_one_step_kl_names_what_is_no_question(options, match):
    options = {"tokens": TINY.sample(4), **options}
    with pytest.raises(ValueError, match=match):
        one_step_kl(TINY, TINY, MaskedDiffusion(3), options.pop("tokens"), **options)


def test_samples_follow_ranks_and_an_order_is_never_ignored():
    process, ranks = MaskedDiffusion(3), torch.tensor([2, 0, 3, 1])
    wrong = Grammar.from_name("v3-m2-s2-L2", rules_seed=5)
    seen = []

    class Watched(ExactDenoiser):
        def __call__(self, noisy, t):
            seen.append(noisy != process.mask_token_id)
            return super().__call__(noisy, t)

    sample_revealing(Watched(wrong, process), process, 3, 4, order=ranks)
    shown = [state[0].tolist() for state in seen]
    assert shown == [[False] * 4, [False, True, False, False], [False, True, False, True], [True, True, False, True]]
    given = ranks.expand(7, -1).clone()
    given[3:] = torch.arange(4)
    found = sample_revealing(TINY, process, 7, 4, 2, given, torch.Generator().manual_seed(0), batch_size=3)
    assert found.shape == (7, 4)
    for order in (np.arange(4), None, 3, torch.full((4,), math.nan), torch.arange(3), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match="order"):
            sample_revealing(TINY, process, 7, 4, order=order)


def test_absurd_sizes_are_refused_with_the_estimate():
    with pytest.raises(ValueError, match=r"num=1000000000 sentences of length=4 are 30 GiB of tokens: sample at most"):
        sample_revealing(TINY, MaskedDiffusion(3), 10**9, 4)
    assert sample_ancestral(TINY, MaskedDiffusion(3), 3, 4, 2, batch_size=10**9).shape == (3, 4)


def test_samples_with_ids_that_are_no_symbols_are_wrong():
    samples = torch.from_numpy(TINY.sample(4).astype(np.int64))
    samples[1, 2] = 5  # MASK
    samples[2, 0] = -1
    assert judge_samples(TINY, samples)["fraction_grammatical"] == 0.5


def test_judging_samples():
    sentences = all_sentences(TINY)[0]
    mixed = torch.cat([sentences[:6], torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])])
    result = judge_samples(TINY, mixed)
    valid = log_prob(TINY, mixed).isfinite()
    assert result["fraction_grammatical"] == valid.double().mean()
    assert result["log_prob"] == pytest.approx(-TINY.entropy)
    nonsense = mixed[~valid]
    assert len(nonsense)
    assert judge_samples(TINY, nonsense)["log_prob"] is None


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="only masked diffusion reveals tokens"):
        sample_revealing(TINY, UniformDiffusion(3), 1, 4)
    with pytest.raises(ValueError, match=r"order='best' is unknown: it must be random, confidence, left_to_right"):
        sample_revealing(TINY, MaskedDiffusion(3), 1, 4, order="best")
    with pytest.raises(ValueError, match=r"order has shape \(3,\): give ranks as \(4,\) or \(2, 4\)"):
        reveal_log_probs(TINY, MaskedDiffusion(3), torch.zeros(2, 4, dtype=torch.int64), 1, torch.arange(3))
    with pytest.raises(ValueError, match="tokens_per_step=0"):
        sample_revealing(TINY, MaskedDiffusion(3), 1, 4, 0)
    with pytest.raises(ValueError, match="steps=0"):
        sample_ancestral(TINY, MaskedDiffusion(3), 1, 4, 0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("calls", [0, 2])
def test_what_is_no_law_is_never_drawn_as_symbol_0(broken, calls):
    """Not even where a model breaks after it was first looked at."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(vocab_size=11, max_position_embeddings=8, **sizes)).eval()
    count, process = [0], MaskedDiffusion(8)

    def breaks(module, args, output):
        count[0] += 1
        if count[0] > calls:
            output.logits[..., :8] = broken

    model.register_forward_hook(breaks)
    hidden = torch.full((4, 8), process.mask_token_id)
    for draw in (
        lambda: sample_ancestral(model, process, 16, 8, 8),
        lambda: sample_revealing(model, process, 16, 8),
        lambda: sample_revealing(model, process, 16, 8, order="confidence"),
        lambda: denoise(model, process, hidden, 1.0, 8),
    ):
        count[0] = 0
        with pytest.raises(ValueError, match="no law where a token is to be drawn"):
            draw()
