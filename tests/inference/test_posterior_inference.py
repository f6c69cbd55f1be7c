"""Posteriors at every level, and samples from them, against enumeration."""

import math

import numpy as np
import pytest
import torch
from inference_enumeration import MORE, enumerate_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.layered.laws import beliefs, messages
from rhm_hf.inference import log_prob, node_marginals, posteriors, sample_posterior


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def check(grammar, likelihoods, result, dtype=torch.float64):
    """Compares laws of every level and the log evidence with sums over all sentences."""
    world = enumerate_grammar(grammar)
    laws, log_evidence = result
    assert [tuple(law.shape[1:]) for law in laws] == [
        (grammar.num_nodes_at(level), grammar.num_symbols_at(level)) for level in range(grammar.depth + 1)
    ]
    for b, row in enumerate(likelihoods):
        with np.errstate(divide="ignore"):
            logs = np.log(world.probs) + np.log(row[np.arange(row.shape[0]), world.tokens]).sum(1)
        largest = logs.max() if np.isfinite(logs.max()) else 0.0  # products of small likelihoods underflow
        weights = np.exp(logs - largest)
        expected = largest + np.log(weights.sum()) if weights.any() else -math.inf
        assert log_evidence[b].item() == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
        for level, law in enumerate(laws):
            expected = world.law(weights, level)
            assert law.dtype == dtype
            if expected is None:
                expected = np.full(law.shape[1:], 1 / law.shape[2])
            np.testing.assert_allclose(law[b].numpy(), expected, rtol=0, atol=TOLERANCE[dtype])


def masked_sentences(grammar, num, seed=0):
    """Sentences and damaged sentences, each under a mask of its own rate, garbage where hidden; their likelihoods."""
    rng = np.random.default_rng(seed)
    v, d = grammar.vocab_size, grammar.sentence_length
    tokens = enumerate_grammar(grammar).tokens
    tokens = tokens[rng.integers(len(tokens), size=num)]
    tokens[::3, rng.integers(d)] = rng.integers(v, size=len(tokens[::3]))
    mask = rng.random(tokens.shape) < np.linspace(0, 1, num)[:, None]
    likelihoods = np.where(mask[:, :, None], 1.0, np.eye(v)[tokens])
    tokens[mask] = rng.integers(-5, v + 5, size=mask.sum())
    return tokens, mask, likelihoods


