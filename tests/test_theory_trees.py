"""The root of trees of varying shape: the exact threshold against all derivations, and the published formula."""

import math
from itertools import chain

import numpy as np
import pytest
from all_trees import all_derivations

from rhm_hf import theory
from rhm_hf.grammar import TreeGrammar, TreeParameters


NAMES = ["trees-v3-s2m2-s3m2-L2", "trees-v4-s2m2-s3m3-L1", "trees-v2-s2m1p0.7-s3m1p0.3-L3", "trees-v3-s1m1-s2m2-L2-c2"]


@pytest.mark.parametrize("name", NAMES)
def test_the_threshold_is_that_of_all_derivations(name):
    grammar = TreeGrammar.from_name(name, rules_seed=1)
    arity = grammar.arities_at(1)[-1]
    group = grammar.arities_at(1).index(arity)
    slots = {tuple(rule): k for k, rule in enumerate(grammar.rules_at(1)[group].reshape(-1, arity).tolist())}
    probs, counts, roots = [], [], []
    for derivation in chain.from_iterable(all_derivations(grammar).values()):
        used, below = np.zeros(len(slots)), iter(derivation.levels[0])
        for children in derivation.arities[0]:
            written = tuple(next(below) for _ in range(children))
            if children == arity:
                used[slots[written]] += 1
        probs.append(derivation.prob)
        counts.append(used)
        roots.append(derivation.levels[-1][0])
    p, n = np.array(probs), np.array(counts)
    y = np.eye(len(grammar.root_probs))[roots]
    products = (n - p @ n)[:, :, None] * (y - p @ y)[:, None]
    covariance = np.einsum("d,dra->ra", p, products)
    variance = np.einsum("d,dra->ra", p, products**2) - covariance**2
    assert theory.root_threshold(grammar) == pytest.approx(variance.sum() / (covariance**2).sum(), rel=1e-10)


def test_noise_of_sampled_covariances_is_the_signal_at_the_threshold():
    """From P sentences, the mean square error of the covariances is signal * threshold / P."""
    grammar = TreeGrammar.drawn_from(TreeParameters.from_fraction(4, 0.25, 2))
    threshold, rules = theory.root_threshold(grammar), grammar.rules_at(1)[1].reshape(-1, 3)
    found = []
    for seed in range(60):
        trees = grammar.derivations(200, seed=seed)
        n = np.zeros((200, len(rules)))
        for row, tree in enumerate(trees):
            for start, end in tree.spans(1):
                if end - start == 3:
                    n[row, (rules == tree.levels[0][start:end]).all(1).argmax()] += 1
        y = np.eye(4)[[tree.levels[-1][0] for tree in trees]]
        found.append(np.einsum("nr,na->ra", n - n.mean(0), y - y.mean(0)) / 199)
    noise = np.var(found, axis=0, ddof=1).sum()
    signal = (np.mean(found, axis=0) ** 2).sum() - noise / len(found)
    assert 200 * noise / signal == pytest.approx(threshold, rel=0.15)


def test_one_level_of_ternary_rules_is_counted_by_hand():
    """L = 1: N_r is 0 or 1, and every rule has a root of its own: (1 / q - sum of squares) with q = p3 / (v m3)."""
    grammar = TreeGrammar.from_name("trees-v8-s2m2-s3m16-L1")
    p3, v, m3 = 0.5, 8, 16
    q = p3 / (v * m3)  # P(N_r = 1)
    own, other = q * (1 - 1 / v), q / v
    spread = v * m3 * (q * (1 - q)) * (1 - 1 / v)  # independent, to leading order
    signal = v * m3 * (own**2 + (v - 1) * other**2)
    assert theory.root_threshold(grammar) == pytest.approx(spread / signal, rel=0.02)
    assert theory.tree_sample_complexity(grammar.parameters) == v * m3 == pytest.approx(p3 * spread / signal, rel=0.02)


def test_the_published_formula():
    parameters = TreeParameters.from_fraction(16, 0.25, 3)
    assert theory.tree_sample_complexity(parameters) == 64 * 16 * 64 * 4**2
    with pytest.raises(ValueError, match="levels that differ"):
        theory.tree_sample_complexity(TreeParameters(4, [{2: 1, 3: 2}, {2: 2, 3: 2}], 2))
    with pytest.raises(ValueError, match="is of 2 and 3"):
        theory.tree_sample_complexity(TreeParameters(4, {2: 2}, 2))
    with pytest.raises(ValueError, match="arity=5"):
        theory.root_threshold(TreeGrammar.drawn_from(parameters), 5)


@pytest.mark.parametrize("vocab_size", [16, 24])
def test_the_formula_is_an_order_of_magnitude(vocab_size):
    for depth in range(1, 6):
        parameters = TreeParameters.from_fraction(vocab_size, 0.25, depth)
        ratio = theory.root_threshold(TreeGrammar.drawn_from(parameters)) / theory.tree_sample_complexity(parameters)
        assert 0.15 < ratio < 3.1


def test_rules_that_do_not_depend_on_the_root():
    rules = [[np.array([[[0, 1]], [[0, 1]]])], [np.array([[[0, 0]], [[1, 1]]])]]  # both roots write the same
    assert theory.root_threshold(TreeGrammar(rules)) == math.inf
