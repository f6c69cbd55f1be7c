"""Beliefs of all ancestors given every prefix, on fixed trees with unambiguous rules."""

import numpy as np
import pytest
import torch
from exact_law import chi_squared_z
from inference_enumeration import MORE, enumerate_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.ambiguous.ambiguous_grammar import AmbiguousGrammar
from rhm_hf.grammar.ambiguous.expansions import RuleList
from rhm_hf.grammar.laws.masked_beliefs import causal_posteriors_by_masks
from rhm_hf.grammar.layered.laws import rule_tables
from rhm_hf.grammar.layered.laws import token_laws as next_token
from rhm_hf.grammar.layered.laws.beliefs_given_prefix import causal_posteriors
from rhm_hf.inference import next_token_probs, posteriors


def check(grammar, dtype=torch.float64, tolerance=1e-12):
    truth = enumerate_grammar(grammar)
    rng = np.random.default_rng(0)
    d = grammar.sentence_length
    valid = truth.tokens[rng.integers(0, len(truth.probs), 12)]
    tokens = np.concatenate([valid, rng.integers(0, grammar.vocab_size, (6, d))])
    laws = causal_posteriors(grammar, torch.from_numpy(tokens.astype(np.int64)), dtype)
    assert len(laws) == grammar.depth
    for row, sentence in enumerate(tokens):
        for t in range(d):
            weights = truth.agreeing(sentence, range(t + 1))
            for level in range(1, grammar.depth + 1):
                law = truth.law(weights, level, t // grammar.block_length(level))
                expected = np.zeros(grammar.num_symbols_at(level)) if law is None else law
                np.testing.assert_allclose(laws[level - 1][row, t], expected, atol=tolerance)


def test_against_enumeration(small_grammar):
    check(small_grammar)
    check(small_grammar, torch.float32, 1e-6)


@pytest.mark.parametrize("name", MORE)
def test_more_shapes(name):
    check(MORE[name]())


def test_without_dense_tables(small_grammar, monkeypatch):
    monkeypatch.setattr(rule_tables, "DENSE_MATRIX_LIMIT", 0)
    monkeypatch.setattr(next_token, "CHUNK_BYTES", {"cpu": 2**10, "cuda": 2**10})
    rule_tables.tables_for.cache.clear()
    check(small_grammar)
    assert all(t._first_child is None for t in rule_tables.tables_for(small_grammar, torch.device("cpu")).levels)
    rule_tables.tables_for.cache.clear()


def test_larger_grammars_against_masked_posteriors_and_messages():
    grammar = Grammar.from_name("v8-m4-s2-L4", rules_seed=1)
    tokens = torch.from_numpy(grammar.sample(5).astype(np.int64))
    beliefs = causal_posteriors(grammar, tokens)
    place = torch.arange(16)
    for t in (0, 5, 12, 15):
        laws = posteriors(grammar, tokens, (place > t).expand(5, -1))
        for level in range(1, 5):
            expected = laws[level][:, t // grammar.block_length(level)]
            torch.testing.assert_close(beliefs[level - 1][:, t], expected, rtol=0, atol=1e-12)
    levels = [RuleList(grammar.rules_at(level), grammar.rule_probs_at(level)) for level in range(4, 0, -1)]
    other = AmbiguousGrammar(levels, vocab_size=8).laws.causal_posteriors(tokens)
    for found, expected in zip(other, beliefs, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_prefixes_are_enough_and_the_next_law_is_linear_in_the_beliefs():
    grammar = Grammar.from_name("v8-m4-s2-L3", rules_seed=1)
    tokens = torch.from_numpy(grammar.sample(20).astype(np.int64))
    whole = causal_posteriors(grammar, tokens)
    for t in (0, 1, 5):
        part = causal_posteriors(grammar, tokens[:, :t])
        assert all(torch.equal(a, b[:, :t]) for a, b in zip(part, whole, strict=True))
    # After token 3 the left half is complete: the next token's law follows from the belief about the root alone.
    root = whole[-1][:, 3]
    rules, probs = grammar.rules_at(3), torch.tensor(grammar.rule_probs_at(3))
    parsed = grammar.parse(tokens.numpy())[2][:, 0]
    law = torch.zeros(20, 8, dtype=torch.float64)
    for row in range(20):
        for a in range(8):
            fits = torch.from_numpy(rules[a, :, 0] == parsed[row])
            given = probs[a] * fits
            if given.sum() > 0:
                law[row].index_add_(
                    0, torch.from_numpy(rules[a, :, 1].astype(np.int64)), root[row, a] * given / given.sum()
                )
    for level in (2, 1):
        step = torch.zeros(8, 8, dtype=torch.float64)
        first = torch.from_numpy(grammar.rules_at(level)[:, :, 0].astype(np.int64))
        step.scatter_add_(1, first, torch.from_numpy(grammar.rule_probs_at(level).copy()))
        law = law @ step
    torch.testing.assert_close(law, next_token_probs(grammar, tokens)[:, 4], rtol=0, atol=1e-12)


SEVERAL = [
    *("v4-m2-s2-L3-cut1", "v4-m2-s2-L3-cut0", "v3-m2-s2-L3-cut2", "v3-m2-s2-L2-zipf1.0-cut1", "hmm-v4-h3-m2-d6-p0.5"),
    *("v3-m2-s2-L2-sparse1", "v2-m2-s2-L2-sparse1b", "v4-m3-s2-L3", "ising-rho0.8-s2-L3", "ambiguous-v3-m2-s2-L3"),
]


@pytest.mark.parametrize("name", SEVERAL)
def test_every_fixed_tree_has_beliefs(name):
    """One posterior a token is the default; a family's own way must agree with it."""
    source = Grammar.from_name(name, rules_seed=1)
    tokens = torch.from_numpy(source.sample(6, sampling="iid").astype(np.int64))
    tokens[-1] = tokens[-1].flip(0)
    found = source.laws.causal_posteriors(tokens, torch.float64)
    by_masks = causal_posteriors_by_masks(source, tokens, torch.float64)
    assert [tuple(law.shape) for law in found] == [
        (*tokens.shape, source.num_symbols_at(k)) for k in range(1, source.depth + 1)
    ]
    for law, expected in zip(found, by_masks, strict=True):
        torch.testing.assert_close(law, expected, rtol=0, atol=1e-12)
    # The belief about the class after the whole sentence is its posterior; after the first token it is measured.
    whole, logs = source.laws.posteriors(tokens, return_log_evidence=True)
    possible = ~logs.isneginf()
    torch.testing.assert_close(found[-1][possible, -1], whole[-1][possible, 0], rtol=0, atol=1e-12)
    assert (found[-1][~possible, -1] == 0).all()
    sample = source.derivations(4000, sampling="iid", seed=5)
    first = int(tokens[0, 0])
    classes = sample[-1][sample[0][:, 0] == first, 0]
    counts = np.bincount(classes, minlength=source.num_classes)
    assert abs(chi_squared_z(counts, counts.sum() * found[-1][0, 0].numpy())) < 4.5


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_prefix_is_enough_for_every_family(name, dtype):
    """One pass: what comes later changes nothing, in whatever chunks."""
    source = Grammar.from_name(name, rules_seed=1)
    tokens = torch.from_numpy(source.sample(9, sampling="iid").astype(np.int64))
    tokens[-1] = tokens[-1].flip(0)
    whole = source.laws.causal_posteriors(tokens, dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    by_masks = causal_posteriors_by_masks(source, tokens, torch.float64)
    for law, expected in zip(whole, by_masks, strict=True):
        assert law.dtype == dtype
        torch.testing.assert_close(law.double(), expected, rtol=0, atol=tolerance)
    for t in range(tokens.shape[1]):
        part = source.laws.causal_posteriors(tokens[2:, :t], dtype)
        for law, mine in zip(whole, part, strict=True):
            torch.testing.assert_close(mine, law[2:, :t], rtol=0, atol=tolerance)


def test_no_family_takes_a_posterior_a_token(monkeypatch):
    """One pass for every fixed tree of the package: the default by masks is for families from outside."""
    from rhm_hf.grammar.laws import masked_beliefs

    monkeypatch.setattr(masked_beliefs, "causal_posteriors_by_masks", None)
    for name in SEVERAL:
        source = Grammar.from_name(name)
        tokens = torch.from_numpy(source.sample(2, sampling="iid").astype(np.int64))
        assert len(source.laws.causal_posteriors(tokens, torch.float64)) == source.depth


def test_states_of_a_long_chain_against_the_filter_of_a_hidden_markov_model():
    source = Grammar.from_name("hmm-v6-h5-m2-d1000-p0.5")
    tokens = torch.from_numpy(source.sample(3).astype(np.int64))
    states, first = source.laws.causal_posteriors(tokens, torch.float64)
    initial, moves, writes = (np.asarray(a) for a in (source.initial, source.transitions, source.emissions[0]))
    for row, found, mine in zip(tokens.tolist(), states.numpy(), first.numpy(), strict=True):
        filtered, joint = initial.copy(), np.diag(initial)
        for i, token in enumerate(row):
            if i:
                filtered, joint = filtered @ moves, joint @ moves
            filtered, joint = filtered * writes[:, token], joint * writes[:, token]
            filtered, joint = filtered / filtered.sum(), joint / joint.sum()
            np.testing.assert_allclose(found[i], filtered, rtol=0, atol=1e-11)
            np.testing.assert_allclose(mine[i], joint.sum(1), rtol=0, atol=1e-11)
