import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from exact_law import enumerated_law
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar, GrammarParameters


def test_entropy_and_number_of_sentences_by_enumeration(small_grammar):
    law = np.array(list(enumerated_law(small_grammar).values()))
    assert law.sum() == pytest.approx(1, abs=1e-12)
    assert small_grammar.num_sentences == len(law)
    assert small_grammar.entropy == pytest.approx(-(law * np.log(law)).sum(), abs=1e-12)
    assert small_grammar.is_equiprobable == (np.ptp(law) < 1e-15)


def test_entropy_of_equiprobable_sentences_is_the_log_of_their_number():
    grammar = Grammar.from_name("v32-m8-s2-L10")
    assert grammar.entropy == pytest.approx(math.log(grammar.num_sentences), rel=1e-13)


def test_levels_count_from_the_leaves():
    grammar = skewed_grammar()
    assert (grammar.depth, grammar.num_classes, grammar.vocab_size, grammar.sentence_length) == (2, 3, 3, 6)
    assert [grammar.num_symbols_at(level) for level in range(3)] == [3, 4, 3]
    assert [grammar.tuple_size_at(level) for level in (1, 2)] == [2, 3]
    assert [grammar.block_length(level) for level in range(3)] == [1, 2, 6]
    assert [grammar.num_nodes_at(level) for level in range(3)] == [6, 3, 1]
    assert grammar.rules_at(1) is grammar.rules[1]
    assert grammar.rule_probs_at(2) is grammar.rule_probs[0]


@pytest.mark.parametrize(
    ("method", "levels"),
    [
        ("rules_at", (0, 3)),
        ("rule_probs_at", (0, 3)),
        ("num_symbols_at", (-1, 3)),
        ("tuple_size_at", (0, 3)),
        ("block_length", (-1, 3)),
        ("num_nodes_at", (-1, 3)),
        ("prefix_tree", (0, 3)),
    ],
)
def test_levels_out_of_range(method, levels):
    for level in levels:
        with pytest.raises(ValueError, match=f"level={level} is out of range"):
            getattr(skewed_grammar(), method)(level)


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")])
def test_token_dtype(size, dtype):
    assert Grammar.from_rules([[[[0, size - 1]]]]).token_dtype == dtype


def test_grammars_are_immutable_and_compare_by_content():
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    with pytest.raises(ValueError, match="read-only"):
        grammar.rules[0][0, 0, 0] = 1
    same = Grammar.from_rules(grammar.rules, vocab_size=4)
    assert same == grammar
    assert hash(same) == hash(grammar)
    assert same.name != grammar.name
    assert grammar != Grammar.from_name("v4-m2-s2-L2", rules_seed=2)
    assert grammar != "v4-m2-s2-L2"
    assert Grammar.from_parameters(GrammarParameters(4, 2, 2, 2, rules_seed=1)) == grammar


def test_pickles_and_copies_are_equal_and_small(small_grammar):
    small_grammar.sample(10, sampling="iid")  # builds tables that need no copy
    for again in (pickle.loads(pickle.dumps(small_grammar)), copy.deepcopy(small_grammar)):
        assert again == small_grammar
        assert again.parameters == small_grammar.parameters
        assert "sampling_plan" not in vars(again)


def test_repr():
    assert repr(Grammar.from_name("v4-m2-s2-L2", 1)) == "Grammar('v4-m2-s2-L2', rules_seed=1, sentence_length=4)"
    assert repr(skewed_grammar()).startswith("Grammar('custom-")


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, rhm_hf; assert not {'numpy', 'numba', 'torch'} & set(sys.modules)\n"
        "import rhm_hf.grammar; assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
