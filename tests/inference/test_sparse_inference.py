"""Exact laws of sparse grammars against all sentences, the ordinary grammar of the same law, and one another."""

import math

import numpy as np
import pytest
import torch
from inference_enumeration import Enumeration, mixed_grammar
from sparse_definition import SMALL, small_sparse_grammar, sparse_derivations

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.laws import window_laws as windows_module
from rhm_hf.grammar.sparse.laws import slot_beliefs as sparse_beliefs_module
from rhm_hf.grammar.sparse.laws import slot_draws as sparse_draws_module
from rhm_hf.grammar.sparse.laws import slot_next_token as sparse_next_token_module
from rhm_hf.grammar.sparse.sparse_grammar import SparseGrammar
from rhm_hf.inference import (
    log_prob,
    next_token_probs,
    node_marginals,
    parse,
    plateau,
    position_entropies,
    posteriors,
    prefix_probs,
    sample_posterior,
)


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
LARGE = {
    "A": lambda: SparseGrammar(Grammar.from_name("v8-m4-s2-L3"), 1, "A"),
    "B": lambda: SparseGrammar(Grammar.from_name("v8-m4-s2-L3"), 1, "B"),
    "wide A": lambda: SparseGrammar(Grammar.from_name("v6-m5-s3-L2-c4"), 2, "A"),
    "mixed B": lambda: SparseGrammar(mixed_grammar(), 1, "B"),
}


@pytest.fixture(params=SMALL)
def sparse(request) -> SparseGrammar:
    return small_sparse_grammar(request.param)


def world_of(grammar) -> Enumeration:
    levels, probs = sparse_derivations(grammar)
    return Enumeration(levels, probs, [grammar.num_symbols_at(level) for level in range(grammar.depth + 1)])


def tokens_of(grammar, num, seed=0) -> np.ndarray:
    """Sentences, sentences with one token changed or two exchanged, and any tokens."""
    rng = np.random.default_rng(seed)
    d, v, rows = grammar.sentence_length, grammar.vocab_size, np.arange(num)
    sentences = grammar.sample(num, seed=seed, sampling="iid").astype(np.int64)
    changed, exchanged = sentences.copy(), sentences.copy()
    changed[rows, rng.integers(d, size=num)] = rng.integers(v, size=num)
    one, other = rng.integers(d, size=(2, num))
    exchanged[rows, one], exchanged[rows, other] = sentences[rows, other], sentences[rows, one]
    empty = np.full((1, d), v - 1)
    return np.concatenate([sentences, changed, exchanged, rng.integers(v, size=(4, d)), empty])


def evidence_of(grammar, num, seed=0) -> np.ndarray:
    """Random likelihoods: of sentences with noise, with zeros, one-hot rows and rows of ones among them."""
    rng = np.random.default_rng(seed)
    shape = (num, grammar.sentence_length, grammar.vocab_size)
    soft = rng.random(shape) * (rng.random(shape) < 0.9)
    onehot = np.eye(shape[2])[grammar.sample(num, seed=seed, sampling="iid")]
    kind = rng.integers(5, size=(num, shape[1], 1))
    soft = np.where(kind == 0, 1.0, np.where(kind == 1, onehot, np.maximum(soft, onehot * (kind > 2))))
    return soft * 10.0 ** rng.integers(-3, 4, size=(num, shape[1], 1))


# Next token.


def check_next_token(grammar, context, contexts, num, dtype=torch.float64):
    world, tokens = world_of(grammar), tokens_of(grammar, num)
    probs, valid = next_token_probs(grammar, tokens, dtype=dtype, return_valid=True, **context)
    assert probs.dtype == dtype
    expected = np.full(probs.shape, 1 / grammar.vocab_size)
    possible = np.zeros(valid.shape, dtype=bool)
    for b, row in enumerate(tokens):
        for i in range(grammar.sentence_length):
            law = world.law(world.agreeing(row, contexts(i)), node=i)
            if law is not None:
                expected[b, i], possible[b, i] = law, True
    np.testing.assert_array_equal(valid.numpy(), possible)
    np.testing.assert_allclose(probs.numpy(), expected, rtol=0, atol=TOLERANCE[dtype])
    return possible, (probs.numpy() == 0) == (expected == 0)


