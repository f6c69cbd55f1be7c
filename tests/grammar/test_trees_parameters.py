"""Names, parameters and random rules of trees of every shape."""

import numpy as np
import pytest

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.registry import from_parameters, parameters_from_dict, parameters_from_name
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar
from rhm_hf.grammar.trees.tree_parameters import TreeParameters


NAMES = [
    "trees-v16-s2m4-s3m64-L3",
    "trees-v16-s2m4p0.3-s3m64p0.7-L3",
    "trees-v8-s2m2@2-s2m2p1e-05@1-s3m8p0.99999@1-L2-c3",
    "trees-v4-s1m1-s2m2-s4m3-L5",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_and_dictionaries_are_read_back(name):
    parameters = parameters_from_name(name, rules_seed=7)
    assert parameters.name == name
    assert parameters_from_dict(parameters.to_dict()) == parameters
    assert hash(parameters) == hash(TreeParameters.from_name(name, 7))


def test_plain_parts_stand_for_the_levels_without_their_own():
    mixed = TreeParameters.from_name("trees-v8-s2m2-s3m1@1-L3")
    assert mixed.num_rules == (((2, 2),), ((2, 2),), ((3, 1),))
    assert mixed.name == "trees-v8-s2m2@3-s2m2@2-s3m1@1-L3"
    assert TreeParameters.from_name(mixed.name) == mixed


def test_the_papers_ensemble_by_its_fraction():
    paper = TreeParameters.from_fraction(16, 0.25, 3)
    assert paper.name == "trees-v16-s2m4-s3m64-L3"
    assert paper == TreeParameters.from_name("trees-v16-f0.25-L3")
    assert paper.mean_length == 2.5**3
    assert paper.max_length == 27


def test_forms_of_the_same_parameters():
    by_mapping = TreeParameters(16, {2: 4, 3: 64}, 2, {2: 0.25, 3: 0.75})
    assert by_mapping == TreeParameters(16, {"3": 64, "2": 4}, 2, [0.25, 0.75])
    assert by_mapping == TreeParameters(16, [{2: 4, 3: 64}, [(2, 4), (3, 64)]], 2, [{2: 0.25, 3: 0.75}] * 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((4, {2: 5}, 1), "num_rules=5 of arity 2 are too many"),
        ((4, {2: 1}, 0), "depth=0"),
        ((4, {}, 2), "is empty"),
        ((4, [{2: 1}], 2), "one for each of the depth=2 levels"),
        ((4, {2: 1, 3: 1}, 2, {2: 0.5, 3: 0.6}), "instead of 1"),
        ((4, {2: 1, 3: 1}, 2, {2: 1.0}), "one probability for each arity"),
        ((4, {2: 1, 3: 1}, 2, [1.0]), "one probability for each arity"),
        ((4, "s2m1", 2), "not understood"),
        ((4, {0: 1}, 2), "the arity"),
        ((2, {64: 1}, 6), "2\\^31 tokens"),
    ],
)
def test_what_is_wrong_is_said(arguments, said):
    with pytest.raises(ValueError, match=said):
        TreeParameters(*arguments)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trees-v4-L2", "not the short name of trees"),
        ("trees-v4-s2-L2", "which is not understood"),
        ("trees-v4-s2m1@3-L2", "levels are 1 to L=2"),
        ("trees-v4-s2m1@2-L2", "no rules for level 1"),
        ("trees-v4-s2m1p0.5-s3m1-L2", "give all or none"),
        ("trees-v5-f0.25-L2", "whole number"),
    ],
)
def test_names_that_are_none(name, said):
    with pytest.raises(ValueError, match=said):
        TreeParameters.from_name(name)


def test_rules_are_unambiguous_within_each_arity_and_level():
    grammar = from_parameters(TreeParameters.from_name("trees-v6-s2m5-s3m30-L3"))
    for level in (1, 2, 3):
        for rules, count in zip(grammar.rules_at(level), (30, 180), strict=True):
            assert len(np.unique(rules.reshape(-1, rules.shape[2]), axis=0)) == count
    again = from_parameters(TreeParameters.from_name("trees-v6-s2m5-s3m30-L3"))
    assert again == grammar
    assert TreeGrammar.from_name("trees-v6-s2m5-s3m30-L3", rules_seed=1) != grammar


def test_one_arity_has_the_rules_of_the_rhm():
    trees, rhm = TreeGrammar.from_name("trees-v8-s3m4-L3", 5), Grammar.from_name("v8-m4-s3-L3", 5)
    for level in (1, 2, 3):
        assert np.array_equal(trees.rules_at(level)[0], rhm.rules_at(level))


def test_tuples_are_drawn_uniformly():
    counts = np.zeros((2, 3, 3))
    for seed in range(2000):
        rules = TreeGrammar.from_name("trees-v3-s2m1-s3m2-L1-c2", seed).rules_at(1)[0]
        np.add.at(counts, (np.arange(2), rules[:, 0, 0], rules[:, 0, 1]), 1)
    expected = 2000 / 9
    assert ((counts - expected) ** 2 / expected).sum((1, 2)).max() < 26  # chi-squared with 8 degrees: 0.001
