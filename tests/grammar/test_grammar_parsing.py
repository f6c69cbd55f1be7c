import numpy as np
import pytest
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.layered import parsing, prefix_tree


def derive(grammar, tokens) -> list[list[int]]:
    """A derivation by searching the rules, straight from the definition."""
    levels = [list(tokens)]
    for level in range(1, grammar.depth + 1):
        rules, size = grammar.rules_at(level), grammar.tuple_size_at(level)
        owner = {tuple(rules[a, r]): a for a in range(len(rules)) for r in range(rules.shape[1])
                 if grammar.rule_probs_at(level)[a, r] > 0}  # fmt: skip
        below = levels[-1]
        levels.append([owner[tuple(below[k : k + size])] for k in range(0, len(below), size)])
    return levels


@pytest.mark.parametrize("name", ["v4-m2-s2-L3", "v3-m2-s3-L2", "v300-m7-s2-L3", "v5-m3-s4-L2-c3", "skewed"])
@pytest.mark.parametrize("limit", [2**24, 0], ids=["tables", "keys"])
def test_derivations_by_definition(name, limit, monkeypatch):
    monkeypatch.setattr(prefix_tree, "DENSE_TABLE_LIMIT", limit)
    monkeypatch.setattr(parsing, "BATCH", 7)  # batches end within sentences
    grammar = skewed_grammar() if name == "skewed" else Grammar.from_name(name, rules_seed=2)
    levels = grammar.derivations(50, seed=1, split="test", sampling="iid", start=3)
    tokens = grammar.sample(50, seed=1, split="test", sampling="iid", start=3)
    assert (levels[0] == tokens).all()
    assert [level.shape for level in levels] == [(50, grammar.num_nodes_at(l)) for l in range(grammar.depth + 1)]
    for k, row in enumerate(tokens):
        assert [level[k].tolist() for level in levels] == derive(grammar, row)


def test_dtypes_are_the_smallest_of_their_level():
    grammar = Grammar.from_name("v300-m7-s2-L3-c4")
    assert [level.dtype for level in grammar.derivations(3)] == [np.uint16, np.uint16, np.uint16, np.uint8]
    wide = grammar.parse(grammar.sample(3).astype(np.int64))
    assert [level.dtype for level in wide] == [np.uint16, np.uint16, np.uint16, np.uint8]


def test_lists_and_no_sentences_at_all():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    tokens = grammar.sample(3)
    assert (grammar.parse(tokens.tolist())[2] == grammar.parse(tokens)[2]).all()
    assert [level.shape for level in grammar.parse(tokens[:0])] == [(0, 4), (0, 2), (0, 1)]


def test_disjoint_derivations():
    grammar = skewed_grammar()
    tokens = grammar.sample(20, sampling="iid", disjoint=True, split="test")
    assert (grammar.derivations(20, sampling="iid", disjoint=True, split="test")[0] == tokens).all()


CHAIN = Grammar.from_rules([[[[0, 1]], [[1, 0]]], [[[0, 0]], [[1, 1]]]], root_probs=[1, 0])
GOOD, LEVEL_1, LEVEL_2, ROOT = [0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("tokens", "sentence", "level"),
    [
        ([LEVEL_1], 0, 1),
        ([GOOD, LEVEL_2], 1, 2),
        ([GOOD, ROOT, GOOD], 1, 2),
        ([GOOD, LEVEL_2, LEVEL_1], 1, 2),
        ([GOOD, GOOD, LEVEL_1, LEVEL_2], 2, 1),
        ([GOOD, ROOT, LEVEL_2, LEVEL_1], 1, 2),
        ([GOOD] * 9 + [LEVEL_2, ROOT, LEVEL_1], 9, 2),
    ],
)
@pytest.mark.parametrize("batch", [1, 3, 2**14])
def test_the_first_ungrammatical_sentence_and_its_level_are_named(tokens, sentence, level, batch, monkeypatch):
    monkeypatch.setattr(parsing, "BATCH", batch)
    with pytest.raises(ValueError, match=rf"tokens\[{sentence}\] = .* is ungrammatical: at level {level}"):
        CHAIN.parse(np.array(tokens))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([0, 0, 1, 1], r"tokens has shape \(4,\)"),
        ([[0, 0, 1]], r"tokens has shape \(1, 3\)"),
        (np.zeros((1, 1, 4), dtype=int), r"tokens has shape \(1, 1, 4\)"),
        ([[0.0, 0, 1, 1]], "tokens has dtype float64"),
        ([[True, False, True, True]], "tokens has dtype bool"),
        ([GOOD, [0, 0, 1, 2]], r"tokens\[1\] = \[0, 0, 1, 2\] holds a symbol out of range"),
        ([GOOD, [0, 0, -1, 1]], r"tokens\[1\] = \[0, 0, -1, 1\] holds a symbol out of range"),
        ([[0, 0, 257, 1]], r"holds a symbol out of range"),
    ],
)
def test_tokens_that_are_no_sentences(tokens, message):
    with pytest.raises(ValueError, match=message):
        CHAIN.parse(tokens)
