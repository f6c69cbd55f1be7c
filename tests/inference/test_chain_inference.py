"""Filtered grammars and hidden Markov sources against brute force, which knows nothing of the package but arrays."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from inference_enumeration import enumerate_grammar, mixed_grammar
from small_grammars import skewed_grammar

from rhm_hf.grammar import FilteredGrammar, Grammar, HiddenMarkovSource
from rhm_hf.grammar.chain import chain_counts
from rhm_hf.grammar.enumeration import enumerate_sentences
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


def uneven_hmm() -> HiddenMarkovSource:
    """Nothing uniform, two impossible transitions, an impossible first state, tokens that states share."""
    rng = np.random.default_rng(4)
    transitions, emissions = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3), 3)
    transitions[0] = [0.0, 0.4, 0.6]
    transitions[2] = [0.5, 0.5, 0.0]
    emissions[1] = [0.0, 0.3, 0.7]
    return HiddenMarkovSource([0.2, 0.8, 0.0], transitions, emissions, 5)


SOURCES = {
    "v4-m3-s2-L2-cut1": lambda: Grammar.from_name("v4-m3-s2-L2-cut1", 1),
    "v3-m2-s2-L3-cut1": lambda: Grammar.from_name("v3-m2-s2-L3-cut1", 2),
    "v3-m2-s2-L3-cut2": lambda: Grammar.from_name("v3-m2-s2-L3-cut2", 2),
    "v4-m2-s2-L2-c3-zipf0.8-cut0": lambda: Grammar.from_name("v4-m2-s2-L2-c3-zipf0.8-cut0"),
    "skewed, cut at 1": lambda: FilteredGrammar(skewed_grammar(), 1),
    "skewed, cut at 0": lambda: FilteredGrammar(skewed_grammar(), 0),
    "hmm-v4-h3-m2-d4-p0.5": lambda: Grammar.from_name("hmm-v4-h3-m2-d4-p0.5", 1),
    "uneven hmm": uneven_hmm,
}


class World:
    """All sentences with all their hidden symbols and joint probabilities: `levels[l]` of shape `(rows, nodes)`."""

    def __init__(self, source):
        rows = _filtered(source) if isinstance(source, FilteredGrammar) else _hidden_markov(source)
        self.levels = [np.array([layers[level] for layers, _ in rows]) for level in range(source.depth + 1)]
        self.probs = np.array([p for _, p in rows])
        self.source, self.tokens = source, self.levels[0]

    def laws(self, weights, level):
        size, symbols = self.source.num_symbols_at(level), self.levels[level]
        laws = [np.bincount(column, weights, size) for column in symbols.T]
        return np.array(laws) / weights.sum()

    def sentence_law(self) -> dict:
        law = defaultdict(float)
        for row, p in zip(self.tokens.tolist(), self.probs, strict=True):
            law[tuple(row)] += p
        return law


def _filtered(source):
    """Level-k nodes independently given the root, each with its marginal in the enumerated grammar."""
    grammar, k = source.grammar, source.level
    whole = enumerate_grammar(grammar)
    nodes, roots = grammar.num_nodes_at(k), whole.levels[-1][:, 0]
    below = [defaultdict(float) for _ in range(grammar.num_symbols_at(k))]  # symbol -> tree -> probability
    first = [whole.levels[level][:, : whole.levels[level].shape[1] // nodes] for level in range(k + 1)]
    start = np.bincount(first[k][:, 0], whole.probs, len(below))
    for i, p in enumerate(whole.probs):
        a = first[k][i, 0]
        below[a][tuple(tuple(level[i].tolist()) for level in first)] += p / start[a]
    for a, trees in enumerate(below):  # a symbol that never comes first has the same trees elsewhere
        if not trees:
            rows = np.nonzero((whole.levels[k] == a).any(1))[0]
            at = [int(np.nonzero(whole.levels[k][i] == a)[0][0]) for i in rows]
            total = sum(whole.probs[rows])
            for i, j in zip(rows, at, strict=True):
                size = [level.shape[1] // nodes for level in whole.levels[: k + 1]]
                tree = tuple(
                    tuple(whole.levels[level][i, j * s : (j + 1) * s].tolist()) for level, s in enumerate(size)
                )
                below[a][tree] += whole.probs[i] / total
    rows = []
    for r, root in enumerate(grammar.root_probs):
        if root == 0:
            continue
        of_root = np.where(roots == r, whole.probs, 0)
        marginals = [np.bincount(column, of_root, len(below)) / root for column in whole.levels[k].T]
        for symbols in itertools.product(range(len(below)), repeat=nodes):
            p = root * math.prod(marginals[j][a] for j, a in enumerate(symbols))
            if p == 0:
                continue
            for trees in itertools.product(*(below[a].items() for a in symbols)):
                layers = [sum((tree[level] for tree, _ in trees), ()) for level in range(k + 1)]
                rows.append(([*layers, (r,)], p * math.prod(q for _, q in trees)))
    return rows


def _hidden_markov(source):
    rows = []
    initial, transitions, emissions = source.initial, source.transitions, source.emissions[0]
    for states in itertools.product(range(len(initial)), repeat=source.sentence_length):
        p = initial[states[0]] * math.prod(transitions[y, z] for y, z in itertools.pairwise(states))
        for tokens in itertools.product(range(source.vocab_size), repeat=len(states)):
            q = p * math.prod(emissions[z, x] for z, x in zip(states, tokens, strict=True))
            if q > 0:
                rows.append(([tokens, states, states[:1]], q))
    return rows


@pytest.fixture(scope="module", params=SOURCES)
def world(request) -> World:
    return World(SOURCES[request.param]())


def some_tokens(world, num=30):
    """Sentences, and as many with one wrong token."""
    rng = np.random.default_rng(0)
    tokens = world.tokens[rng.integers(len(world.tokens), size=num)]
    damaged = tokens.copy()
    damaged[np.arange(num), rng.integers(tokens.shape[1], size=num)] = rng.integers(world.source.vocab_size, size=num)
    return np.concatenate([tokens, damaged])


def test_the_law_of_sentences(world):
    law = world.sentence_law()
    source = world.source
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    tokens, probs = enumerate_sentences(source)
    assert source.num_sentences == len(tokens) == len(law)
    assert {tuple(row): p for row, p in zip(tokens.tolist(), probs, strict=True)} == pytest.approx(law, abs=1e-13)
    exact = np.array(list(law.values()))
    assert source.entropy == pytest.approx(-(exact * np.log(exact)).sum(), abs=1e-12)
    assert source.entropy_stderr == 0
    rows = some_tokens(world)
    expected = [math.log(law[tuple(row)]) if tuple(row) in law else -math.inf for row in rows.tolist()]
    np.testing.assert_allclose(log_prob(source, rows).numpy(), expected, rtol=0, atol=1e-12)


def contexts(source):
    yield {}, lambda i: range(i)
    for level in range(source.depth):
        block = source.block_length(level)
        yield {"context_level": level}, lambda i, block=block: range(i // block * block, i)
    for n in (0, 1, 2, source.sentence_length):
        yield {"context_length": n}, lambda i, n=n: range(max(0, i - n), i)


def test_next_token_laws(world):
    source, rows = world.source, some_tokens(world, 15)
    for context, known in contexts(source):
        probs, valid = next_token_probs(source, rows, return_valid=True, **context)
        for b, row in enumerate(rows):
            for i in range(source.sentence_length):
                places = list(known(i))
                weights = world.probs * (world.tokens[:, places] == row[places]).all(1)
                assert valid[b, i] == (weights.sum() > 0)
                law = world.laws(weights, 0)[i] if valid[b, i] else np.full(source.vocab_size, 1 / source.vocab_size)
                np.testing.assert_allclose(probs[b, i].numpy(), law, rtol=0, atol=1e-12)
        for t in (0, 1, source.sentence_length - 1, source.sentence_length):
            prefix, ok = prefix_probs(source, rows[:, :t], **context)
            torch.testing.assert_close(prefix, probs[:, : t + 1], rtol=0, atol=1e-13)
            assert torch.equal(ok, valid[:, : t + 1])
        rough = next_token_probs(source, rows, dtype=torch.float32, **context)
        torch.testing.assert_close(rough.double(), probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["masked", "soft"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_posteriors_of_every_level(world, kind, dtype):
    source, rng = world.source, np.random.default_rng(1)
    rows, v = some_tokens(world, 20), source.vocab_size
    mask = rng.random(rows.shape) < np.linspace(0, 1, len(rows))[:, None]
    likelihoods = np.where(mask[..., None], 1.0, np.eye(v)[rows])
    given = {"tokens": np.where(mask, -7, rows), "mask": mask}
    if kind == "soft":
        likelihoods = rng.random((*rows.shape, v)) * (rng.random((*rows.shape, v)) < 0.8)
        given = {"evidence": likelihoods}
    laws, logs = posteriors(source, **given, dtype=dtype, return_log_evidence=True)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    for b, evidence in enumerate(likelihoods):
        weights = world.probs * np.prod(evidence[np.arange(rows.shape[1]), world.tokens], axis=1)
        possible = weights.sum() > 0
        expected = math.log(weights.sum()) if possible else -math.inf
        assert logs[b].item() == pytest.approx(expected, abs=tolerance, rel=tolerance)
        for level, law in enumerate(laws):
            uniform = np.full(law.shape[1:], 1 / law.shape[2])
            exact = world.laws(weights, level) if possible else uniform
            np.testing.assert_allclose(law[b].numpy(), exact, rtol=0, atol=tolerance)


def test_marginals_and_entropies(world):
    source, d = world.source, world.source.sentence_length
    for level in range(source.depth + 1):
        np.testing.assert_allclose(
            node_marginals(source, level).numpy(), world.laws(world.probs, level), rtol=0, atol=1e-13
        )
        block = source.block_length(level)
        exact = []
        for i in range(d):
            left = list(range(i // block * block, i))
            exact.append(entropy(world, [*left, i]) - entropy(world, left))
        values = position_entropies(source, level)
        np.testing.assert_allclose(values.numpy(), exact, rtol=0, atol=1e-12)
        assert plateau(source, level) == pytest.approx(np.mean(exact), abs=1e-12)


def entropy(world, places):
    if not places:
        return 0.0
    _, group = np.unique(world.tokens[:, places], axis=0, return_inverse=True)
    p = np.bincount(group.ravel(), world.probs)
    return -(p * np.log(p)).sum()


def test_parsed_levels_and_derivations(world):
    """Tokens determine the levels up to the cut; sampled states have their posterior law given the tokens."""
    source = world.source
    tokens, levels = source.sample(4000, seed=5), source.derivations(4000, seed=5)
    assert np.array_equal(levels[0], tokens)
    assert [level.shape[1:] for level in levels] == [(source.num_nodes_at(x),) for x in range(source.depth + 1)]
    parsed = source.parse(tokens)
    assert len(parsed) == source.cut + 1
    assert all(map(np.array_equal, parsed, levels))
    found = parse(source, tokens)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(parsed, found, strict=True))
    part = source.derivations(50, seed=5, start=77)
    assert all(np.array_equal(a, b[77:127]) for a, b in zip(part, levels, strict=True))
    above = range(source.cut + 1, source.depth + 1)
    joint = defaultdict(float)
    for key, p in zip(keys_of([world.tokens, *(world.levels[x] for x in above)]), world.probs, strict=True):
        joint[key] += p
    place = {key: k for k, key in enumerate(joint)}
    rows = [place[key] for key in keys_of([tokens, *(levels[x] for x in above)])]
    check_counts(np.bincount(rows, minlength=len(place)), np.array(list(joint.values())))


def keys_of(levels) -> list[tuple]:
    """One key a row of all levels together."""
    return list(map(tuple, np.concatenate([np.asarray(level) for level in levels], axis=1).tolist()))


def test_samples_follow_the_posterior(world):
    source, num = world.source, 4000
    rng = np.random.default_rng(3)
    likelihood = rng.random((source.sentence_length, source.vocab_size)) ** 2
    weights = world.probs * np.prod(likelihood[np.arange(source.sentence_length), world.tokens], axis=1)
    evidence = np.broadcast_to(likelihood, (num, *likelihood.shape))
    levels = sample_posterior(source, evidence=evidence, generator=torch.Generator().manual_seed(2))
    place = {key: k for k, key in enumerate(keys_of(world.levels))}
    found = [place[key] for key in keys_of(levels)]
    check_counts(np.bincount(found, minlength=len(place)), weights / weights.sum())


def check_counts(counts, probs):
    expected = counts.sum() * probs
    likely = expected > 5
    statistic = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    freedom = max(1, likely.sum() - 1)
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom) + 5
    rare = expected[~likely].sum()
    assert abs(counts[~likely].sum() - rare) <= 6 * math.sqrt(rare) + 1


def test_a_filtered_grammar_keeps_what_it_promises():
    """Laws inside level-k blocks and of single nodes given the root are the grammar's; only the rest is gone."""
    grammar = mixed_grammar()
    world = enumerate_grammar(grammar)
    for k in range(grammar.depth):
        filtered = FilteredGrammar(grammar, k)
        for level in range(k + 1):
            torch.testing.assert_close(
                node_marginals(filtered, level), node_marginals(grammar, level), rtol=0, atol=1e-13
            )
            assert plateau(filtered, level) == pytest.approx(plateau(grammar, level), abs=1e-13)
        tokens = world.tokens[::50]
        for context in ({"context_level": k}, {"context_length": 0}):
            torch.testing.assert_close(
                next_token_probs(filtered, tokens, **context),
                next_token_probs(grammar, tokens, **context),
                rtol=0,
                atol=1e-13,
            )
        hidden = np.ones_like(tokens, dtype=bool)
        hidden[:, : grammar.block_length(k)] = False  # one block alone says the same of the root
        torch.testing.assert_close(
            posteriors(filtered, tokens, hidden)[-1], posteriors(grammar, tokens, hidden)[-1], rtol=0, atol=1e-13
        )


