"""Log probabilities of general grammars against nltk's inside parser, another implementation."""

import math

import pytest

from rhm_hf.grammar.pcfg import PCFG
from rhm_hf.grammar.pcfg.parameters import gallery


@pytest.fixture(scope="module")
def nltk():
    """Imported by its tests alone: that takes a second of every worker that collects them."""
    return pytest.importorskip("nltk", reason="nltk is in the extra `test`")


@pytest.mark.parametrize("title", ["dyck2", "palindromes", "toy_english", "arithmetic"])
def test_log_probs_against_nltk(nltk, title):
    """nltk finds all derivations of a sentence; their probabilities sum to that of the sentence."""
    grammar = PCFG.from_name(f"pcfg-{title}")
    theirs = nltk.PCFG.fromstring(grammar.to_text().splitlines())
    parser = nltk.parse.pchart.InsideChartParser(theirs)
    rows = {tuple(row[row < grammar.vocab_size].tolist()) for row in grammar.sample(60, seed=1)}
    rows = sorted((row for row in rows if len(row) <= 8), key=lambda row: (-len(row), row))[:6]
    logs = grammar.laws.log_prob(rows)
    numbers = grammar.laws.num_derivations(rows)
    for row, log, number in zip(rows, logs.tolist(), numbers, strict=True):
        probs = [tree.prob() for tree in parser.parse([grammar.terminals[x] for x in row])]
        assert len(probs) == number
        assert log == pytest.approx(math.log(math.fsum(probs)), abs=1e-10)


def test_the_form_of_nltk_is_read_like_nltk_does(nltk):
    """The gallery's files are nltk's form too, quotes included."""
    for title, text in gallery().items():
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        theirs = {
            (str(p.lhs()), tuple(map(str, p.rhs()))): p.prob()
            for p in nltk.PCFG.fromstring(filled(lines)).productions()
        }
        ours = PCFG.from_text(text).rules
        v = ours.vocab_size
        names = [*ours.terminals, *ours.symbols]
        found = {
            (ours.symbols[left], tuple(names[c] for c in right)): p
            for left, right, p in zip(ours.lefts.tolist(), ours.right_sides, ours.probs.tolist(), strict=True)
        }
        assert v == len(ours.terminals)
        assert found.keys() == theirs.keys(), title
        assert all(found[rule] == pytest.approx(p, abs=1e-12) for rule, p in theirs.items())


def filled(lines):
    """nltk asks for probabilities everywhere: equal ones where none are written."""
    for line in lines:
        left, right = line.split(" -> ")
        parts = right.split(" | ")
        yield line if "[0." in line else f"{left} -> " + " | ".join(f"{part} [{1 / len(parts)!r}]" for part in parts)
