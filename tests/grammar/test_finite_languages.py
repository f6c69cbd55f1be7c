"""The number of sentences of finite languages: against lists of all of them, and where no list could be made."""

import itertools
import math

import numpy as np
import pytest
from pcfg_brute_force import TEXTS

from rhm_hf.cards import grammar_facts
from rhm_hf.grammar import Grammar, enumerate_sentences
from rhm_hf.grammar.pcfg import PCFG, finite_languages
from rhm_hf.grammar.pcfg.finite_languages import count_sentences
from rhm_hf.inference import log_prob


FINITE = {
    "finite": TEXTS["finite"],
    "ambiguous": "S -> A A A | B A\nA -> x | y | x y | A2\nA2 -> x | B\nB -> y y | x",
    "empty": "S -> E A E B | A\nA -> x | [0.5]\nB -> x x | E\nE -> [0.5] | y".replace(
        "x | [0.5]", "x [0.5] | [0.5]"
    ).replace("E -> [0.5] | y", "E -> [0.5] | y [0.5]"),
    "loops": "S -> S [0.1] | E S [0.2] | a [0.3] | T b [0.4]\nT -> S [0.5] | a [0.5]\nE -> [0.9] | E E [0.1]",
}


def written(grammar, depth=12) -> set:
    """All sentences, by replacing symbols with sets of what they write, over and over."""
    r, v = grammar.rules, grammar.vocab_size
    language = [set() for _ in range(r.num_symbols)]
    for _ in range(depth):
        found = [set() for _ in language]
        for left, right in zip(r.lefts.tolist(), r.right_sides, strict=True):
            parts = [{(code,)} if code < v else language[code - v] for code in right]
            found[left] |= {sum(chosen, ()) for chosen in itertools.product(*parts)}
        if found == language:
            return language[0]
        language = found
    raise AssertionError("not finite, or too deep")


@pytest.mark.parametrize("name", [n for n in FINITE if n != "loops"])
def test_small_languages(name):
    grammar = PCFG.from_text(FINITE[name])
    assert count_sentences(grammar.rules) == grammar.num_sentences == len(written(grammar))


def test_symbols_that_contain_themselves_but_write_no_more():
    """S -> T b is refused as a loop that grows; alone, loops of units and of what is empty add nothing."""
    assert PCFG.from_text(FINITE["loops"]).max_length is None
    assert PCFG.from_text(FINITE["loops"]).num_sentences == math.inf
    grammar = PCFG.from_text(
        "S -> S [0.1] | E S E [0.2] | T [0.3] | a b [0.4]\nT -> S [0.5] | a [0.5]\nE -> [0.9] | E E [0.1]"
    )
    assert count_sentences(grammar.rules) == grammar.num_sentences == len(written(grammar)) == 2


@pytest.mark.parametrize("name", ["pcfg-v2-m2-s2.3-L2", "pcfg-v3-m2-s2.3-L2", "pcfg-v2-m2-s2.3-L3"])
def test_drawn_grammars(name):
    grammar = Grammar.from_name(name)
    assert count_sentences(grammar.rules) == len(written(grammar)) <= grammar.num_derivations


def test_numbers_that_no_list_could_have():
    words = "S -> " + " ".join(["W"] * 100) + "\nW -> a | b | a b\n"
    grammar = PCFG.from_text(words)
    # Strings of a and b that split into 100 words, by dynamic programming over (words with the longest split, length).
    assert grammar.num_sentences < grammar.num_derivations == 3**100
    sums = {}  # of the sets of numbers of words that the prefix may have, and whether `a` may still become `a b`
    sums[frozenset([0]), frozenset()] = 1
    total = 0
    for _ in range(200):
        following = {}
        for (full, half), count in sums.items():  # full: words so far; half: words so far, the last one an a
            total += count * (100 in full)
            a = frozenset(k + 1 for k in full if k < 100)
            b = a | half
            for new in ((a, a), (b, frozenset())):
                if new[0]:
                    following[new] = following.get(new, 0) + count
        sums = following
    total += sum(count for (full, _), count in sums.items() if 100 in full)
    assert grammar.num_sentences == total > 2**100


def test_more_than_were_listed_before_are_counted_and_listed():
    grammar = PCFG.from_text("S -> " + " ".join(["B"] * 15) + "\nB -> x [0.9] | y [0.1]")
    assert grammar.num_sentences == grammar.num_derivations == 2**15
    tokens, probs = enumerate_sentences(grammar)
    assert len(np.unique(tokens, axis=0)) == 2**15
    assert probs.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(log_prob(grammar, tokens[:50]), np.log(probs[:50]), rtol=1e-12)


def test_what_is_infinite_and_what_is_unknown(monkeypatch):
    infinite, seven_levels = Grammar.from_name("pcfg-dyck2"), Grammar.from_name("pcfg-v3-m2-s2.3-L6")
    assert infinite.num_sentences == math.inf
    assert infinite.max_length is None
    assert grammar_facts(infinite)["distinct sentences P_max"] == "infinitely many"
    assert 2**100 < seven_levels.num_sentences == seven_levels.num_derivations  # it is not ambiguous
    monkeypatch.setattr(finite_languages, "STACKS_LIMIT", 100)
    unknown = Grammar.from_name("pcfg-v3-m2-s2.3-L6")
    assert unknown.num_sentences == math.inf
    assert unknown.max_length == 3**6
    assert grammar_facts(unknown)["distinct sentences P_max"] == "too many to count"