def soft_evidence(grammar, num, seed=0):
    """Random likelihoods with zeros, one-hot rows, rows of ones and rows of very different sizes."""
    rng = np.random.default_rng(seed)
    d, v = grammar.sentence_length, grammar.vocab_size
    soft = rng.random((num, d, v)) * (rng.random((num, d, v)) < 0.8)
    tokens = enumerate_grammar(grammar).tokens
    onehot = np.eye(v)[tokens[rng.integers(len(tokens), size=num)]]
    kind = rng.integers(4, size=(num, d, 1))
    soft = np.where(kind == 0, onehot, np.where(kind == 1, 1.0, soft))
    return soft * 10.0 ** rng.integers(-3, 4, size=(num, d, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_masked_posteriors_of_small_grammars(small_grammar, dtype):
    tokens, mask, likelihoods = masked_sentences(small_grammar, 60)
    result = posteriors(small_grammar, tokens, mask, dtype=dtype, return_log_evidence=True)
    assert result[1].isfinite().any()
    assert result[1].isneginf().any()
    check(small_grammar, likelihoods, result, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_soft_evidence_on_small_grammars(small_grammar, dtype):
    evidence = soft_evidence(small_grammar, 60)
    result = posteriors(small_grammar, evidence=evidence, dtype=dtype, return_log_evidence=True)
    assert result[1].isfinite().any()
    check(small_grammar, evidence, result, dtype)


@pytest.mark.parametrize("name", MORE)
def test_deeper_and_wider_grammars(name):
    grammar = MORE[name]()
    tokens, mask, likelihoods = masked_sentences(grammar, 40)
    check(grammar, likelihoods, posteriors(grammar, tokens, mask, return_log_evidence=True))
    evidence = soft_evidence(grammar, 40)
    check(grammar, evidence, posteriors(grammar, evidence=evidence, return_log_evidence=True))


@pytest.mark.parametrize(("dtype", "orders"), [(torch.float64, 60), (torch.float32, 6)])
def test_likelihoods_of_very_different_sizes(small_grammar, dtype, orders):
    """Nearly certain evidence that contradicts the grammar: the least unlikely sentences win."""
    rng = np.random.default_rng(7)
    shape = (60, small_grammar.sentence_length, small_grammar.vocab_size)
    evidence = 10.0 ** rng.uniform(-orders, 0, size=shape)
    check(
        small_grammar,
        evidence,
        posteriors(small_grammar, evidence=evidence, dtype=dtype, return_log_evidence=True),
        dtype,
    )


@pytest.mark.parametrize("orders", [30, 45, 300])
def test_extreme_likelihoods_give_finite_laws(small_grammar, orders):
    rng = np.random.default_rng(8)
    shape = (300, small_grammar.sentence_length, small_grammar.vocab_size)
    evidence = 10.0 ** rng.uniform(-orders, 0, size=shape)
    for dtype in (torch.float32, torch.float64):
        laws, logs = posteriors(small_grammar, evidence=evidence, dtype=dtype, return_log_evidence=True)
        assert not logs.isnan().any()
        for law in laws:
            assert law.sum(2).sub(1).abs().max() < 10 * TOLERANCE[dtype]  # NaN would fail


def test_masks_are_evidence_of_ones(small_grammar):
    tokens, mask, likelihoods = masked_sentences(small_grammar, 30)
    laws, logs = posteriors(small_grammar, tokens, mask, return_log_evidence=True)
    same, same_logs = posteriors(small_grammar, evidence=likelihoods, return_log_evidence=True)
    torch.testing.assert_close(logs, same_logs, rtol=1e-13, atol=1e-13)
    for law, other in zip(laws, same, strict=True):
        torch.testing.assert_close(law, other, rtol=0, atol=1e-14)


def test_no_mask_is_certainty_and_all_masked_is_the_prior(small_grammar):
    world = enumerate_grammar(small_grammar)
    laws, logs = posteriors(small_grammar, world.tokens, return_log_evidence=True)
    np.testing.assert_allclose(logs.numpy(), np.log(world.probs), rtol=1e-13)
    torch.testing.assert_close(logs, log_prob(small_grammar, world.tokens))
    for level, law in enumerate(laws):
        assert np.array_equal(law.numpy(), np.eye(law.shape[2])[world.levels[level]])
    hidden = np.ones_like(world.tokens[:2], dtype=bool)
    laws, logs = posteriors(small_grammar, world.tokens[:2], hidden, return_log_evidence=True)
    assert logs.abs().max() < 1e-12
    for level, law in enumerate(laws):
        torch.testing.assert_close(law[1], node_marginals(small_grammar, level), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("name", "num"), [("v32-m8-s2-L10", 3), ("v64-m8-s4-L4", 6)])
def test_long_sentences_neither_underflow_nor_lose_precision(name, num):
    grammar = Grammar.from_name(name)
    tokens = torch.as_tensor(grammar.sample(num).astype(np.int64))
    generator = torch.Generator().manual_seed(0)
    for rate in (0.0, 0.15, 0.9, 1.0):
        mask = torch.rand(tokens.shape, generator=generator) < rate
        laws, logs = posteriors(grammar, tokens, mask, return_log_evidence=True)
        rough, rough_logs = posteriors(grammar, tokens, mask, dtype=torch.float32, return_log_evidence=True)
        torch.testing.assert_close(logs, rough_logs, rtol=1e-6, atol=1e-3)
        assert logs.isfinite().all()
        for law, other in zip(laws, rough, strict=True):
            torch.testing.assert_close(law, other.double(), rtol=0, atol=2e-5)
            assert law.sum(2).sub(1).abs().max() < 1e-12
        if rate == 0:
            assert logs.tolist() == pytest.approx([-math.log(grammar.num_sentences)] * num, rel=1e-13)
    # Noise on every token: nothing is parsed. Its evidence is the sum of three parts, known one by one.
    noisy = torch.nn.functional.one_hot(tokens, grammar.vocab_size) * 0.9 + 0.1 / grammar.vocab_size
    for dtype in (torch.float64, torch.float32):
        laws, logs = posteriors(grammar, evidence=noisy * 1e-30, dtype=dtype, return_log_evidence=True)
        assert logs.isfinite().all()
        assert laws[0].gather(2, tokens[:, :, None]).mean() > 0.98
        tiny = logs + 30 * math.log(10) * grammar.sentence_length
        same = posteriors(grammar, evidence=noisy, return_log_evidence=True)[1]
        torch.testing.assert_close(tiny, same, rtol=1e-6, atol=1e-3)


def test_the_chain_rule_of_posteriors():
    """log P(evidence) telescopes over unmasking one token at a time, by the leaves' posteriors alone."""
    grammar = Grammar.from_name("v16-m4-s2-L4")
    tokens = torch.as_tensor(grammar.sample(5).astype(np.int64))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    total = torch.zeros(5, dtype=torch.float64)
    for i in torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist():
        law = posteriors(grammar, tokens, mask)[0][:, i]
        total += law.gather(1, tokens[:, i, None]).log().squeeze(1)
        mask[:, i] = False
    torch.testing.assert_close(total, log_prob(grammar, tokens), rtol=1e-13, atol=0)


def test_batches_and_chunks_agree(monkeypatch):
    grammar = Grammar.from_name("v16-m4-s2-L4")
    tokens = torch.as_tensor(grammar.sample(30).astype(np.int64))
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    laws, logs = posteriors(grammar, tokens, mask, return_log_evidence=True)
    single = [
        posteriors(grammar, t[None], m[None], return_log_evidence=True) for t, m in zip(tokens, mask, strict=True)
    ]
    monkeypatch.setattr(messages, "CHUNK_BYTES", {"cpu": 1, "cuda": 1})
    monkeypatch.setattr(beliefs, "CHUNK_TOKENS", {"cpu": 100, "cuda": 100})
    chunked, chunked_logs = posteriors(grammar, tokens, mask, return_log_evidence=True)
    for level in range(5):
        torch.testing.assert_close(torch.cat([s[0][level] for s in single]), laws[level], rtol=0, atol=1e-14)
        torch.testing.assert_close(chunked[level], laws[level], rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.cat([s[1] for s in single]), logs, rtol=1e-14, atol=0)
    torch.testing.assert_close(chunked_logs, logs, rtol=1e-14, atol=0)


def test_float32_falls_back_where_products_vanish():
    """Likelihoods whose products are no float32, beside impossible evidence."""
    grammar = Grammar.from_rules([np.array([[[0, 0]], [[1, 1]]])])
    rows = [[[1, 1e-30], [1e-30, 1]], [[1, 1e-30], [0, 1]], [[1, 0], [0, 1]], [[1e-25, 1], [1, 1e-30]]]
    evidence = np.array(rows, dtype=np.float64)
    for dtype in (torch.float64, torch.float32):
        laws, logs = posteriors(grammar, evidence=evidence, dtype=dtype, return_log_evidence=True)
        assert logs[2] == -math.inf
        assert logs[:2].tolist() == pytest.approx([math.log(1e-30), math.log(0.5e-30)])
        np.testing.assert_allclose(
            laws[1][:, 0].numpy(), [[0.5, 0.5], [0, 1], [0.5, 0.5], [1 - 1e-5, 1e-5]], atol=1e-7
        )


def test_samples_follow_the_posterior(small_grammar):
    """Chi-squared of whole derivations against the enumerated posterior, masks and soft evidence."""
    world = enumerate_grammar(small_grammar)
    num = 20_000
    rng = np.random.default_rng(3)
    tokens = world.tokens[len(world.tokens) // 2]
    mask = np.arange(len(tokens)) % 3 != 1
    soft = rng.random((len(tokens), small_grammar.vocab_size)) ** 3
    hard = np.where(mask[:, None], 1.0, np.eye(small_grammar.vocab_size)[tokens])
    for likelihood in (hard, soft):
        weights = world.probs * np.prod(likelihood[np.arange(len(tokens)), world.tokens], axis=1)
        evidence = np.broadcast_to(likelihood, (num, *likelihood.shape))
        levels = sample_posterior(small_grammar, evidence=evidence, generator=torch.Generator().manual_seed(5))
        rows, place, counts = np.unique(levels[0].numpy(), axis=0, return_inverse=True, return_counts=True)
        known = {tuple(row): k for k, row in enumerate(world.tokens.tolist())}
        found = np.array([known[tuple(row)] for row in rows.tolist()])  # KeyError: ungrammatical
        for level, symbols in enumerate(levels):
            assert np.array_equal(symbols.numpy(), world.levels[level][found][place.ravel()])
        assert (weights[found] > 0).all()
        expected = num * weights / weights.sum()
        observed = np.zeros(len(expected))
        observed[found] = counts
        likely = expected > 5
        statistic = ((observed - expected)[likely] ** 2 / expected[likely]).sum()
        freedom = max(1, likely.sum() - 1)
        assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 5
        assert observed[~likely].sum() <= expected[~likely].sum() + 6 * math.sqrt(expected[~likely].sum()) + 1


def test_samples_keep_what_is_observed_and_repeat_with_the_seed():
    grammar = Grammar.from_name("v32-m8-s2-L6")
    tokens = torch.as_tensor(grammar.sample(50).astype(np.int64))
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    draws = [
        sample_posterior(grammar, tokens, mask, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][0], draws[2][0])
    for levels in draws:
        assert torch.equal(levels[0][~mask], tokens[~mask])
        assert log_prob(grammar, levels[0]).isfinite().all()
        for found, parsed in zip(levels, grammar.parse(levels[0].numpy()), strict=True):
            assert np.array_equal(found.numpy(), parsed)
    whole = sample_posterior(grammar, tokens)
    assert torch.equal(whole[0], tokens)


def test_empty_batches(small_grammar):
    d = small_grammar.sentence_length
    laws, logs = posteriors(
        small_grammar, np.empty((0, d), dtype=int), np.empty((0, d), dtype=bool), return_log_evidence=True
    )
    assert logs.shape == (0,)
    assert [law.shape[0] for law in laws] == [0] * (small_grammar.depth + 1)
    assert sample_posterior(small_grammar, evidence=np.empty((0, d, small_grammar.vocab_size)))[0].shape == (0, d)


def test_impossible_evidence_names_its_row():
    grammar = Grammar.from_rules([np.array([[[0, 0]], [[1, 1]]])])
    tokens = [[0, 0], [0, 1], [1, 0]]
    for function in (posteriors, sample_posterior):
        with pytest.raises(ValueError, match=r"row 1 is impossible \(2 of 3 rows are\)"):
            function(grammar, tokens)
        with pytest.raises(ValueError, match="row 0 is impossible"):
            function(grammar, evidence=np.zeros((1, 2, 2)))
        with pytest.raises(ValueError, match="row 0 is impossible"):
            function(grammar, evidence=[[[1.0, 0.0], [0.0, 0.5]]])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "give either tokens"),
        ({"tokens": [[0, 1, 2, 3]], "evidence": np.ones((1, 4, 4))}, "give either tokens"),
        ({"evidence": np.ones((1, 4, 4)), "mask": [[True] * 4]}, "mask goes with tokens"),
        ({"mask": [[True] * 4]}, "give either tokens"),
        ({"tokens": [[0, 1, 2, 3]], "mask": [[1, 0, 0, 0]]}, "it must be bool"),
        ({"tokens": [[0, 1, 2, 3]], "mask": [[True] * 3]}, r"mask has shape \(1, 3\)"),
        ({"tokens": [[0, 1, 2, 4]], "mask": [[True, False, False, False]]}, "tokens holds 4, out of range"),
        ({"tokens": [[0, 1, 2]]}, r"tokens has shape \(1, 3\): it must be \(sentences, 4\)"),
        ({"evidence": np.ones((1, 4, 5))}, r"evidence has shape \(1, 4, 5\): it must be \(sentences, 4, 4\)"),
        ({"evidence": np.ones((4, 4))}, "evidence has shape"),
        ({"evidence": -np.ones((1, 4, 4))}, "evidence holds -1.0"),
        ({"evidence": np.full((1, 4, 4), np.nan)}, "evidence holds nan"),
        ({"evidence": np.full((1, 4, 4), np.inf)}, "evidence holds inf"),
        ({"evidence": [[["a"]]]}, "pass numbers"),
        ({"evidence": torch.ones(1, 4, 4, dtype=torch.complex64)}, "must be real"),
    ],
)
def test_bad_evidence(kwargs, message):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    for function in (posteriors, sample_posterior):
        with pytest.raises(ValueError, match=message):
            function(grammar, **kwargs)
    with pytest.raises(ValueError, match=r"dtype=torch\.bfloat16"):
        posteriors(grammar, [[0, 1, 2, 3]], dtype=torch.bfloat16)
