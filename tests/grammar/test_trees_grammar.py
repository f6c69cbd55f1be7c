"""Trees of every shape as a source: exact counts, lengths and entropies, sampling, identity."""

import hashlib
import math
import pickle

import numpy as np
import pytest
from all_trees import SMALL, all_derivations, ambiguous_trees, sentence_probs
from exact_law import chi_squared_z

from rhm_hf.grammar import NotSupported, Source, enumerate_sentences
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar


def rows_of(tokens, lengths):
    return [tuple(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)]


@pytest.mark.parametrize("name", SMALL)
def test_closed_forms_against_all_derivations(name):
    grammar = SMALL[name]()
    derivations = all_derivations(grammar)
    probs = sentence_probs(derivations)
    flat = np.array([d.prob for own in derivations.values() for d in own])
    lengths = np.array([len(tokens) for tokens in probs])
    p = np.array(list(probs.values()))
    assert abs(p.sum() - 1) < 1e-12
    assert grammar.num_derivations == len(flat)
    assert grammar.num_sentences == len(probs)
    assert (grammar.min_length, grammar.max_length) == (lengths.min(), lengths.max())
    assert abs(grammar.mean_length - p @ lengths) < 1e-12
    np.testing.assert_allclose(grammar.length_probs, np.bincount(lengths, p), atol=1e-14)
    assert abs(grammar.derivation_entropy + (flat * np.log(flat)).sum()) < 1e-12
    assert abs(grammar.entropy + (p * np.log(p)).sum()) < 1e-12
    assert grammar.entropy_stderr == 0
    rows, listed = enumerate_sentences(grammar)
    assert rows_of(rows, grammar.lengths_of(rows)) == sorted(probs)
    np.testing.assert_allclose(listed, [probs[tokens] for tokens in sorted(probs)], atol=1e-15)


def test_lengths_of_the_papers_ensemble():
    grammar = TreeGrammar.from_name("trees-v16-s2m4-s3m64-L4")
    law = np.polynomial.Polynomial([0, 1])
    for _ in range(4):
        law = 0.5 * law**2 + 0.5 * law**3
    np.testing.assert_allclose(grammar.length_probs, law.coef, atol=1e-15)
    assert grammar.mean_length == pytest.approx(2.5**4, abs=1e-12)
    assert grammar.num_sentences == math.inf
    counts = 1
    for _ in range(4):
        counts = 4 * counts**2 + 64 * counts**3
    assert grammar.num_derivations == 16 * counts
    mean_nodes = 1 + 2.5 + 2.5**2 + 2.5**3
    choice = math.log(2) + (math.log(4) + math.log(64)) / 2
    assert grammar.derivation_entropy == pytest.approx(math.log(16) + mean_nodes * choice, rel=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_sentences_and_trees_have_the_exact_law(name):
    grammar = SMALL[name]()
    derivations = all_derivations(grammar)
    numbers = {d.shape: i for i, d in enumerate(d for own in derivations.values() for d in own)}
    probs = [d.prob for own in derivations.values() for d in own]
    trees = grammar.derivations(20_000, seed=1)
    drawn = np.zeros(len(probs))
    for tree in trees:
        levels = tuple(tuple(level.tolist()) for level in tree.levels)
        drawn[numbers[levels, tuple(tuple(n.tolist()) for n in tree.num_children[1:])]] += 1
    assert abs(chi_squared_z(drawn, 20_000 * np.array(probs))) < 4.5
    tokens, lengths = grammar.sample(20_000, seed=1, return_lengths=True)
    assert rows_of(tokens, lengths) == [tuple(tree.levels[0].tolist()) for tree in trees]
    assert (tokens[np.arange(tokens.shape[1]) >= lengths[:, None]] == grammar.vocab_size + 1).all()
    assert grammar.classes(50, seed=1).tolist() == [int(tree.levels[-1][0]) for tree in trees[:50]]


def test_spans_of_a_drawn_tree():
    grammar = TreeGrammar.from_name("trees-v16-s2m4-s3m64-L3")
    for tree in grammar.derivations(5):
        for level in range(grammar.depth + 1):
            spans = tree.spans(level)
            assert spans[0, 0] == 0
            assert spans[-1, 1] == len(tree)
            assert (spans[1:, 0] == spans[:-1, 1]).all()
        second, first = tree.spans(2), tree.spans(1)
        owner = np.searchsorted(second[:, 1], first[:, 0], side="right")
        assert np.bincount(owner).tolist() == tree.num_children[2].tolist()


def test_a_sentence_depends_on_seed_split_and_index_alone():
    grammar = TreeGrammar.from_name("trees-v16-s2m4-s3m64-L4")
    tokens, lengths = grammar.sample(6000, seed=3, return_lengths=True)
    part, part_lengths = grammar.sample(40, seed=3, start=4090, return_lengths=True)
    assert rows_of(part, part_lengths) == rows_of(tokens[4090:4130], lengths[4090:4130])
    assert part.shape[1] == part_lengths.max()
    other = grammar.sample(40, seed=3, split="test")
    assert rows_of(other, grammar.lengths_of(other)) != rows_of(tokens[:40], lengths[:40])


def test_the_bits_stay():
    grammar = TreeGrammar.from_name("trees-v16-s2m4-s3m64-L3", rules_seed=2)
    digest = hashlib.sha256(np.ascontiguousarray(grammar.sample(100, seed=5))).hexdigest()
    assert (grammar.fingerprint[:16], digest[:16]) == ("648409b6d1937ae2", "004a58b21287c7fd")


def test_disjoint_splits_share_no_sentence_and_their_trees_are_known():
    grammar = TreeGrammar.from_name("trees-v3-s2m1-s3m2-L2", rules_seed=3)
    parts = {}
    for split in ("train", "validation", "test"):
        tokens, lengths = grammar.sample(300, split=split, disjoint=True, return_lengths=True)
        trees = grammar.derivations(300, split=split, disjoint=True)
        assert rows_of(tokens, lengths) == [tuple(tree.levels[0].tolist()) for tree in trees]
        parts[split] = set(rows_of(tokens, lengths))
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]


