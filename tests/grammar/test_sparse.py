"""The sparse grammar against its definition: placements, sentences, parsing, indices, counts."""

import itertools
import math
import pickle

import numpy as np
import pytest
from exact_law import enumerated_law
from small_grammars import skewed_grammar
from sparse_definition import SMALL, small_sparse_grammar, sparse_derivations, sparse_law

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.grammar.sparse.placements import Placements
from rhm_hf.grammar.sparse.sparse_grammar import SparseGrammar


@pytest.fixture(params=SMALL)
def sparse(request) -> SparseGrammar:
    return small_sparse_grammar(request.param)


def sparse_of(name, sparsity=1, placement="A") -> SparseGrammar:
    return SparseGrammar(Grammar.from_name(name, rules_seed=1), sparsity, placement)


# Placements.


@pytest.mark.parametrize(
    ("size", "sparsity", "kind"), [(2, 1, "A"), (2, 1, "B"), (3, 2, "A"), (3, 2, "B"), (1, 3, "B")]
)
def test_placements_are_all_there_are_in_order(size, sparsity, kind):
    placements = Placements(size, sparsity, kind)
    width, slots = sparsity + 1, range(size * (sparsity + 1))
    expected = [
        choice
        for choice in itertools.combinations(slots, size)
        if kind == "B" or all(slot // width == child for child, slot in enumerate(choice))
    ]
    assert placements.slots.tolist() == [list(choice) for choice in expected]
    assert placements.count == len(expected) == (width**size if kind == "A" else math.comb(len(slots), size))
    assert placements.rank(placements.slots).tolist() == list(range(len(expected)))
    everything = np.array(list(itertools.combinations(slots, size)))
    assert (placements.rank(everything) >= 0).sum() == len(expected)


@pytest.mark.parametrize(("size", "sparsity", "kind"), [(2, 2, "A"), (3, 1, "B"), (2, 3, "B")])
def test_hazards_and_occupancies_are_those_of_a_uniform_placement(size, sparsity, kind):
    placements = Placements(size, sparsity, kind)
    hazards, occupancy = placements.hazards(), placements.occupancy()
    for choice in placements.slots.tolist():
        history = 1.0
        for slot in range(placements.num_slots):
            hazard = hazards[slot, sum(child < slot for child in choice)]
            history *= hazard if slot in choice else 1 - hazard
        assert history == pytest.approx(1 / placements.count, rel=1e-14)
    for slot, child in itertools.product(range(placements.num_slots), range(size)):
        assert occupancy[slot, child] == pytest.approx(np.mean(placements.slots[:, child] == slot), abs=1e-15)


# Laws and counts.


def test_the_enumeration_is_the_definition(sparse):
    law = sparse_law(sparse)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    tokens, probs = enumerate_sentences(sparse)
    assert len(law) == len(tokens) == sparse.num_sentences
    assert probs.sum() == pytest.approx(1, abs=1e-12)
    for row, p in zip(tokens.tolist(), probs, strict=True):
        assert law[tuple(row)] == pytest.approx(p, rel=1e-12)
    assert sparse.entropy == pytest.approx(-sum(p * math.log(p) for p in law.values()), abs=1e-12)


def test_derivations_are_those_of_the_definition(sparse):
    levels, _ = sparse_derivations(sparse)
    assert [symbols.shape[1] for symbols in levels] == [
        sparse.num_nodes_at(level) for level in range(sparse.depth + 1)
    ]
    for expected, found in zip(levels, sparse.parse(levels[0]), strict=True):
        assert (expected == found).all()


def test_the_ordinary_grammar_has_the_same_law(sparse):
    expanded = sparse.to_grammar()
    law = sparse_law(sparse)
    assert enumerated_law(expanded) == pytest.approx(law, rel=1e-12)
    assert expanded.num_sentences == sparse.num_sentences
    assert expanded.vocab_size == sparse.vocab_size
    assert expanded.entropy == pytest.approx(sparse.entropy, rel=1e-13)
    tokens = enumerate_sentences(sparse)[0][::7]
    for ours, theirs in zip(sparse.parse(tokens), expanded.parse(tokens), strict=True):
        assert (ours == theirs).all()
        assert ours.dtype == theirs.dtype


def test_closed_forms_of_the_uniform_ensemble():
    sparse = sparse_of("v16-m4-s2-L6", 3)
    nodes = (2**6 - 1) // (2 - 1)
    assert sparse.sentence_length == (2 * 4) ** 6
    assert sparse.num_sentences == 16 * 4**nodes * 16**nodes
    assert sparse.entropy == pytest.approx(math.log(sparse.num_sentences), rel=1e-13)
    anywhere = sparse_of("v8-m4-s3-L3", 1, "B")
    assert anywhere.num_sentences == anywhere.base.num_sentences * math.comb(6, 3) ** 13
    assert sparse.is_equiprobable
    assert not SparseGrammar(skewed_grammar()).is_equiprobable


def test_shape():
    sparse = sparse_of("v8-m4-s2-L3-c5", 1)
    assert (sparse.depth, sparse.num_classes, sparse.vocab_size, sparse.sentence_length) == (3, 5, 9, 64)
    assert [sparse.num_symbols_at(level) for level in range(4)] == [9, 9, 9, 5]
    assert [sparse.empty_at(level) for level in range(3)] == [8, 8, 8]
    assert [sparse.block_length(level) for level in range(4)] == [1, 4, 16, 64]
    assert [sparse.num_nodes_at(level) for level in range(4)] == [64, 16, 4, 1]
    assert [sparse.tuple_size_at(level) for level in range(1, 4)] == [4, 4, 4]
    assert SparseGrammar(Grammar.from_rules([[[[0, 1]]]], vocab_size=256)).token_dtype == np.uint16


def test_identity():
    sparse = sparse_of("v8-m4-s2-L3")
    assert sparse.name == "v8-m4-s2-L3-sparse1"
    assert sparse_of("v8-m4-s2-L3", 2, "B").name == "v8-m4-s2-L3-sparse2b"
    assert repr(sparse) == "SparseGrammar('v8-m4-s2-L3-sparse1', rules_seed=1, sentence_length=64)"
    same = pickle.loads(pickle.dumps(sparse))
    assert same == sparse
    assert hash(same) == hash(sparse)
    others = [sparse_of("v8-m4-s2-L3", 2), sparse_of("v8-m4-s2-L3", 1, "B"), sparse_of("v8-m4-s2-L2"), sparse.base]
    assert len({sparse.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert all(sparse != other for other in others)


# Sentences.


def test_sentences_and_indices_are_inverse(sparse):
    tokens, _ = enumerate_sentences(sparse)
    for index in range(0, sparse.num_sentences, max(1, sparse.num_sentences // 50)):
        row = sparse.sentence(index)
        assert row.dtype == sparse.token_dtype
        assert (row == tokens[index]).all()
        assert sparse.index(row) == index


def test_large_indices():
    sparse = sparse_of("v16-m4-s2-L4", 2, "B")
    assert sparse.num_sentences > 2**80
    for index in (0, 2**70 + 12345, sparse.num_sentences - 1):
        assert sparse.index(sparse.sentence(index)) == index


@pytest.mark.parametrize(("placement", "sparsity"), [("A", 1), ("A", 3), ("B", 1), ("B", 2)])
def test_a_sentence_is_a_base_sentence_and_placements(placement, sparsity):
    sparse = sparse_of("v8-m4-s2-L3", sparsity, placement)
    tokens = sparse.sample(50, sampling="iid")
    base_tokens, placements = sparse.informative(tokens), sparse.placements(tokens)
    assert [ranks.shape for ranks in placements] == [(50, 4), (50, 2), (50, 1)]
    assert (sparse.place(base_tokens, placements) == tokens).all()
    levels, base_levels = sparse.parse(tokens), sparse.base.parse(base_tokens)
    for level in range(3):  # the derivation is the base's among empty nodes
        kept = levels[level] != sparse.empty_at(level)
        assert (levels[level][kept].reshape(50, -1) == base_levels[level]).all()
    assert (levels[3] == base_levels[3]).all()
    assert all((a == b).all() for a, b in zip(sparse.derivations(50, sampling="iid"), levels, strict=True))


def test_base_grammar_sentences_come_in_index_order():
    sparse = small_sparse_grammar("skewed A")
    count = sparse.placement_counts[-1]
    base_tokens, _ = enumerate_sentences(sparse.base)
    assert (sparse.informative(enumerate_sentences(sparse)[0][::count]) == base_tokens).all()


def test_exactly_the_sentences_of_the_law_parse():
    sparse = small_sparse_grammar("s3 L1 A")
    law = sparse_law(sparse)
    rng = np.random.default_rng(0)
    damaged = enumerate_sentences(sparse)[0].astype(np.int64)[::3]
    damaged[np.arange(len(damaged)), rng.integers(6, size=len(damaged))] = rng.integers(3, size=len(damaged))
    outcomes = set()
    for row in [*damaged, np.full(6, 2)]:
        outcomes.add(tuple(row.tolist()) in law)
        if outcomes and tuple(row.tolist()) in law:
            sparse.parse(row[None])
        else:
            with pytest.raises(ValueError, match=r"tokens\[0\] = .* is ungrammatical: at level 1"):
                sparse.parse(row[None])
    assert outcomes == {True, False}


def test_the_first_wrong_sentence_and_its_lowest_level_are_named():
    """Tokens out of place fail at level 1, symbols that are no rule above it, an empty sentence at the root."""
    sparse = small_sparse_grammar("skewed A")
    good = sparse.sentence(0)[None].astype(np.int64)  # children in the first slots of their sub-patches
    misplaced = good[:, [0, 2, 1, *range(3, 16)]]
    rules = {tuple(rule) for rule in sparse.base.rules_at(2).reshape(-1, 2).tolist()}
    no_rule = next(pair for pair in itertools.product(range(3), repeat=2) if pair not in rules)
    pairs = np.concatenate([sparse.base.rules_at(1)[symbol, 0] for symbol in no_rule])
    no_rule = sparse.place(pairs[None], sparse.placements(good))
    crowded, empty = np.zeros_like(good), np.full_like(good, 3)
    for wrong, level in ((misplaced, 1), (no_rule, 2), (crowded, 1), (empty, 2)):
        for before in (0, 2):
            tokens = np.concatenate([good] * before + [wrong, good, crowded])
            with pytest.raises(ValueError, match=rf"tokens\[{before}\] .* at level {level} a patch is no placement"):
                sparse.parse(tokens)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: SparseGrammar("v8-m4-s2-L3"), "is no Grammar"),
        (lambda g: SparseGrammar(g.base, 0), "sparsity=0 is out of range"),
        (lambda g: SparseGrammar(g.base, 1.5), r"sparsity=1\.5 is not an integer"),
        (lambda g: SparseGrammar(g.base, 1, "C"), "placement='C' is unknown"),
        (
            lambda g: sparse_of("v8-m4-s2-L1", 5000),
            "sparsity=5000 is too large: with tuple_size=2 .* 25010001 placements",
        ),
        (lambda g: SparseGrammar(Grammar.from_name("v8-m4-s2-L9"), 5), "would have 5159780352 tokens"),
        (lambda g: sparse_of("v8-m4-s4-L2", 8, "B").to_grammar(), "too many for an ordinary grammar"),
        (lambda g: enumerate_sentences(g), "too many sentences to list"),
        (lambda g: g.sentence(g.num_sentences), "index=.* is out of range"),
        (lambda g: g.index(g.sample(1)), r"tokens has shape \(1, 64\)"),
        (lambda g: g.parse(g.sample(1)[:, 1:]), r"tokens has shape \(1, 63\)"),
        (lambda g: g.parse(np.full((1, 64), 9)), "holds a symbol out of range: .* 0 to 8$"),
        (lambda g: g.parse(np.zeros((1, 64))), "tokens has dtype float64"),
        (
            lambda g: g.place(np.full((1, 8), 8), [np.zeros((1, n), int) for n in (4, 2, 1)]),
            "base_tokens holds a symbol",
        ),
        (lambda g: g.place(np.zeros((1, 7), int), []), r"base_tokens has shape \(1, 7\)"),
        (lambda g: g.place(np.zeros((1, 8), int), [np.zeros((1, 1), int)]), "placements has shapes"),
        (lambda g: g.place(np.zeros((1, 8), int), [np.full((1, n), n) for n in (4, 2, 1)]), r"placements\[0\] holds"),
        (lambda g: g.empty_at(3), "level=3 has no empty symbol"),
        (lambda g: g.placements_at(0), "level=0 is out of range"),
        (lambda g: g.block_length(4), "level=4 is out of range"),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(sparse_of("v8-m4-s2-L3"))
