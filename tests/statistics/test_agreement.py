"""Correlations of two texts: unbiased differences, and how far they agree."""

import numpy as np
import pytest

from rhm_hf import Grammar
from rhm_hf.statistics import compare_correlations, joint_law, token_correlations


DISTANCES = range(1, 8)


def measured(grammar, num=4000, seed=0, **kwargs):
    tokens = grammar.sample(num, seed=seed, sampling="iid")
    return token_correlations(tokens, DISTANCES, grammar.vocab_size, anchor="last", **kwargs)


def connected(grammar, distance):
    joint = np.asarray(joint_law(grammar, 7 - distance, 7))
    return joint - joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)


def test_difference_is_unbiased_and_its_error_is_that_of_repetitions():
    one, other = (Grammar.from_name("v8-m2-s2-L3", rules_seed=seed) for seed in (0, 1))
    exact = np.array([((connected(one, t) - connected(other, t)) ** 2).sum() / 64 for t in DISTANCES])
    found = [compare_correlations(measured(one, seed=2 * k), measured(other, seed=2 * k + 1)) for k in range(60)]
    differences = np.array([f.difference for f in found])
    spread = differences.std(0, ddof=1)
    assert (np.abs(differences.mean(0) - exact) < 4 * spread / np.sqrt(60)).all()
    errors = np.sqrt(np.mean([f.difference_stderr**2 for f in found], 0))
    assert (0.75 * spread < errors).all()
    assert (errors < 1.6 * spread).all()


def test_same_law_agrees_without_bias_up_to_what_can_be_resolved():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    found = [compare_correlations(measured(grammar, seed=2 * k), measured(grammar, seed=2 * k + 1)) for k in range(60)]
    differences = np.array([f.difference for f in found])
    assert (np.abs(differences.mean(0)) < 4 * differences.std(0) / np.sqrt(60)).all()
    assert np.mean([f.censored for f in found]) > 0.7
    assert all(f.t_agree == f.t_res for f in found if f.censored)
    assert all(f.t_agree <= f.t_res for f in found)


def test_other_law_disagrees_from_the_first_distance_on():
    one, other = (Grammar.from_name("v8-m2-s2-L3", rules_seed=seed) for seed in (0, 1))
    found = compare_correlations(measured(one), measured(other))
    assert (found.t_agree, found.censored) == (0, False)
    assert found.t_res >= 1
    assert found.relative_difference[0] > 0.5
    assert not found.agrees[0]


def test_sparse_counts_give_what_dense_ones_give():
    one, other = (Grammar.from_name("v8-m2-s2-L3", rules_seed=seed) for seed in (0, 1))
    dense = compare_correlations(measured(one, 500), measured(other, 700))
    sparse = compare_correlations(measured(one, 500, sparse=True), measured(other, 700, sparse=True))
    for name in ("difference", "difference_stderr", "relative_difference"):
        np.testing.assert_allclose(getattr(sparse, name), getattr(dense, name), rtol=1e-9, atol=1e-15)
    with pytest.raises(ValueError, match="sparsely"):
        compare_correlations(measured(one, 500, sparse=True), measured(other, 700))


def test_disagreement_ends_at_the_first_distance_that_differs():
    """Texts whose tokens repeat after 1 and 2 steps alike, but after 3 steps in one of them only."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (2, 40_000))
    texts = noise.copy()
    for text, lags in zip(texts, ((1, 2, 3), (1, 2)), strict=True):
        lag = rng.choice([*lags, 0, 0], len(text))
        for i in range(3, len(text)):
            if lag[i]:
                text[i] = text[i - lag[i]]
    corpus, generated = (token_correlations(text, range(1, 6), 4) for text in texts)
    assert compare_correlations(corpus, corpus).censored
    assert compare_correlations(generated, corpus).t_agree < 3


def test_what_cannot_be_compared_is_refused():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    text = measured(grammar, 100)
    tokens = grammar.sample(100, sampling="iid")
    for other, match in (
        (token_correlations(tokens, [1, 2], 8, anchor="last"), "distances="),
        (token_correlations(tokens, DISTANCES, 9, anchor="last"), "vocab_size=9"),
        (token_correlations(tokens, DISTANCES, 8, anchor="all"), "anchor='all'"),
        (measured(grammar, 100, num_blocks=2), "2 blocks"),
    ):
        with pytest.raises(ValueError, match=match):
            compare_correlations(other, text)
    with pytest.raises(ValueError, match="tolerance=0"):
        compare_correlations(text, text, tolerance=0)