def test_identity_and_files(tmp_path):
    for grammar in (TreeGrammar.from_name("trees-v16-s2m4-s3m64-L3"), ambiguous_trees(0)):
        assert pickle.loads(pickle.dumps(grammar)) == grammar
        again = TreeGrammar.from_arrays(grammar.arrays(), grammar.settings(), grammar.parameters)
        assert again == grammar
        assert again.name == grammar.name
        grammar.save_pretrained(tmp_path / grammar.name)
        assert Source.from_pretrained(tmp_path / grammar.name) == grammar


def test_what_lengths_forbid_is_refused():
    grammar = TreeGrammar.from_name("trees-v16-s2m4-s3m64-L3")
    with pytest.raises(NotSupported, match="differ in length"):
        _ = grammar.sentence_length
    with pytest.raises(NotSupported):
        grammar.block_length(1)
    with pytest.raises(NotSupported, match="more than 16384"):
        grammar.list_sentences()
    with pytest.raises(ValueError, match="unique"):
        grammar.sample(5, sampling="unique")
    assert grammar.token_dtype == np.uint8
    assert grammar.num_outcomes == 17


@pytest.mark.parametrize(
    ("rules", "probs", "said"),
    [
        ([], None, "must not be empty"),
        ([[]], None, "is empty"),
        ([[np.zeros((2, 1, 2))]], None, "integers of shape"),
        ([[np.zeros((2, 1, 2), int), np.zeros((3, 1, 3), int)]], None, "same number"),
        ([[np.zeros((2, 1, 3), int), np.zeros((2, 1, 2), int)]], None, "ascending order"),
        ([[np.full((2, 1, 2), 5)], [np.zeros((2, 1, 2), int)]], None, "holds the symbol 5"),
        ([[np.zeros((1, 2, 2), int)]], None, "twice"),
        ([[np.zeros((1, 1, 2), int)]], [[[[0.5]]]], "sums to 0.5"),
        ([[np.zeros((1, 1, 2), int)]], [], "give one a level"),
        ([[np.zeros((1, 1, 2), int)]], [[[[0.5, 0.5]]]], "the rules ask for"),
    ],
)
def test_rules_by_hand_are_checked(rules, probs, said):
    with pytest.raises(ValueError, match=said):
        TreeGrammar(rules, probs)
