"""Displacements and exchanges of synonyms: what stays, what changes, and by which law."""

import numpy as np
import pytest
from exact_law import assert_uniform, chi_squared_z
from sparse_definition import small_sparse_grammar, zipf_base

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.sparse.sparse_changes import displace, replace_synonyms
from rhm_hf.grammar.sparse.sparse_grammar import SparseGrammar


GRAMMARS = {
    "A": SparseGrammar(Grammar.from_name("v8-m4-s2-L3", rules_seed=1), 2),
    "B": SparseGrammar(Grammar.from_name("v6-m5-s3-L2", rules_seed=1), 1, "B"),
    "zipf": SparseGrammar(zipf_base(6, 2, 3)),
}


def rules_of(base, levels, level):
    """The rule of every node of a level: `(num, nodes)`."""
    tree = base.prefix_tree(level)
    return tree.find(levels[level - 1].reshape(len(levels[0]), -1, tree.tuple_size).astype(np.int64)) % (
        tree.rules_per_symbol
    )


@pytest.mark.parametrize("name", GRAMMARS)
def test_displacements_redraw_one_level_of_placements(name):
    grammar = GRAMMARS[name]
    tokens = grammar.sample(4000, sampling="iid")
    for level in range(1, grammar.depth + 1):
        moved = displace(grammar, tokens, level, seed=level)
        assert moved.dtype == grammar.token_dtype
        assert (grammar.informative(moved) == grammar.informative(tokens)).all()
        before, after = grammar.placements(tokens), grammar.placements(moved)
        for other in range(1, grammar.depth + 1):
            if other != level:
                assert (before[other - 1] == after[other - 1]).all()
        count = grammar.placements_at(level).count
        assert_uniform(after[level - 1].ravel(), count)
        pairs = before[level - 1] * count + after[level - 1]
        assert_uniform(pairs.ravel(), count**2)  # independent of the old ones


@pytest.mark.parametrize("name", GRAMMARS)
def test_exchanges_replace_every_rule_of_a_level_and_nothing_else(name):
    grammar, base = GRAMMARS[name], GRAMMARS[name].base
    tokens = grammar.sample(3000, sampling="iid")
    old = base.parse(grammar.informative(tokens))
    for level in range(1, grammar.depth + 1):
        changed = replace_synonyms(grammar, tokens, level, seed=level)
        assert changed.dtype == grammar.token_dtype
        for before, after in zip(grammar.placements(tokens), grammar.placements(changed), strict=True):
            assert (before == after).all()
        new = base.parse(grammar.informative(changed))
        for above in range(level, grammar.depth + 1):
            assert (new[above] == old[above]).all()
        rules = rules_of(base, old, level), rules_of(base, new, level)
        assert (rules[0] != rules[1]).all()
        synonyms = base.rules_at(level).shape[1]
        if base.is_equiprobable:
            assert_uniform(((rules[1] - rules[0]) % synonyms - 1).ravel(), synonyms - 1)
        same = old[level - 1] == new[level - 1]  # a child that keeps its symbol keeps what is below it
        for below in range(level - 1):
            kept = np.repeat(same, new[below].shape[1] // same.shape[1], axis=1)
            assert (new[below] == old[below])[kept].all()
        if level > 1:  # below the others, rules are drawn by their probabilities
            drawn = rules_of(base, new, level - 1)[~same]
            expected = base.rule_probs_at(level - 1)[new[level - 1][~same].astype(np.int64)].sum(0)
            assert abs(chi_squared_z(np.bincount(drawn, minlength=len(expected)), expected)) < 4.5


def test_synonyms_are_drawn_by_their_probabilities():
    rules = np.arange(4).reshape(1, 4, 1)
    grammar = SparseGrammar(Grammar.from_rules([rules], [[[0.1, 0.2, 0.7, 0.0]]]), 1)
    tokens = grammar.sample(20000, sampling="iid")
    before, after = (grammar.informative(t)[:, 0] for t in (tokens, replace_synonyms(grammar, tokens, 1)))
    for old, law in ((0, [0, 2, 7, 0]), (1, [1, 0, 7, 0]), (2, [1, 2, 0, 0])):
        counts = np.bincount(after[before == old], minlength=4)
        assert abs(chi_squared_z(counts, counts.sum() * np.array(law) / sum(law))) < 4.5


@pytest.mark.parametrize("change", [displace, replace_synonyms])
def test_changes_are_a_function_of_the_seed_and_the_row(change):
    grammar = GRAMMARS["A"]
    tokens = grammar.sample(40)
    changed = change(grammar, tokens, 2, seed=5)
    assert (change(grammar, tokens, 2, seed=5) == changed).all()
    assert (change(grammar, tokens[:7], 2, seed=5) == changed[:7]).all()
    assert (change(grammar, tokens, 2, seed=6) != changed).any()
    assert change(grammar, tokens[:0], 2).shape == (0, grammar.sentence_length)


def test_a_symbol_without_synonyms_keeps_its_rule():
    rules = [[[0, 1], [1, 1]], [[1, 0], [0, 0]]]
    grammar = SparseGrammar(Grammar.from_rules([rules], [[[0.5, 0.5], [1, 0]]]))
    tokens = grammar.sample(50, sampling="iid")
    changed, root = replace_synonyms(grammar, tokens, 1), grammar.parse(tokens)[1][:, 0]
    assert (changed == tokens).all(1).tolist() == (root == 1).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g, t: displace(g, t, 0), "level=0 is out of range"),
        (lambda g, t: displace(g, t, 3), "level=3 is out of range"),
        (lambda g, t: displace(g, t, 1, seed=-1), "seed=-1 is out of range"),
        (lambda g, t: replace_synonyms(g, t, 3), "level=3 is out of range"),
        (lambda g, t: replace_synonyms(g, t[:, ::-1], 1), "is ungrammatical"),
        (lambda g, t: replace_synonyms(SparseGrammar(Grammar.from_name("v4-m1-s2-L1")), t, 1), "has no synonyms"),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(call, message):
    grammar = small_sparse_grammar("skewed A")
    with pytest.raises(ValueError, match=message):
        call(grammar, grammar.sample(5, sampling="iid"))
