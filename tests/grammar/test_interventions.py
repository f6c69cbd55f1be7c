"""Interventions on derivations: exact laws by enumeration, what stays untouched, grammaticality, bad input."""

import itertools
import math

import numpy as np
import pytest
from exact_law import chi_squared_z, enumerated_law
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar, exchange_synonyms, redraw_rule, replace_symbol


NUM = 6000


def subtree_law(grammar, symbol, level):
    """Every token block below a symbol with its probability, from the definition."""
    if level == 0:
        return {(symbol,): 1.0}
    law = {}
    for rule, p in zip(grammar.rules_at(level)[symbol], grammar.rule_probs_at(level)[symbol], strict=True):
        if p > 0:
            law |= {tokens: p * q for tokens, q in children_law(grammar, rule, level - 1).items()}
    return law


def children_law(grammar, symbols, level):
    """The same below several symbols, independently."""
    parts = [subtree_law(grammar, int(symbol), level).items() for symbol in symbols]
    return {
        tuple(itertools.chain(*(block for block, _ in choice))): math.prod(p for _, p in choice)
        for choice in itertools.product(*parts)
    }


def assert_law(rows, law):
    """Drawn rows follow a law `{tuple: weight}`, normalised here."""
    cells = {key: i for i, key in enumerate(law)}
    counts = np.zeros(len(cells))
    for key in map(tuple, np.asarray(rows).tolist()):
        assert key in cells, f"{key} is impossible"
        counts[cells[key]] += 1
    weights = np.array(list(law.values()))
    assert abs(chi_squared_z(counts, len(rows) * weights / weights.sum())) < 4.5


def copies(grammar, index=0, num=NUM):
    """The derivation of one sentence, many times."""
    sentence = grammar.sample(index + 1, seed=5, sampling="iid")[index]
    return grammar.parse(np.tile(sentence, (num, 1)))


def block(grammar, level, node):
    length = grammar.block_length(level)
    return slice(node * length, (node + 1) * length)


def assert_untouched(grammar, old, new, level, node):
    """Everything is as before but the node's subtree (level and below) and its ancestors."""
    for height, (before, after) in enumerate(zip(old, new, strict=True)):
        if height <= level:
            width = grammar.block_length(level) // grammar.block_length(height)
            keep = np.ones(before.shape[1], bool)
            keep[node * width : (node + 1) * width] = False
        else:
            keep = np.arange(before.shape[1]) != node * grammar.block_length(level) // grammar.block_length(height)
        assert np.array_equal(before[:, keep], after[:, keep])
        assert before.dtype == after.dtype


@pytest.mark.parametrize("level", [1, 2])
def test_exchange_follows_the_law_given_the_symbols_of_the_level(small_grammar, level):
    old = copies(small_grammar)
    new = exchange_synonyms(small_grammar, old, level, seed=3)
    law = children_law(small_grammar, old[level][0], level)
    assert_law(new[0], law)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    for height, parsed in enumerate(small_grammar.parse(new[0])):
        assert np.array_equal(parsed, new[height])
        assert parsed.dtype == new[height].dtype
        if height >= level:
            assert np.array_equal(new[height], old[height])


@pytest.mark.parametrize(("level", "node"), [(1, 1), (2, 0)])
def test_redrawn_rule_is_another_one_of_the_same_symbol(small_grammar, level, node):
    old = copies(small_grammar)
    new = redraw_rule(small_grammar, old, level, node, seed=3)
    size, symbol = small_grammar.tuple_size_at(level), old[level][0, node]
    present = old[level - 1][0, node * size : (node + 1) * size]
    law = {}
    for rule, p in zip(small_grammar.rules_at(level)[symbol], small_grammar.rule_probs_at(level)[symbol], strict=True):
        if p > 0 and not np.array_equal(rule, present):
            law |= {t: p * q for t, q in children_law(small_grammar, rule, level - 1).items()}
    assert_law(new[0][:, block(small_grammar, level, node)], law)
    assert_untouched(small_grammar, old, new, level, node)
    assert all(np.array_equal(a, b) for a, b in zip(small_grammar.parse(new[0]), new, strict=True))
    assert np.array_equal(new[level], old[level])


@pytest.mark.parametrize(("level", "node"), [(0, 2), (1, 1), (2, 0)])
def test_replaced_symbol_is_uniform_among_the_others_and_its_subtree_new(small_grammar, level, node):
    old = copies(small_grammar)
    new = replace_symbol(small_grammar, old, level, node, seed=3)
    law = {}
    for symbol in set(range(small_grammar.num_symbols_at(level))) - {int(old[level][0, node])}:
        law |= subtree_law(small_grammar, symbol, level)
    assert_law(new[0][:, block(small_grammar, level, node)], law)
    assert_untouched(small_grammar, old, new, level, node)
    for height in range(level + 1, small_grammar.depth + 1):
        assert np.array_equal(new[height], old[height])
    if level == small_grammar.depth:
        assert all(np.array_equal(a, b) for a, b in zip(small_grammar.parse(new[0]), new, strict=True))


@pytest.mark.parametrize(("level", "node"), [(0, 2), (1, 1), (2, 0)])
@pytest.mark.parametrize("index", [0, 1])
def test_conditional_replacement_follows_the_exact_law_given_the_other_tokens(small_grammar, level, node, index):
    old = copies(small_grammar, index)
    new = replace_symbol(small_grammar, old, level, node, seed=3, law="conditional")
    inside, sentence = block(small_grammar, level, node), tuple(old[0][0].tolist())
    law = {}
    for tokens, p in enumerated_law(small_grammar).items():
        same = tokens[: inside.start] + tokens[inside.stop :] == sentence[: inside.start] + sentence[inside.stop :]
        if same and small_grammar.parse(np.array([tokens]))[level][0, node] != old[level][0, node]:
            law[tokens] = p
    assert_law(new[0], law or {sentence: 1.0})  # where the other tokens determine it, nothing changes
    assert all(np.array_equal(a, b) for a, b in zip(small_grammar.parse(new[0]), new, strict=True))
    assert_untouched(small_grammar, old, new, level, node)


