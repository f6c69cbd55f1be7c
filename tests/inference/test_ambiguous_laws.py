"""Fixed trees with ambiguous rules: laws against all derivations, broadcast processes against closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from exact_law import chi_squared_z

from rhm_hf.grammar import Grammar, NotSupported
from rhm_hf.grammar.ambiguous import ambiguous_grammar
from rhm_hf.grammar.ambiguous.ambiguous_grammar import AmbiguousGrammar
from rhm_hf.grammar.ambiguous.expansions import Factors, RuleList
from rhm_hf.grammar.ambiguous.laws import ambiguous_laws
from rhm_hf.grammar.registry import from_parameters, parameters_from_name
from rhm_hf.inference import (
    causal_posteriors,
    log_prob,
    most_probable_parse,
    next_token_probs,
    node_marginals,
    plateau,
    position_entropies,
    posteriors,
    prefix_probs,
    sample_posterior,
)


def named(name, seed=0):
    return from_parameters(parameters_from_name(name, seed))


def uneven(seed):
    """Three levels: rules that share tuples, independent children, rules again; nothing uniform, all sizes differ."""
    rng = np.random.default_rng(seed)
    high = RuleList(np.array([[[0, 1], [1, 1]], [[0, 1], [2, 0]]]), rng.dirichlet(np.ones(2), 2))
    middle = Factors(rng.dirichlet(np.ones(2), (2, 3)))
    first = rng.integers(0, 3, (2, 1, 2))
    second = (first + np.array([0, 1])) % 3
    low = RuleList(np.concatenate([first, second], 1), np.array([[0.4, 0.6], [1.0, 0.0]]))
    return AmbiguousGrammar([high, middle, low], rng.dirichlet(np.ones(2)), vocab_size=3)


SMALL = {
    "ising-rho0.8-s2-L2": lambda: named("ising-rho0.8-s2-L2"),
    "ising-rho-0.5-s3-L1": lambda: named("ising-rho-0.5-s3-L1"),
    "colouring-q3-s2-L2": lambda: named("colouring-q3-s2-L2"),
    "ambiguous-v3-m4-s2-L2": lambda: named("ambiguous-v3-m4-s2-L2", 1),
    "uneven": lambda: uneven(0),
}


def all_derivations(grammar):
    """`levels[l]` `(derivations, nodes)` and probabilities, straight from the definition."""

    def options(level, symbol):
        expansion = grammar.level(level)
        if isinstance(expansion, RuleList):
            pairs = zip(expansion.rules[symbol].tolist(), expansion.probs[symbol], strict=True)
            return [(tuple(rule), p) for rule, p in pairs if p > 0]
        laws = [matrix[symbol] for matrix in expansion.matrices]
        chosen = itertools.product(*(range(len(law)) for law in laws))
        weighed = [(c, math.prod(law[x] for law, x in zip(laws, c, strict=True))) for c in chosen]
        return [(c, p) for c, p in weighed if p > 0]

    rows = [([(a,)], p) for a, p in enumerate(grammar.root_probs) if p > 0]
    for level in range(grammar.depth, 0, -1):
        longer = []
        for levels, p in rows:
            for chosen in itertools.product(*(options(level, symbol) for symbol in levels[-1])):
                children = sum((children for children, _ in chosen), ())
                longer.append(([*levels, children], p * math.prod(q for _, q in chosen)))
        rows = longer
    levels = [np.array([levels[grammar.depth - level] for levels, _ in rows]) for level in range(grammar.depth + 1)]
    return levels, np.array([p for _, p in rows])


@pytest.fixture(params=SMALL, scope="module")
def small(request):
    grammar = SMALL[request.param]()
    return grammar, *all_derivations(grammar)


def law_of(grammar, levels, weights, level, node):
    total = weights.sum()
    return np.bincount(levels[level][:, node], weights, grammar.num_symbols_at(level)) / total


def test_sentences_and_counts(small):
    grammar, levels, p = small
    sentences, inverse = np.unique(levels[0], axis=0, return_inverse=True)
    probs = np.bincount(inverse.ravel(), p)
    assert abs(p.sum() - 1) < 1e-12
    assert grammar.num_derivations == len(p)
    assert grammar.num_sentences == len(sentences)
    listed, listed_probs = grammar.list_sentences()
    assert np.array_equal(listed, sentences)
    np.testing.assert_allclose(listed_probs, probs, atol=1e-13)
    np.testing.assert_allclose(log_prob(grammar, sentences), np.log(probs), atol=1e-12)
    assert abs(grammar.entropy + (probs * np.log(probs)).sum()) < 1e-12
    assert abs(grammar.derivation_entropy + (p * np.log(p)).sum()) < 1e-12
    for level in range(grammar.depth + 1):
        expected = [law_of(grammar, levels, p, level, node) for node in range(grammar.num_nodes_at(level))]
        np.testing.assert_allclose(node_marginals(grammar, level), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_next_token_laws_and_beliefs_given_all_prefixes(small, dtype):
    grammar, levels, p = small
    d, v = grammar.sentence_length, grammar.vocab_size
    rng = np.random.default_rng(0)
    tokens = np.concatenate([levels[0][rng.integers(0, len(p), 15)], rng.integers(0, v, (15, d))])
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    laws, valid = next_token_probs(grammar, tokens, return_valid=True, dtype=dtype)
    beliefs = causal_posteriors(grammar, tokens, dtype=dtype)
    for row, sentence in enumerate(tokens):
        for t in range(d):
            weights = p * (levels[0][:, :t] == sentence[:t]).all(1)
            assert bool(valid[row, t]) == (weights.sum() > 0)
            expected = np.full(v, 1 / v) if weights.sum() == 0 else law_of(grammar, levels, weights, 0, t)
            np.testing.assert_allclose(laws[row, t], expected, atol=tolerance)
            weights = p * (levels[0][:, : t + 1] == sentence[: t + 1]).all(1)
            for level in range(1, grammar.depth + 1):
                node, expected = t // grammar.block_length(level), np.zeros(grammar.num_symbols_at(level))
                if weights.sum() > 0:
                    expected = law_of(grammar, levels, weights, level, node)
                np.testing.assert_allclose(beliefs[level - 1][row, t], expected, atol=tolerance)


def test_posteriors_of_all_nodes(small):
    grammar, levels, p = small
    rng = np.random.default_rng(1)
    tokens = levels[0][rng.integers(0, len(p), 12)]
    mask = rng.random(tokens.shape) < 0.5
    hard, logs = posteriors(grammar, tokens, mask, return_log_evidence=True)
    evidence = rng.random((12, *tokens.shape[1:], grammar.vocab_size))
    evidence[0, 0, 1:] = 0
    soft, soft_logs = posteriors(grammar, evidence=evidence, return_log_evidence=True)
    single = posteriors(grammar, tokens, mask, dtype=torch.float32)
    places = np.arange(tokens.shape[1])
    for row in range(12):
        agree = p * ((levels[0] == tokens[row]) | mask[row]).all(1)
        likely = p * evidence[row][places, levels[0]].prod(1)
        for weights, laws, log, own in (
            (agree, hard, logs, 1e-12),
            (likely, soft, soft_logs, 1e-12),
            (agree, single, logs, 2e-6),
        ):
            if weights.sum() == 0:
                assert log[row] == -math.inf
                continue
            assert abs(log[row].item() - math.log(weights.sum())) < 1e-12
            for level in range(grammar.depth + 1):
                for node in range(grammar.num_nodes_at(level)):
                    expected = law_of(grammar, levels, weights, level, node)
                    np.testing.assert_allclose(laws[level][row, node], expected, atol=own)


def test_parses_and_draws(small):
    grammar, levels, p = small
    rows = np.concatenate(levels, axis=1)
    tokens = np.unique(levels[0], axis=0)
    best = np.concatenate([level.numpy() for level in most_probable_parse(grammar, tokens)], axis=1)
    probs = {tuple(row): q for row, q in zip(rows.tolist(), p, strict=True)}
    for sentence, found in zip(tokens, best.tolist(), strict=True):
        largest = p[(levels[0] == sentence).all(1)].max()
        assert probs[tuple(found)] > (1 - 1e-12) * largest
    generator = torch.Generator().manual_seed(0)
    sentence = levels[0][np.argmax(p)]
    mask = np.arange(len(sentence)) % 2 == 0
    drawn = sample_posterior(grammar, np.tile(sentence, (4000, 1)), np.tile(mask, (4000, 1)), generator=generator)
    weights = p * ((levels[0] == sentence) | mask).all(1)
    number = {row: i for i, row in enumerate(probs)}
    found = [number[tuple(row)] for row in np.concatenate([level.numpy() for level in drawn], axis=1).tolist()]
    assert abs(chi_squared_z(np.bincount(found, minlength=len(p)), 4000 * weights / weights.sum())) < 4.5


def test_shorter_contexts_and_plateaus(small):
    grammar, levels, p = small
    d = grammar.sentence_length
    sentences, inverse = np.unique(levels[0], axis=0, return_inverse=True)
    probs = np.bincount(inverse.ravel(), p)
    for level in range(grammar.depth + 1):
        length = grammar.block_length(level)
        laws = next_token_probs(grammar, sentences, context_level=level)
        entropies = np.zeros(d)
        for row, sentence in enumerate(sentences):
            for t in range(d):
                own = slice(t // length * length, t)
                expected = law_of(grammar, levels, p * (levels[0][:, own] == sentence[own]).all(1), 0, t)
                np.testing.assert_allclose(laws[row, t], expected, atol=1e-12)
                entropies[t] -= probs[row] * (expected * np.log(np.where(expected > 0, expected, 1))).sum()
        np.testing.assert_allclose(position_entropies(grammar, level), entropies, atol=1e-12)
        assert plateau(grammar, level) == pytest.approx(entropies.mean(), abs=1e-12)
    window = next_token_probs(grammar, sentences[:5], context_length=1)
    for row, sentence in enumerate(sentences[:5]):
        for t in range(d):
            own = slice(max(0, t - 1), t)
            expected = law_of(grammar, levels, p * (levels[0][:, own] == sentence[own]).all(1), 0, t)
            np.testing.assert_allclose(window[row, t], expected, atol=1e-12)
    for first, second in itertools.product(range(d), repeat=2):
        expected = np.zeros((grammar.vocab_size,) * 2)
        np.add.at(expected, (levels[0][:, first], levels[0][:, second]), p)
        np.testing.assert_allclose(grammar.laws.pair_law(first, second), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["v4-m3-s2-L3", "v3-m4-s3-L2-zipf0.7@1"])
def test_unambiguous_rules_are_the_ordinary_rhm(name):
    rhm = Grammar.from_name(name, rules_seed=2)
    levels = [RuleList(rhm.rules_at(level), rhm.rule_probs_at(level)) for level in range(rhm.depth, 0, -1)]
    grammar = AmbiguousGrammar(levels, rhm.root_probs, vocab_size=rhm.vocab_size)
    rng = np.random.default_rng(0)
    tokens = np.concatenate(
        [rhm.sample(20, sampling="iid"), rng.integers(0, rhm.vocab_size, (20, rhm.sentence_length))]
    )
    torch.testing.assert_close(log_prob(grammar, tokens), log_prob(rhm, tokens), rtol=0, atol=1e-12)
    for options in ({}, {"context_level": 1}, {"context_length": 2}):
        found, valid = next_token_probs(grammar, tokens, return_valid=True, **options)
        expected, expected_valid = next_token_probs(rhm, tokens, return_valid=True, **options)
        assert torch.equal(valid, expected_valid)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    parsed = most_probable_parse(grammar, tokens[:20])
    assert all(torch.equal(a, b) for a, b in zip(parsed, most_probable_parse(rhm, tokens[:20]), strict=True))
    assert grammar.num_derivations == rhm.num_sentences
    assert grammar.derivation_entropy == pytest.approx(rhm.entropy, abs=1e-12)


@pytest.mark.parametrize(("rho", "s", "depth"), [(0.8, 2, 4), (-0.6, 3, 3), (0.3, 4, 2)])
def test_correlations_of_the_ising_tree(rho, s, depth):
    grammar = named(f"ising-rho{rho}-s{s}-L{depth}")
    spins = np.array([1, -1])
    for level in range(depth + 1):
        second = s**level - 1  # its lowest common ancestor with token 0 is on this level
        assert spins @ grammar.laws.pair_law(0, second) @ spins == pytest.approx(rho ** (2 * level), abs=1e-13)
    assert grammar.parameters.is_reconstructible == (s * rho**2 > 1)


def test_reconstruction_above_and_below_kesten_stigum():
    """How much the leaves tell about the root: its posterior's squared magnetisation, exactly averaged, falls with the
    depth to nothing below s rho^2 = 1 (at most (s rho^2)^L, its first-order bound) and stays above it."""

    def told(rho, depth):
        grammar = named(f"ising-rho{rho}-s2-L{depth}")
        tokens, probs = grammar.list_sentences()
        root = posteriors(grammar, tokens)[-1][:, 0]
        return float(torch.from_numpy(probs) @ (root[:, 0] - root[:, 1]) ** 2)

    below = [told(0.6, depth) for depth in (1, 2, 3, 4)]
    above = [told(0.95, depth) for depth in (1, 2, 3, 4)]
    assert all(value <= (2 * 0.6**2) ** depth for depth, value in enumerate(below, start=1))
    assert below[3] < 0.75 * below[2] < 0.75**2 * below[1]
    assert above[3] > 0.97 * above[2]


def test_colourings_are_proper_and_uniform():
    grammar = named("colouring-q3-s2-L3")
    levels = grammar.derivations(3000, seed=1)
    for level in range(1, 4):
        assert (np.repeat(levels[level], 2, axis=1) != levels[level - 1]).all()
    assert grammar.num_derivations == 3 * 2**14
    assert grammar.derivation_entropy == pytest.approx(math.log(3 * 2**14), abs=1e-12)


@pytest.mark.parametrize("name", ["ising-rho0.8-s2-L10", "ambiguous-v6-m8-s2-L10"])
def test_a_thousand_tokens(name):
    grammar = named(name)
    tokens = grammar.sample(3, seed=1)
    assert tokens.shape[1] == 1024
    laws = next_token_probs(grammar, tokens)
    single = next_token_probs(grammar, tokens, dtype=torch.float32)
    assert (laws - single).abs().max() < 1e-5
    chain = laws.gather(2, torch.from_numpy(tokens.astype(np.int64))[..., None]).log().sum((1, 2))
    torch.testing.assert_close(chain, log_prob(grammar, tokens), rtol=0, atol=1e-8)


def test_entropy_estimate(monkeypatch):
    exact = named("ambiguous-v3-m4-s2-L2", 1)
    assert exact.entropy_stderr == 0
    expected = position_entropies(exact, 2)
    monkeypatch.setattr(ambiguous_grammar, "LISTED_TOKENS", 1)
    monkeypatch.setattr(ambiguous_laws, "LISTED_TOKENS", 1)
    estimated = named("ambiguous-v3-m4-s2-L2", 1)
    assert 0 < estimated.entropy_stderr < 0.05
    assert abs(estimated.entropy - exact.entropy) < 4.5 * estimated.entropy_stderr
    assert (position_entropies(estimated, 2) - expected).abs().max() < 0.05
    with pytest.raises(NotSupported, match="list of all sentences"):
        estimated.list_sentences()


def test_impossible_evidence_is_refused():
    grammar = named("colouring-q2-s2-L1")
    with pytest.raises(ValueError, match="row 1 is impossible"):
        posteriors(grammar, [[0, 0], [0, 1]])
    with pytest.raises(ValueError, match="impossible"):
        most_probable_parse(grammar, [[0, 1]])
    assert log_prob(grammar, [[0, 1]]).item() == -math.inf


@pytest.mark.parametrize("name", ["ising-rho0.8-s2-L2", "ambiguous-v3-m4-s2-L2"])
def test_no_sentences_and_no_tokens(name):
    grammar = named(name)
    empty = np.zeros((0, 4), dtype=np.int64)
    assert next_token_probs(grammar, empty).shape == (0, 4, grammar.vocab_size)
    assert prefix_probs(grammar, empty[:, :0])[0].shape == (0, 1, grammar.vocab_size)
    assert prefix_probs(grammar, np.zeros((3, 0), dtype=np.int64))[0].shape == (3, 1, grammar.vocab_size)
    assert log_prob(grammar, empty).shape == (0,)
    assert [law.shape[0] for law in posteriors(grammar, empty)] == [0, 0, 0]
    assert [level.shape for level in most_probable_parse(grammar, empty)] == [(0, 4), (0, 2), (0, 1)]
    assert [law.shape for law in causal_posteriors(grammar, empty[:, :2])] == [(0, 2, grammar.vocab_size)] * 2
    assert grammar.sample(0).shape == (0, 4)
    assert grammar.classes(0).shape == (0,)
