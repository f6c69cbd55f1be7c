"""How many derivations a sentence has: over all sentences they sum to those of the grammar, for every family."""

import numpy as np
import pytest
import torch

from rhm_hf.grammar import AmbiguousGrammar, Factors, Grammar, NotSupported, RuleList, enumerate_sentences
from rhm_hf.inference import num_derivations


NAMES = [
    *(
        "v3-m2-s2-L2",
        "v3-m2-s2-L2-zipf1.0",
        "layered-c2-v3.4-m2.1-s2.3",
        "v2-m2-s2-L1-sparse1",
        "v2-m2-s2-L1-sparse1b",
    ),
    *("v3-m2-s2-L2-cut0", "v3-m2-s2-L2-cut1", "v3-m2-s2-L3-cut1", "hmm-v3-h2-m2-d4-p0.5", "ising-rho0.8-s2-L2"),
    *("colouring-q3-s2-L2", "ambiguous-v3-m2-s2-L2", "trees-v3-s2m2-s3m2-L2", "pcfg-v2-m2-s2.3-L2"),
]


@pytest.mark.parametrize("name", NAMES)
def test_all_sentences_together_have_those_of_the_grammar(name):
    source = Grammar.from_name(name, rules_seed=0 if "pcfg" in name else 1)
    tokens, _ = enumerate_sentences(source)
    found = num_derivations(source, tokens)
    assert all(isinstance(number, int) and number >= 1 for number in found)
    assert sum(found) == source.num_derivations
    if name.startswith(("v3-m2-s2-L2-zipf", "layered", "v2")):
        assert set(found) == {1}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_sentence_has_none(name):
    source = Grammar.from_name(name, rules_seed=0 if "pcfg" in name else 1)
    tokens, _ = enumerate_sentences(source)
    known = set(map(tuple, tokens[:, : tokens.shape[1]].tolist()))
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, source.vocab_size, (30, tokens.shape[1]))
    found = num_derivations(source, drawn)
    assert [number > 0 for number in found] == [tuple(row) in known for row in drawn.tolist()]


def test_numbers_beyond_any_float():
    """All children independent and possible: v^(hidden nodes) derivations of every sentence."""
    source = AmbiguousGrammar([Factors(np.full((2, 3, 3), 1 / 3))] * 10, vocab_size=3)
    assert num_derivations(source, source.sample(1)) == [3**1023]
    both = RuleList([[[0, 1], [1, 1]], [[0, 1], [1, 0]]])
    assert num_derivations(AmbiguousGrammar([both], vocab_size=2), [[0, 1], [1, 1], [1, 0], [0, 0]]) == [2, 1, 1, 0]
    chain = Grammar.from_name("hmm-v4-h3-m4-d500-p0.5")
    row = torch.from_numpy(chain.sample(1).astype(np.int64))
    number = num_derivations(chain, row)[0]
    assert number > 2**200


def test_a_family_that_does_not_say_it():
    import palindromes  # noqa: F401  registers the family

    source = Grammar.from_name("palindromes-v3-h2")
    with pytest.raises(NotSupported, match="the number of derivations"):
        num_derivations(source, [[0, 0]])