def test_next_token_laws_agree_with_enumeration(sparse):
    possible, zeros_agree = check_next_token(sparse, {}, range, 12)
    assert not possible.all()  # damaged prefixes were among them
    assert zeros_agree.all()  # zero means zero


def test_single_precision(sparse):
    check_next_token(sparse, {}, range, 4, torch.float32)


@pytest.mark.parametrize("name", ["uniform L2 B", "skewed A", "s3 L1 A", "zero A"])
def test_shorter_contexts_agree_with_enumeration(name):
    grammar = small_sparse_grammar(name)
    for level in range(grammar.depth + 1):
        block = grammar.block_length(level)
        _, zeros_agree = check_next_token(
            grammar, {"context_level": level}, lambda i, block=block: range(i // block * block, i), 4
        )
        assert zeros_agree.all()
    for n in (0, 1, 3, 100):
        check_next_token(grammar, {"context_length": n}, lambda i, n=n: range(max(0, i - n), i), 3)


@pytest.mark.parametrize("name", LARGE)
def test_larger_grammars_agree_with_the_ordinary_grammar_of_the_same_law(name):
    grammar = LARGE[name]()
    expanded, tokens = grammar.to_grammar(), tokens_of(grammar, 20)
    for context in ({}, {"context_level": 1}, {"context_length": 5}):
        rows = tokens[::8] if "context_length" in context else tokens
        probs, valid = next_token_probs(grammar, rows, return_valid=True, **context)
        expected, possible = next_token_probs(expanded, rows, return_valid=True, **context)
        torch.testing.assert_close(probs, expected, rtol=0, atol=1e-12)
        assert torch.equal(valid, possible)
        single = next_token_probs(grammar, rows, dtype=torch.float32, **context)
        torch.testing.assert_close(single.double(), probs, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_prob(grammar, tokens), log_prob(expanded, tokens), rtol=1e-13, atol=0)
    for ours, theirs in zip(parse(grammar, tokens), parse(expanded, tokens), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", LARGE)
def test_next_token_laws_are_posteriors_with_the_future_hidden(name):
    grammar = LARGE[name]()
    tokens = torch.as_tensor(grammar.sample(3, seed=1, sampling="iid").astype(np.int64))
    probs = next_token_probs(grammar, tokens)
    d = grammar.sentence_length
    for i in (0, 1, d // 3, d // 2, d - 2, d - 1):
        mask = torch.arange(d).expand(3, -1) >= i
        torch.testing.assert_close(posteriors(grammar, tokens, mask)[0][:, i], probs[:, i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["A", "B"])
def test_chain_rule(name):
    """The product of next-token laws, the parse and the number of sentences all say the same, also at 1024 tokens."""
    for grammar in (LARGE[name](), SparseGrammar(Grammar.from_name("v16-m4-s2-L5"), 1, name)):
        tokens = torch.as_tensor(grammar.sample(4).astype(np.int64))
        exact = -math.log(grammar.num_sentences)
        for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
            probs, valid = next_token_probs(grammar, tokens, dtype=dtype, return_valid=True)
            assert valid.all()
            chain = probs.gather(2, tokens[:, :, None]).double().log().sum((1, 2))
            assert chain.tolist() == pytest.approx([exact] * 4, rel=tolerance)
            assert probs.sum(2).sub(1).abs().max() < 10 * tolerance
        assert log_prob(grammar, tokens).tolist() == pytest.approx([exact] * 4, rel=1e-13)


def test_prefixes_give_the_same_laws_as_whole_sentences(monkeypatch):
    grammar = small_sparse_grammar("skewed A")
    tokens = tokens_of(grammar, 6)
    for context in ({}, {"context_level": 1}, {"context_length": 2}):
        probs, valid = next_token_probs(grammar, tokens, return_valid=True, **context)
        for t in range(grammar.sentence_length + 1):
            prefix, prefix_valid = prefix_probs(grammar, tokens[:, :t], **context)
            positions = min(t + 1, grammar.sentence_length)
            assert prefix.shape == (len(tokens), positions, grammar.vocab_size)
            torch.testing.assert_close(prefix, probs[:, :positions], rtol=0, atol=1e-14)
            assert torch.equal(prefix_valid, valid[:, :positions])
            short = next_token_probs(grammar, tokens[:, :t], **context)
            torch.testing.assert_close(short, probs[:, :t], rtol=0, atol=1e-14)
        monkeypatch.setattr(sparse_next_token_module, "CHUNK_BYTES", {"cpu": 1})
        monkeypatch.setattr(windows_module, "WINDOW_ROWS", 1)
        torch.testing.assert_close(next_token_probs(grammar, tokens, **context), probs, rtol=0, atol=1e-14)
        monkeypatch.undo()


# Parsing.


def test_parse_and_log_prob_agree_with_enumeration(sparse):
    world, tokens = world_of(sparse), tokens_of(sparse, 15)
    law = dict(zip(map(tuple, world.tokens.tolist()), world.probs.tolist(), strict=True))
    logs, levels = log_prob(sparse, tokens), parse(sparse, tokens)
    for row, log in zip(tokens.tolist(), logs.tolist(), strict=True):
        assert log == pytest.approx(math.log(law[tuple(row)]) if tuple(row) in law else -math.inf, rel=1e-12)
    assert logs.isneginf().any()
    grammatical = logs.isfinite().numpy()
    for ours, theirs in zip(levels, sparse.parse(tokens[grammatical]), strict=True):
        assert (ours[grammatical].numpy() == theirs).all()
    assert levels[-1][-1].item() == -1  # an empty sentence has no root
    everything = log_prob(sparse, world.tokens)
    assert everything.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_prob(sparse, tokens, dtype=torch.float32).dtype == torch.float32


# Posteriors.


def check_posteriors(grammar, likelihoods, result, dtype=torch.float64):
    world = world_of(grammar)
    laws, log_evidence = result
    for b, row in enumerate(likelihoods):
        with np.errstate(divide="ignore"):
            logs = np.log(world.probs) + np.log(row[np.arange(row.shape[0]), world.tokens]).sum(1)
        largest = logs.max() if np.isfinite(logs.max()) else 0.0
        weights = np.exp(logs - largest)
        expected = largest + np.log(weights.sum()) if weights.any() else -math.inf
        assert log_evidence[b].item() == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
        for level, law in enumerate(laws):
            expected = world.law(weights, level)
            assert law.dtype == dtype
            if expected is None:
                expected = np.full(law.shape[1:], 1 / law.shape[2])
            np.testing.assert_allclose(law[b].numpy(), expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_masked_posteriors_agree_with_enumeration(sparse, dtype):
    tokens = tokens_of(sparse, 8)
    rng = np.random.default_rng(1)
    mask = rng.random(tokens.shape) < np.linspace(0, 1, len(tokens))[rng.permutation(len(tokens)), None]
    likelihoods = np.where(mask[:, :, None], 1.0, np.eye(sparse.vocab_size)[tokens])
    tokens[mask] = -7
    result = posteriors(sparse, tokens, mask, dtype=dtype, return_log_evidence=True)
    assert result[1].isneginf().any()
    check_posteriors(sparse, likelihoods, result, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_posteriors_of_soft_evidence_agree_with_enumeration(sparse, dtype):
    evidence = evidence_of(sparse, 20)
    result = posteriors(sparse, evidence=evidence, dtype=dtype, return_log_evidence=True)
    assert result[1].isfinite().any()
    check_posteriors(sparse, evidence, result, dtype)


@pytest.mark.parametrize(("dtype", "orders"), [(torch.float64, 60), (torch.float32, 6)])
def test_likelihoods_of_very_different_sizes(sparse, dtype, orders):
    rng = np.random.default_rng(7)
    evidence = 10.0 ** rng.uniform(-orders, 0, size=(10, sparse.sentence_length, sparse.vocab_size))
    result = posteriors(sparse, evidence=evidence, dtype=dtype, return_log_evidence=True)
    check_posteriors(sparse, evidence, result, dtype)


@pytest.mark.parametrize("orders", [30, 45, 300])
def test_extreme_likelihoods_give_finite_laws(sparse, orders):
    rng = np.random.default_rng(8)
    evidence = 10.0 ** rng.uniform(-orders, 0, size=(60, sparse.sentence_length, sparse.vocab_size))
    for dtype in (torch.float32, torch.float64):
        laws, logs = posteriors(sparse, evidence=evidence, dtype=dtype, return_log_evidence=True)
        assert not logs.isnan().any()
        for law in laws:
            assert law.sum(2).sub(1).abs().max() < 10 * TOLERANCE[dtype]  # NaN would fail


@pytest.mark.parametrize("name", LARGE)
def test_larger_posteriors_agree_with_the_ordinary_grammar_of_the_same_law(name, monkeypatch):
    grammar = LARGE[name]()
    expanded, tokens = grammar.to_grammar(), tokens_of(grammar, 8)
    mask = np.random.default_rng(2).random(tokens.shape) < np.linspace(0, 1, len(tokens))[:, None]
    for given in ({"tokens": tokens, "mask": mask}, {"evidence": evidence_of(grammar, 10)}):
        laws, logs = posteriors(grammar, **given, return_log_evidence=True)
        expected, expected_logs = posteriors(expanded, **given, return_log_evidence=True)
        torch.testing.assert_close(logs, expected_logs, rtol=1e-12, atol=1e-12)
        for law, other in zip(laws, expected, strict=True):
            torch.testing.assert_close(law, other, rtol=0, atol=1e-12)
        with torch.inference_mode():
            single = posteriors(grammar, **given, dtype=torch.float32, return_log_evidence=True)[0]
        monkeypatch.setattr(sparse_beliefs_module, "CHUNK_BYTES", {"cpu": 1})
        cut = posteriors(grammar, **given, return_log_evidence=True)[0]
        monkeypatch.undo()
        for law, other, same in zip(laws, single, cut, strict=True):
            torch.testing.assert_close(other.double(), law, rtol=0, atol=2e-5)
            torch.testing.assert_close(same, law, rtol=0, atol=1e-13)
            assert not law.requires_grad


@pytest.mark.parametrize("name", ["uniform L2 B", "skewed A", "s3 L1 B", "zero A"])
def test_derivations_are_drawn_from_the_posterior(name, monkeypatch):
    grammar, num = small_sparse_grammar(name), 6000
    world, likelihoods = world_of(grammar), evidence_of(grammar, 40)
    logs = posteriors(grammar, evidence=likelihoods, return_log_evidence=True)[1]
    monkeypatch.setattr(sparse_draws_module, "PLACEMENT_ENTRIES", 2**14)
    for evidence in likelihoods[logs.isfinite().numpy()][:3]:
        weights = world.probs * evidence[np.arange(grammar.sentence_length), world.tokens].prod(1)
        levels = sample_posterior(
            grammar, evidence=np.stack([evidence] * num), generator=torch.Generator().manual_seed(0)
        )
        for ours, theirs in zip(levels, grammar.parse(levels[0].numpy()), strict=True):
            assert (ours.numpy() == theirs).all()
        rows = {tuple(row): k for k, row in enumerate(world.tokens.tolist())}
        counts = np.bincount([rows[tuple(row)] for row in levels[0].tolist()], minlength=len(rows))
        expected = num * weights / weights.sum()
        assert (counts[expected == 0] == 0).all()
        common = expected > 5
        z = (counts - expected)[common] / np.sqrt(expected[common])
        assert (z**2).sum() < common.sum() + 5 * math.sqrt(2 * common.sum())
        assert counts[~common].sum() == pytest.approx(expected[~common].sum(), abs=5 * math.sqrt(num) / 2)


def test_drawn_derivations_keep_what_is_visible():
    grammar = LARGE["A"]()
    tokens = torch.as_tensor(grammar.sample(30, sampling="iid").astype(np.int64))
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    levels = sample_posterior(grammar, tokens, mask)
    assert (levels[0] == tokens)[~mask].all()
    assert (levels[0] != tokens).any()
    assert torch.equal(sample_posterior(grammar, tokens)[0], tokens)
    with pytest.raises(ValueError, match="the evidence of row 1 is impossible"):
        sample_posterior(grammar, torch.stack([tokens[0], torch.zeros_like(tokens[0])]))


def test_impossible_evidence_is_refused_unless_asked_for():
    grammar = small_sparse_grammar("s3 L1 A")
    with pytest.raises(ValueError, match="the evidence of row 1 is impossible"):
        posteriors(grammar, np.stack([grammar.sample(1, sampling="iid")[0], np.full(6, 2)]))
    assert [law.shape for law in posteriors(grammar, np.zeros((0, 6), int))] == [(0, 6, 3), (0, 1, 2)]


# Entropies.


def test_marginals_and_plateaus_agree_with_enumeration(sparse):
    world = world_of(sparse)
    for level in range(sparse.depth + 1):
        laws = node_marginals(sparse, level)
        np.testing.assert_allclose(laws.numpy(), world.law(world.probs, level), rtol=0, atol=1e-12)
    tokens = torch.as_tensor(world.tokens)
    for level in range(sparse.depth + 1):
        probs = next_token_probs(sparse, tokens, context_level=level)
        losses = -probs.gather(2, tokens[:, :, None]).log().mean((1, 2))
        assert plateau(sparse, level) == pytest.approx((losses.numpy() @ world.probs).item(), abs=1e-12)
        entropies = torch.special.entr(probs).sum(2)
        torch.testing.assert_close(position_entropies(sparse, level), torch.as_tensor(world.probs) @ entropies)
    assert plateau(sparse, sparse.depth) * sparse.sentence_length == pytest.approx(sparse.entropy, rel=1e-13)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")
@pytest.mark.parametrize("name", LARGE)
def test_cuda_agrees_with_the_cpu(name):
    grammar = LARGE[name]()
    tokens = torch.as_tensor(tokens_of(grammar, 20))
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    for dtype in (torch.float64, torch.float32):
        there, here = (next_token_probs(grammar, t, dtype=dtype, return_valid=True) for t in (tokens.cuda(), tokens))
        assert there[0].is_cuda
        torch.testing.assert_close(there[0].cpu(), here[0], rtol=0, atol=TOLERANCE[dtype])
        assert torch.equal(there[1].cpu(), here[1])
        there, here = (
            posteriors(grammar, t, m, dtype=dtype, return_log_evidence=True)[0]
            for t, m in ((tokens.cuda(), mask.cuda()), (tokens, mask))
        )
        for law, other in zip(there, here, strict=True):
            torch.testing.assert_close(law.cpu(), other, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(log_prob(grammar, tokens.cuda()).cpu(), log_prob(grammar, tokens))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: next_token_probs(g, np.zeros((1, 7), int)), r"tokens has shape \(1, 7\)"),
        (lambda g: next_token_probs(g, np.full((1, 6), 3)), "tokens holds 3, out of range: vocab_size=3"),
        (lambda g: next_token_probs(g, np.zeros((1, 6), int), context_level=2), "context_level=2"),
        (lambda g: next_token_probs(g, np.zeros((1, 6), int), context_length=-1), "context_length=-1"),
        (lambda g: prefix_probs(g, [[0]], context_level=0, context_length=0), "two different truncations"),
        (lambda g: posteriors(g), "give either tokens"),
        (lambda g: posteriors(g, evidence=np.ones((1, 6, 2))), "evidence has shape"),
        (lambda g: log_prob(g, np.zeros((1, 5), int)), r"tokens has shape \(1, 5\)"),
        (lambda g: log_prob(g, np.zeros((1, 6), int), dtype=torch.float16), "dtype"),
        (lambda g: node_marginals(g, 2), "level=2"),
        (lambda g: plateau(g, -1), "level=-1"),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(small_sparse_grammar("s3 L1 A"))
