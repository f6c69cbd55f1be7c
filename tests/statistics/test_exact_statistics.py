"""Exact laws of two tokens, correlations and entropies, against sums over all sentences."""

import numpy as np
import pytest

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import plateau, position_entropies
from rhm_hf.statistics import conditional_entropies, exact_correlation, joint_law, tuple_ids, tuple_joint_law


def enumerated_law(left, right, probs, num_left, num_right):
    law = np.zeros((num_left, num_right))
    np.add.at(law, (left, right), probs)
    return law


def root_mean_square(law):
    return np.sqrt(((law - np.outer(law.sum(1), law.sum(0))) ** 2).mean())


def test_laws_of_two_tokens_are_sums_over_all_sentences(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    for i in range(d):
        for j in range(d):
            if i != j:
                expected = enumerated_law(tokens[:, i], tokens[:, j], probs, v, v)
                np.testing.assert_allclose(joint_law(small_grammar, i, j), expected, rtol=0, atol=1e-12)


def test_laws_of_tuple_and_token_are_sums_over_all_sentences(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    block, rules = small_grammar.block_length(1), small_grammar.rule_probs_at(1).size
    ids = tuple_ids(small_grammar, tokens)
    for node in range(d // block):
        for position in range(d):
            if position // block == node:
                continue
            expected = enumerated_law(ids[:, node * block + block - 1], tokens[:, position], probs, rules, v)
            np.testing.assert_allclose(tuple_joint_law(small_grammar, node, position), expected, rtol=0, atol=1e-12)


def test_correlations_are_those_of_the_enumerated_laws(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    laws = {(i, j): enumerated_law(tokens[:, i], tokens[:, j], probs, v, v) for i in range(d) for j in range(i + 1, d)}
    expected = [root_mean_square(laws[d - 1 - t, d - 1]) for t in range(1, d)]
    np.testing.assert_allclose(exact_correlation(small_grammar), expected, rtol=0, atol=1e-12)
    for t in range(1, d):
        pairs = [laws[i, i + t] for i in range(d - t)]
        pooled = exact_correlation(small_grammar, [t], anchor="all")[0]
        assert pooled == pytest.approx(root_mean_square(np.mean(pairs, 0)), abs=1e-12)
        centred = np.mean([law - np.outer(law.sum(1), law.sum(0)) for law in pairs], 0)
        found = exact_correlation(small_grammar, [t], anchor="all", center="position")[0]
        assert found == pytest.approx(np.sqrt((centred**2).mean()), abs=1e-12)
    block, ids = small_grammar.block_length(1), tuple_ids(small_grammar, tokens)
    for t in range(block, d, block):
        law = enumerated_law(ids[:, d - 1 - t], tokens[:, -1], probs, small_grammar.rule_probs_at(1).size, v)
        found = exact_correlation(small_grammar, [t], tuples=True)[0]
        assert found == pytest.approx(root_mean_square(law), abs=1e-12)


def test_laws_of_long_sentences_are_consistent():
    grammar = Grammar.from_name("v32-m8-s2-L7")
    law = joint_law(grammar, 3, 127)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(law, joint_law(grammar, 127, 3).T, rtol=0, atol=1e-15)
    np.testing.assert_allclose(law.sum(0), joint_law(grammar, 126, 127).sum(0), rtol=0, atol=1e-14)
    by_tuple = tuple_joint_law(grammar, 1, 127)  # of tokens 2 and 3
    second = grammar.rules_at(1)[..., 1].ravel()
    np.testing.assert_allclose(np.array([by_tuple[second == a].sum(0) for a in range(32)]), law, rtol=0, atol=1e-15)


def enumerated_entropy(tokens, probs, i, n):
    """H(x_i | the min(n, i) tokens before it) from sums over sentences."""
    context = np.unique(tokens[:, max(0, i - n) : i], axis=0, return_inverse=True)[1].ravel()
    joint = np.zeros((context.max() + 1, tokens.max() + 1))
    np.add.at(joint, (context, tokens[:, i]), probs)
    conditional = joint / joint.sum(1, keepdims=True)
    return -(joint[joint > 0] * np.log(conditional[joint > 0])).sum()


def test_entropies_of_every_context_length(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    d = small_grammar.sentence_length
    found = conditional_entropies(small_grammar)
    assert found.exact
    assert found.num_sentences == small_grammar.num_sentences
    expected = [[enumerated_entropy(tokens, probs, i, n) for i in range(d)] for n in range(d)]
    np.testing.assert_allclose(found.entropies, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean, np.mean(expected, 1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.last, found.entropies[:, -1])
    assert (found.stderr == 0).all()
    assert found.mean[-1] == pytest.approx(small_grammar.entropy / d, abs=1e-12)


def test_sampled_entropies_agree_within_their_errors():
    grammar = Grammar.from_name("v5-m3-s2-L2-c3", rules_seed=1)
    exact = conditional_entropies(grammar)
    sampled = conditional_entropies(grammar, num_sentences=500, seed=1)
    assert not sampled.exact
    assert (np.abs(sampled.entropies - exact.entropies) <= 5 * sampled.stderr + 1e-12).all()
    assert (np.abs(sampled.mean - exact.mean) <= 5 * sampled.mean_stderr + 1e-12).all()
    assert (sampled.last_stderr[1:] > 0).all()


def test_entropies_at_block_ends_are_the_plateaus():
    # The last s^l - 1 tokens are the rest of the last token's own block.
    grammar = Grammar.from_name("v16-m4-s2-L3")
    found = conditional_entropies(grammar, [0, 1, 3, 7], num_sentences=400)
    exact = [position_entropies(grammar, level)[-1] for level in range(4)]
    assert (np.abs(found.last - exact) <= 4 * found.last_stderr + 1e-12).all()
    assert found.mean[0] == pytest.approx(plateau(grammar, 0), abs=1e-12)
    assert (np.diff(found.last) < 0).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda g: joint_law(g, 1, 1), "i=1"),
        (lambda g: joint_law(g, 0, 4), "j=4 is out of range"),
        (lambda g: joint_law(g, -1, 2), "i=-1"),
        (lambda g: tuple_joint_law(g, 0, 1), "position=1 lies below node=0"),
        (lambda g: tuple_joint_law(g, 2, 1), "node=2"),
        (lambda g: tuple_joint_law(g, 0, 2, level=3), "level=3"),
        (lambda g: exact_correlation(g, [4]), r"distances=\[4\] must be multiples of 1 below the sentence length 4"),
        (lambda g: exact_correlation(g, [1], tuples=True), "multiples of 2"),
        (lambda g: exact_correlation(g, [0]), r"distances=\[0\]"),
        (lambda g: exact_correlation(g, anchor="first"), "anchor='first'"),
        (lambda g: exact_correlation(g, anchor="all", tuples=True), "anchor='all'"),
        (lambda g: exact_correlation(g, center="mean"), "center='mean'"),
        (lambda g: conditional_entropies(g, [4]), r"lengths=\[4\]"),
        (lambda g: conditional_entropies(g, []), r"lengths=\[\]"),
        (lambda g: conditional_entropies(g, [0.5]), r"lengths\[0\]=0.5"),
        (lambda g: conditional_entropies(g, num_sentences=1), "num_sentences=1"),
        (lambda g: tuple_ids(g, np.zeros((2, 3), int)), r"shape \(2, 3\)"),
        (lambda g: tuple_ids(g, np.full((2, 4), 4)), "ids out of range"),
    ],
)
def test_bad_input_of_exact_statistics_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call(Grammar.from_name("v4-m2-s2-L2"))
