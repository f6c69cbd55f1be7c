"""Zipf rules: the same rules with other probabilities. Their exact laws are tested through `small_grammar`."""

import numpy as np
import pytest
from datasets import load_dataset

import rhm_hf
from rhm_hf import Grammar, theory
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import plateau
from rhm_hf.statistics.exact import exact_correlation


NAME = "v4-m3-s2-L2-zipf0.7@1"


def test_rules_are_those_of_the_uniform_grammar():
    """Only the probabilities differ, and at the named level only, so that learning curves can be compared."""
    zipf, uniform = Grammar.from_name(NAME, 1), Grammar.from_name("v4-m3-s2-L2", 1)
    assert all(map(np.array_equal, zipf.rules, uniform.rules))
    assert np.array_equal(zipf.rule_probs_at(2), uniform.rule_probs_at(2))
    assert (zipf.rule_probs_at(1) == zipf.parameters.rule_law(1)).all()
    assert zipf.num_sentences == uniform.num_sentences == 108


def test_entropy_is_that_of_all_sentences():
    for name in (NAME, "v3-m2-s2-L3-zipf1.5"):
        grammar = Grammar.from_name(name)
        _, probs = enumerate_sentences(grammar)
        assert probs.sum() == pytest.approx(1, abs=1e-12)
        assert grammar.entropy == pytest.approx(-(probs * np.log(probs)).sum(), rel=1e-13)


def test_datasets_by_name_and_by_keywords(tmp_path):
    """Unique sampling would follow another law, and is refused; disjoint splits are the remedy."""
    sizes = {"train_size": 50, "validation_size": 5, "test_size": 50, "cache_dir": str(tmp_path)}
    named = load_dataset("rhm", NAME, disjoint=True, **sizes)
    assert rhm_hf.grammar_of(named) == Grammar.from_name(NAME)
    parts = [{tuple(row) for row in split["input_ids"]} for split in named.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) > 40
    keywords = {"vocab_size": 4, "num_synonyms": 3, "tuple_size": 2, "depth": 2, "zipf_exponent": 0.7}
    same = load_dataset("rhm", **keywords, zipf_level=1, disjoint=True, **sizes)
    assert same["train"]["input_ids"] == named["train"]["input_ids"]
    with pytest.raises(ValueError, match=r"'unique' is impossible for v4-m3-s2-L2-zipf0\.7@1.*disjoint=True"):
        load_dataset("rhm", NAME, sampling="unique", **sizes)
    with pytest.raises(ValueError, match=r"zipf_exponent=1\.0 contradicts name='v4-m3-s2-L2'"):
        load_dataset("rhm", "v4-m3-s2-L2", zipf_exponent=1.0, **sizes)


@pytest.mark.parametrize("name", ["v16-m4-s2-L2-zipf1.0", "v16-m4-s2-L2-zipf1.0@1", "v16-m4-s2-L2-zipf1.0@2"])
def test_correlations_of_the_ensemble_follow_the_formula_of_rule_laws(name):
    """<C^2> = (q_l - v^(1-s)) / v^3 prod q_j^2, within what finite v does to it."""
    grammars = [Grammar.from_name(name, rules_seed=seed) for seed in range(40)]
    squares = np.mean([exact_correlation(grammar, [1, 3]) ** 2 for grammar in grammars], axis=0)
    p = grammars[0].parameters
    norms = [float((p.rule_law(level) ** 2).sum()) for level in (1, 2)]
    expected = [theory.correlation_of_rule_laws(p, norms[:level]) for level in (1, 2)]
    assert [theory.token_correlation(p, level) for level in (1, 2)] == pytest.approx(expected)
    np.testing.assert_allclose(squares, np.square(expected), rtol=0.4)


def test_the_law_of_the_leaf_level_moves_no_plateau_above_it():
    """L_ℓ - L_inf, a mean over positions, is about symbols of level 1 alone for ℓ >= 1: H(rules | symbols) adds the
    same to every plateau. The exponent of next-token learning rests on this and on amplitudes common to all levels."""
    grammars = [Grammar.from_name(f"v8-m3-s2-L3{law}", 2) for law in ("", "-zipf1.0@1", "-zipf0.3@1")]
    uniform, *others = ([plateau(grammar, level) - plateau(grammar, 3) for level in range(3)] for grammar in grammars)
    for zipf in others:
        assert zipf[1:] == pytest.approx(uniform[1:], abs=1e-12)
        assert abs(zipf[0] - uniform[0]) > 1e-3