def test_long_sentences_neither_underflow_nor_lose_precision():
    for name in ("v16-m4-s2-L8-cut2", "hmm-v16-h8-m4-d256-p0.9"):
        source = Grammar.from_name(name)
        tokens = torch.as_tensor(source.sample(3).astype(np.int64))
        exact = log_prob(source, tokens)
        probs, valid = next_token_probs(source, tokens, return_valid=True)
        assert valid.all()
        chain = probs.gather(2, tokens[..., None]).log().sum((1, 2))
        torch.testing.assert_close(chain, exact, rtol=1e-12, atol=0)
        mask = torch.zeros_like(tokens, dtype=torch.bool)
        laws, logs = posteriors(source, tokens, mask, return_log_evidence=True)
        torch.testing.assert_close(logs, exact, rtol=1e-12, atol=0)
        assert all((law.sum(-1) - 1).abs().max() < 1e-12 for law in laws)
        noisy = torch.nn.functional.one_hot(tokens, 16) * 0.9 + 0.1 / 16
        laws, logs = posteriors(source, evidence=noisy * 1e-30, return_log_evidence=True)
        assert logs.isfinite().all()
        assert laws[0].gather(2, tokens[..., None]).mean() > 0.9


def test_entropies_that_are_sampled_say_so():
    source = Grammar.from_name("v16-m4-s2-L6-cut2")
    assert source.entropy_stderr > 0
    tokens = source.sample(4000, seed=9, split="evaluation")
    surprise = -log_prob(source, tokens)
    error = math.hypot(source.entropy_stderr, surprise.std().item() / math.sqrt(len(tokens)))
    assert abs(surprise.mean().item() - source.entropy) < 5 * error


def test_entropies_of_positions_are_sampled_where_that_of_sentences_is(monkeypatch):
    """The rules below the symbol of a block stay exact; symbols come from the prefixes that `entropy` takes."""
    exact = position_entropies(Grammar.from_name("v16-m4-s2-L4-cut2"), 3)
    monkeypatch.setattr(chain_counts, "SEQUENCE_ENTRIES", 0)  # as if there were too many prefixes
    source = Grammar.from_name("v16-m4-s2-L4-cut2")
    found = position_entropies(source, 3)
    assert source.entropy_stderr > 0
    assert found.mean().item() == pytest.approx(plateau(source, 3), rel=1e-12)
    assert torch.allclose(found[:4], exact[:4], rtol=1e-12)  # nothing comes before the first block
    assert 0 < (found - exact).abs().max() < 0.02


def test_sampled_entropies_of_positions_are_those_of_the_next_token_laws():
    source = Grammar.from_name("hmm-v16-h8-m4-d8-p0.5")
    probs = next_token_probs(
        source, torch.from_numpy(source.sample(4000, seed=9, split="evaluation").astype(np.int64))
    )
    assert (torch.special.entr(probs).sum(-1).mean(0) - position_entropies(source, 2)).abs().max() < 0.02
