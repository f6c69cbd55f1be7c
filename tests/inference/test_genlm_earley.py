"""Next-token laws with END against genlm-grammar's Earley language model, another implementation."""

import numpy as np
import pytest

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.general_form import general_form
from rhm_hf.inference import prefix_probs


pytest.importorskip("genlm.grammar", reason="genlm-grammar is in the extra `benchmark`")

from benchmarks.general_grammars import earley_of
from benchmarks.layered_trees import earley_of as earley_of_trees


TEXTS = {
    "units and empty rules": """
        S -> A S [0.2] | B [0.5] | [0.3]
        A -> B [0.4] | x [0.6]
        B -> A y [0.3] | y [0.4] | [0.3]
    """,
    "left recursion": "S -> S S [0.2] | S x [0.2] | y [0.6]",
}


def agree(grammar, theirs, rows):
    """Their tolerance is 1e-11 or so where a grammar has loops, of which they sum finitely many rounds."""
    laws, valid = prefix_probs(grammar, rows)
    for row, law, possible in zip(rows, laws, valid, strict=True):
        for i in range(len(row) + 1):
            assert possible[i]
            their = theirs.p_next(tuple(f"t{x}" for x in row[:i]))
            outcomes = [*(f"t{k}" for k in range(grammar.vocab_size)), theirs.eos]
            np.testing.assert_allclose(law[i], [their[outcome] for outcome in outcomes], rtol=0, atol=1e-8)


def few(grammar, num=3, longest=12):
    tokens, lengths = grammar.sample(60, seed=2, return_lengths=True)
    return [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True) if n <= longest][:num]


@pytest.mark.parametrize("name", ["pcfg-dyck2", "pcfg-arithmetic", "pcfg-palindromes", "pcfg-toy_english", *TEXTS])
def test_general_grammars(name):
    grammar = Grammar.from_text(TEXTS[name]) if name in TEXTS else Grammar.from_name(name)
    agree(grammar, earley_of(grammar), few(grammar))


@pytest.mark.parametrize("name", ["trees-v4-s2m2-s3m3-L2", "trees-v3-s1m1-s2m2-s3m1-L2"])
def test_trees(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    agree(grammar, earley_of_trees(grammar), few(grammar))


@pytest.mark.parametrize("name", ["v3-m2-s2-L2", "ambiguous-v3-m2-s2-L2", "v2-m2-s2-L1-sparse1"])
def test_fixed_trees(name):
    """By their general form, whose END is certain after the last token."""
    source = Grammar.from_name(name, rules_seed=1)
    form, tokens = general_form(source, "a test"), source.sample(3, sampling="iid").astype(int)
    agree(form.grammar, earley_of(form.grammar), form.token_ids[tokens].tolist())
