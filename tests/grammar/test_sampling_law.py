"""Every sentence, rule and class is drawn with its probability: chi-squared tests at fixed seeds."""

import numpy as np
import pytest
from exact_law import assert_uniform, chi_squared_z, enumerated_law
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar


NUM = 60000


def rule_choices(grammar, tokens, level):
    """(symbols, rules) of every node of a level, from the derivation."""
    levels = grammar.parse(tokens)
    tree = grammar.prefix_tree(level)
    flat = tree.find(levels[level - 1].reshape(-1, tree.tuple_size).astype(np.int64))
    return np.divmod(flat.reshape(len(tokens), -1), tree.rules_per_symbol)


@pytest.mark.parametrize("split", ["train", "validation", "test", "evaluation"])
def test_whole_sentences_follow_the_law(small_grammar, split):
    law = enumerated_law(small_grammar)
    tokens = small_grammar.sample(NUM, seed=4, split=split, sampling="iid")
    expected = np.zeros(small_grammar.num_sentences)
    for sentence, p in law.items():
        expected[small_grammar.index(sentence)] = p * NUM
    found, counts = np.unique(tokens, axis=0, return_counts=True)
    observed = np.zeros(small_grammar.num_sentences)
    observed[[small_grammar.index(row) for row in found]] = counts
    assert abs(chi_squared_z(observed, expected)) < 4.5


def zipf_grammar(vocab_size, num_synonyms, depth, exponent) -> Grammar:
    grammar = Grammar.from_name(f"v{vocab_size}-m{num_synonyms}-s2-L{depth}", rules_seed=5)
    weights = np.arange(1.0, num_synonyms + 1) ** -exponent
    probs = [np.tile(weights / weights.sum(), (vocab_size, 1)) for _ in grammar.rules]
    root = np.arange(1.0, vocab_size + 1) ** -0.5
    return Grammar.from_rules(grammar.rules, probs, root / root.sum())


# Few and many rules (alias tables of composed and of single levels), sixteen bits, a long sentence, uneven radices.
GRAMMARS = {
    "v64": lambda: Grammar.from_name("v64-m8-s2-L4"),
    "uneven": lambda: Grammar.from_name("v31-m11-s2-L4-c7"),
    "d1024": lambda: Grammar.from_name("v16-m4-s2-L10"),
    "uint16": lambda: Grammar.from_name("v300-m7-s2-L3"),
    "tuples of 3": lambda: Grammar.from_name("v9-m6-s3-L3"),
    "zipf": lambda: zipf_grammar(16, 4, 4, 1.0),
    "zipf of many": lambda: zipf_grammar(64, 50, 3, 1.2),
    "skewed": lambda: skewed_grammar(3),
}


@pytest.mark.parametrize("how", ["iid", "unique"])
@pytest.mark.parametrize("name", GRAMMARS)
def test_classes_and_rules_follow_their_laws_and_are_independent(name, how):
    grammar = GRAMMARS[name]()
    if how == "unique" and not grammar.is_equiprobable:
        return
    num = 3000 if name == "d1024" else 30000
    tokens = grammar.sample(num, seed=6, sampling=how)
    classes = grammar.parse(tokens)[-1][:, 0]
    assert abs(chi_squared_z(np.bincount(classes, minlength=grammar.num_classes), num * grammar.root_probs)) < 4.5
    for level in range(1, grammar.depth + 1):
        symbols, rules = rule_choices(grammar, tokens, level)
        probs = grammar.rule_probs_at(level)
        count = probs.shape[1]
        # Rules given their symbol; pooled over the nodes of the level.
        table = np.bincount((symbols * count + rules).ravel(), minlength=probs.size).reshape(probs.shape)
        expected = table.sum(axis=1, keepdims=True) * probs
        scores = [chi_squared_z(*cells) for cells in zip(table, expected, strict=True)]
        if count > 2:  # Wilson-Hilferty is rough with one degree of freedom
            assert abs(np.mean(scores)) * np.sqrt(len(scores)) < 6
        assert max(scores) < 5.5
        # Rules of the first and the last node, and of one node in neighbouring sentences; first uniform levels only.
        if np.ptp(probs) == 0 and count**2 * 5 < num:
            if rules.shape[1] > 1:
                assert_uniform(rules[:, 0] * count + rules[:, -1], count**2)
                assert_uniform(rules[:, 0] * count + rules[:, 1], count**2)
            assert_uniform(rules[1:, -1] * count + rules[:-1, -1], count**2)


def test_thirty_two_bits_a_token():
    grammar = Grammar.from_name("v70000-m2-s2-L2-c3")
    tokens = grammar.sample(20000, sampling="iid")
    assert tokens.dtype == np.int32
    levels = grammar.parse(tokens)
    assert [level.dtype for level in levels] == [np.int32, np.int32, np.uint8]
    assert_uniform(levels[2][:, 0], 3)
    _, rules = rule_choices(grammar, tokens, 1)
    assert_uniform(rules[:, 0] * 2 + rules[:, 1], 4)


def test_unlikely_and_impossible_rules():
    tiny = 1e-3
    grammar = Grammar.from_rules(
        [[[[0, 0], [0, 1], [1, 0]], [[1, 1], [0, 2], [2, 0]]]],
        [[[tiny, 0, 1 - tiny], [0, 1, 0]]],
        root_probs=[1 - tiny, tiny],
    )
    tokens = grammar.sample(200000, sampling="iid")
    observed = {tuple(row): int(n) for row, n in zip(*np.unique(tokens, axis=0, return_counts=True), strict=True)}
    assert set(observed) == {(0, 0), (1, 0), (0, 2)}
    for sentence in ((0, 0), (0, 2)):
        assert abs(observed[sentence] - 200) < 5 * np.sqrt(200)
