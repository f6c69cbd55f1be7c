import numpy as np
import pytest

from rhm_hf.grammar import Grammar


ROOT = [[[0, 1], [1, 0]], [[0, 0], [1, 1]]]
LOW = [[[0, 2], [1, 1]], [[2, 0], [2, 2]]]


def test_defaults_are_uniform_and_the_vocabulary_is_found():
    grammar = Grammar.from_rules([np.array(ROOT), np.array(LOW)])
    assert grammar.vocab_size == 3
    assert grammar.is_equiprobable
    assert grammar.root_probs.tolist() == [0.5, 0.5]
    assert grammar.parameters is None
    assert grammar.name.startswith("custom-")
    assert Grammar.from_rules([ROOT, LOW]) == grammar  # plain lists


def test_a_larger_vocabulary_is_kept():
    assert Grammar.from_rules([ROOT, LOW], vocab_size=5).num_symbols_at(0) == 5


def test_laws_are_divided_by_their_sums_within_the_tolerance():
    grammar = Grammar.from_rules([ROOT], root_probs=[0.3, 0.7 + 5e-7])
    assert grammar.root_probs.sum() == pytest.approx(1, abs=1e-15)


def test_a_rule_of_probability_zero_may_repeat_a_tuple():
    rules = [[[0, 1], [0, 0]], [[0, 0], [1, 1]]]
    grammar = Grammar.from_rules([rules], rule_probs=[[[1, 0], [0.5, 0.5]]])
    assert grammar.num_sentences == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rules": []}, r"rules=\[\] is empty"),
        ({"rules": np.array(ROOT)}, r"rules must be a list of arrays.*write \[rules\]"),
        ({"rules": [[[0, 1], [1, 0]]]}, r"rules\[0\] has shape \(2, 2\)"),
        ({"rules": [np.zeros((2, 0, 2), dtype=int)]}, r"rules\[0\] has shape \(2, 0, 2\)"),
        ({"rules": [[[[0, 1]], [[1, 0], [1, 1]]]]}, r"rules\[0\] is ragged"),
        ({"rules": [np.array(ROOT, dtype=float)]}, r"rules\[0\] has dtype float64"),
        ({"rules": [np.array(ROOT) - 1]}, r"rules\[0\] holds the symbol -1, out of range"),
        ({"rules": [np.array(ROOT) + 1, LOW]}, r"rules\[0\] holds the symbol 2.*rules\[1\] expands 2 symbols"),
        ({"rules": [ROOT, LOW], "vocab_size": 2}, r"rules\[1\] holds the symbol 2, out of range: vocab_size=2"),
        ({"rules": [ROOT], "vocab_size": 0}, "vocab_size=0 is out of range"),
        ({"rules": [ROOT], "vocab_size": 2.5}, r"vocab_size=2\.5 is not an integer"),
        ({"rules": [ROOT], "rule_probs": []}, "rule_probs has 0 entries but rules has 1"),
        (
            {"rules": [ROOT], "rule_probs": [[0.5, 0.5]]},
            r"rule_probs\[0\] has shape \(2,\): the rules ask for \(2, 2\)",
        ),
        ({"rules": [ROOT], "rule_probs": [[[0.5, 0.6], [1, 0]]]}, r"rule_probs\[0\] sums to 1\.1 instead of 1"),
        ({"rules": [ROOT], "rule_probs": [[[1.5, -0.5], [1, 0]]]}, r"rule_probs\[0\] holds -0\.5"),
        ({"rules": [ROOT], "rule_probs": [[[np.nan, 1], [1, 0]]]}, r"rule_probs\[0\] holds nan"),
        ({"rules": [ROOT], "root_probs": [np.inf, 0]}, "root_probs holds inf"),
        ({"rules": [ROOT], "root_probs": [1.0]}, r"root_probs has shape \(1,\)"),
        ({"rules": [ROOT], "root_probs": [0, 0]}, "root_probs sums to 0 instead of 1"),
        ({"rules": [[[[0, 1], [1, 1]], [[0, 0], [0, 1]]]]}, r"rules\[0\] \(level 1\) is ambiguous: rule .*\[0, 1\]"),
        (
            {"rules": [ROOT, [[[0, 1], [1, 1]], [[1, 1], [0, 0]]]]},
            r"rules\[1\] \(level 1\) is ambiguous: rule 1 of symbol 0 and rule 0 of symbol 1 are both \[1, 1\]",
        ),
    ],
)
def test_bad_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grammar.from_rules(**arguments)
