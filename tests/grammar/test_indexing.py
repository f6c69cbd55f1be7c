import numpy as np
import pytest
from exact_law import enumerated_law

from rhm_hf.grammar import Grammar


def test_sentence_and_index_are_inverse_and_complete(small_grammar):
    law = enumerated_law(small_grammar)
    assert small_grammar.num_sentences == len(law)
    sentences = [small_grammar.sentence(i) for i in range(len(law))]
    assert {tuple(s.tolist()) for s in sentences} == set(law)
    assert [small_grammar.index(s) for s in sentences] == list(range(len(law)))
    assert {s.dtype for s in sentences} == {small_grammar.token_dtype}


@pytest.mark.parametrize("name", ["v32-m8-s2-L10", "v64-m8-s4-L4", "v300-m2-s3-L3", "v70000-m3-s2-L2"])
def test_indices_of_any_size(name):
    grammar = Grammar.from_name(name)
    assert grammar.num_sentences == grammar.parameters.num_sentences
    for index in (0, 1, grammar.num_sentences // 3, grammar.num_sentences - 1):
        assert grammar.index(grammar.sentence(index)) == index


def test_depth_first_order():
    # Index = ((class x m + root rule) x m + rule of child 1) x m + rule of child 2
    grammar = Grammar.from_name("v4-m3-s2-L2", rules_seed=4)
    for index in (0, 17, grammar.num_sentences - 1):
        klass, root, left, right = np.unravel_index(index, (4, 3, 3, 3))
        children = grammar.rules[0][klass, root]
        expected = [*grammar.rules[1][children[0], left], *grammar.rules[1][children[1], right]]
        assert grammar.sentence(index).tolist() == expected


@pytest.mark.parametrize("index", [-1, 32, 2**70, 1.0, "3", None, True])
def test_indices_that_do_not_exist(index):
    with pytest.raises(ValueError, match="index="):
        Grammar.from_name("v4-m2-s2-L2").sentence(index)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([0, 1, 2], r"tokens has shape \(3,\)"),
        ([[0, 1, 2, 3]], r"tokens has shape \(1, 4\)"),
        ([0, 1, 2, 4], "must be integers from 0 to 3"),
        ([0, 1, 2, -1], "must be integers from 0 to 3"),
        ([0.0, 1, 2, 3], "must be integers from 0 to 3"),
    ],
)
def test_tokens_that_are_no_sentence(tokens, message):
    with pytest.raises(ValueError, match=message):
        Grammar.from_name("v4-m2-s2-L2").index(tokens)


def test_ungrammatical_sentences_name_the_level():
    grammar = Grammar.from_rules([[[[0, 1]], [[1, 0]]], [[[0, 0]], [[1, 1]]]], root_probs=[1, 0])
    assert grammar.index([0, 0, 1, 1]) == 0
    with pytest.raises(ValueError, match="ungrammatical: at level 1"):
        grammar.index([0, 1, 1, 1])
    with pytest.raises(ValueError, match="ungrammatical: at level 2"):
        grammar.index([0, 0, 0, 0])
    with pytest.raises(ValueError, match="its root symbol 1 has probability 0"):
        grammar.index([1, 1, 0, 0])