def test_random_nodes_are_uniform_and_one_a_sentence():
    grammar = Grammar.from_name("v8-m3-s2-L3")
    old = grammar.derivations(2000, seed=2, sampling="iid")
    for new in (redraw_rule(grammar, old, 1, seed=4), replace_symbol(grammar, old, 1, seed=4)):
        touched = (new[0] != old[0]).reshape(-1, 4, 2).any(2)
        assert (touched.sum(1) == 1).all()
        assert abs(chi_squared_z(touched.sum(0), np.full(4, 500))) < 4.5


@pytest.mark.parametrize("change", [redraw_rule, replace_symbol, exchange_synonyms])
def test_changes_are_a_function_of_the_seed_and_the_row(change):
    grammar = Grammar.from_name("v16-m4-s2-L3")
    old = grammar.derivations(300, seed=1)
    before = [array.copy() for array in old]
    new, again, other = (change(grammar, old, 2, seed=seed) for seed in (7, 7, 8))
    first = change(grammar, [array[:100] for array in old], 2, seed=7)
    assert all(np.array_equal(a, b) for a, b in zip(new, again, strict=True))
    assert all(np.array_equal(a[:100], b) for a, b in zip(new, first, strict=True))
    assert not np.array_equal(new[0], other[0])
    assert all(np.array_equal(a, b) for a, b in zip(old, before, strict=True)), "the input was changed"
    empty = change(grammar, [array[:0] for array in old], 2)
    assert [array.shape for array in empty] == [(0, 8), (0, 4), (0, 2), (0, 1)]


def test_frozen_bytes_of_one_seed():
    grammar = Grammar.from_name("v16-m4-s2-L3")
    old = grammar.derivations(1, seed=1)
    assert old[0].tolist() == FROZEN["old"]
    assert exchange_synonyms(grammar, old, 2, seed=7)[0].tolist() == FROZEN["exchange"]
    assert redraw_rule(grammar, old, 2, seed=7)[0].tolist() == FROZEN["redraw"]
    assert replace_symbol(grammar, old, 2, seed=7)[0].tolist() == FROZEN["replace"]


FROZEN = {  # other bytes, other interventions for every seed
    "old": [[5, 8, 15, 10, 5, 6, 13, 0]],
    "exchange": [[6, 14, 15, 15, 4, 14, 6, 6]],
    "redraw": [[5, 8, 15, 10, 4, 7, 13, 15]],
    "replace": [[12, 3, 15, 13, 5, 6, 13, 0]],
}


def test_symbols_without_a_synonym_stay_as_they_are():
    rules = [[[[0, 1], [1, 0]]], [[[0, 0], [2, 2]], [[1, 2], [2, 1]]]]
    grammar = Grammar.from_rules(rules, [[[0.5, 0.5]], [[0.4, 0.6], [1.0, 0.0]]])  # level 1: symbol 1 has one rule
    old = grammar.derivations(200, sampling="iid")
    new = redraw_rule(grammar, old, 1, node=0)
    single = old[1][:, 0] == 1
    assert 0 < single.sum() < 200
    assert np.array_equal(new[0][single], old[0][single])
    assert (new[0][~single, :2] != old[0][~single, :2]).any(1).all()
    assert np.array_equal(exchange_synonyms(grammar, old, 1)[1], old[1])


def skewed_levels():
    return skewed_grammar().derivations(4, sampling="iid")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda g, d: replace_symbol(g, d, 3), "level=3 is out of range"),
        (lambda g, d: redraw_rule(g, d, 0), "level=0 is out of range"),
        (lambda g, d: exchange_synonyms(g, d, 0), "level=0 is out of range"),
        (lambda g, d: redraw_rule(g, d, 1, node=3), "node=3 is out of range"),
        (lambda g, d: redraw_rule(g, d, 1, seed=-1), "seed=-1"),
        (lambda g, d: replace_symbol(g, d, 1, law="marginal"), "law='marginal' is unknown"),
        (lambda g, d: replace_symbol(g, d[:2], 1), "levels has 2 entries"),
        (lambda g, d: replace_symbol(g, [d[0][:, :4], *d[1:]], 1), r"levels\[0\] has shape \(4, 4\)"),
        (lambda g, d: exchange_synonyms(g, [d[0], d[1] + 4, d[2]], 1), r"levels\[1\] holds a symbol out of range"),
        (lambda g, d: redraw_rule(g, [d[0], (d[1] + 1) % 4, d[2]], 1), "no derivation"),
        (lambda g, d: replace_symbol(g, [d[0], d[1][:, ::-1] * 0, d[2]], 1, law="conditional"), "no derivation"),
    ],
    ids=range(11),
)
def test_bad_input_is_named(change, match):
    with pytest.raises(ValueError, match=match):
        change(skewed_grammar(), skewed_levels())


def test_levels_without_an_alternative_are_named():
    grammar = Grammar.from_rules([[[[0, 1]]], [[[0, 0]], [[1, 0]]]])
    with pytest.raises(ValueError, match="level=1 has no synonyms"):
        redraw_rule(grammar, grammar.derivations(1), 1)
    with pytest.raises(ValueError, match="level=2 has one symbol only"):
        replace_symbol(grammar, grammar.derivations(1), 2)
