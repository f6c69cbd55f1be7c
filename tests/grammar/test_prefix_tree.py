import itertools

import numpy as np
import pytest

from rhm_hf.grammar.layered import prefix_tree
from rhm_hf.grammar.layered.prefix_tree import PrefixTree


RULES = np.array([[[0, 1, 2], [2, 2, 2], [0, 1, 0]], [[1, 0, 0], [0, 0, 0], [2, 2, 1]]])
PROBS = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])


@pytest.fixture(params=["tables", "keys"])
def tree(request, monkeypatch):
    if request.param == "keys":
        monkeypatch.setattr(prefix_tree, "DENSE_TABLE_LIMIT", 0)
    tree = PrefixTree(RULES, PROBS, 3)
    assert all((table is None) == (request.param == "keys") for table in tree.tables[1:])
    return tree


def test_every_tuple_is_found_or_refused(tree):
    tuples = np.array(list(itertools.product(range(3), repeat=3)))
    flat = {tuple(rule): k for k, rule in enumerate(RULES.reshape(-1, 3).tolist()) if PROBS.ravel()[k] > 0}
    expected = [flat.get(tuple(t), -1) for t in tuples.tolist()]
    assert tree.find(tuples).tolist() == expected
    assert tree.find(tuples.reshape(3, 9, 3)).shape == (3, 9)


def test_states_are_the_prefixes(tree):
    possible = RULES.reshape(-1, 3)[PROBS.ravel() > 0].tolist()
    for length in range(4):
        prefixes = sorted({tuple(rule[:length]) for rule in possible})
        assert len(tree.starts[length]) == len(prefixes) + 1
        for state, prefix in enumerate(prefixes):
            members = tree.sorted_rules[tree.starts[length][state] : tree.starts[length][state + 1]]
            assert {tuple(rule[:length]) for rule in members.tolist()} == {prefix}


def test_dead_states_stay_dead(tree):
    assert tree.step(2, np.array([-1, 0]), np.array([1, 2])).tolist()[0] == -1


def test_duplicates():
    assert PrefixTree(RULES, PROBS, 3).duplicate() is None
    twice = np.array([[[0, 1], [1, 1]], [[1, 1], [0, 0]]])
    assert sorted(PrefixTree(twice, np.full((2, 2), 0.5), 2).duplicate()) == [1, 2]
    assert PrefixTree(twice, np.array([[1.0, 0.0], [0.5, 0.5]]), 2).duplicate() is None  # an absent rule
