"""Sampling from sparse grammars: the law, pure functions of seeds and indices, distinct sentences."""

import hashlib

import numpy as np
import pytest
from exact_law import assert_uniform, chi_squared_z
from sparse_definition import SMALL, small_sparse_grammar, sparse_law, zipf_base

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.sentences import sampling
from rhm_hf.grammar.sentences.permutation import Permutation
from rhm_hf.grammar.sparse import sparse_plan
from rhm_hf.grammar.sparse.sparse_grammar import SparseGrammar


def sparse_of(name, sparsity=1, placement="A") -> SparseGrammar:
    return SparseGrammar(Grammar.from_name(name, rules_seed=1), sparsity, placement)


# One number for all, numbers shared by symbols and placements, long sentences, 16 bits, uneven radices, alias tables.
GRAMMARS = {
    "one number": lambda: sparse_of("v4-m2-s2-L2"),
    "anywhere": lambda: sparse_of("v8-m5-s2-L3", 1, "B"),
    "L5": lambda: sparse_of("v8-m4-s2-L5"),
    "s3": lambda: sparse_of("v5-m3-s3-L2", 2, "B"),
    "uint16": lambda: sparse_of("v256-m4-s2-L2", 3),
    "zipf": lambda: SparseGrammar(zipf_base(9, 2, 3), 2),
}

# Sentences may never change: data sets and published results are named by parameters and seeds alone.
FROZEN = {
    ("one number", "iid"): "22764b0e4b1480fa",
    ("one number", "unique"): "c5bd03146e3106fd",
    ("anywhere", "iid"): "321357e9b65f683b",
    ("anywhere", "unique"): "81a0cb3cd4b0ffbf",
    ("L5", "unique"): "19a5c69d68b63995",
    ("s3", "iid"): "97090180676caaec",
    ("uint16", "iid"): "56585fad4e9296ae",
    ("zipf", "iid"): "226cc38af8a5a782",
}


@pytest.mark.parametrize(("name", "how"), FROZEN)
def test_frozen_sentences(name, how):
    tokens = GRAMMARS[name]().sample(12, sampling=how, seed=3)
    assert hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()[:16] == FROZEN[name, how]


@pytest.mark.parametrize("name", SMALL)
def test_sentences_follow_the_law(name):
    grammar, num = small_sparse_grammar(name), 30000
    law = sparse_law(grammar)
    found, counts = np.unique(grammar.sample(num, seed=4, sampling="iid"), axis=0, return_counts=True)
    observed = dict.fromkeys(law, 0)
    for row, count in zip(found.tolist(), counts.tolist(), strict=True):
        observed[tuple(row)] += count
    assert len(observed) == len(law), "something impossible was drawn"
    assert abs(chi_squared_z(list(observed.values()), [p * num for p in law.values()])) < 4.5


@pytest.mark.parametrize("how", ["iid", "unique"])
@pytest.mark.parametrize("name", [name for name in GRAMMARS if name != "one number"])
def test_placements_are_uniform_and_independent(name, how):
    grammar = GRAMMARS[name]()
    if how == "unique" and not grammar.is_equiprobable:
        return
    tokens = grammar.sample(8000, seed=2, sampling=how)
    placements = grammar.placements(tokens)
    for level, ranks in enumerate(placements, start=1):
        count = grammar.placements_at(level).count
        for node in {0, ranks.shape[1] - 1}:
            assert_uniform(ranks[:, node], count)
    first, last = placements[0][:, 0], placements[0][:, -1]
    few = min(
        grammar.placements_at(1).count, 30
    )  # of the first and the last patch, and of a patch and its first token
    assert_uniform((first % few * few + last % few)[(first < few) & (last < few)], few * few)
    root = grammar.informative(tokens)[:, 0].astype(np.int64) % 2
    independent = np.stack([np.bincount(first[root == side] % 4, minlength=4) for side in (0, 1)])
    expected = independent.sum(1, keepdims=True) * independent.sum(0) / independent.sum()
    assert ((independent - expected) ** 2 / expected).sum() < 25  # chi-squared of 3 degrees of freedom


@pytest.mark.parametrize("mode", ["iid", "unique", "disjoint"])
@pytest.mark.parametrize("name", GRAMMARS)
def test_any_cut_gives_the_same_sentences(name, mode, monkeypatch):
    grammar = GRAMMARS[name]()
    if mode == "unique" and not grammar.is_equiprobable:
        return
    arguments = {"sampling": "unique" if mode == "unique" else "iid", "disjoint": mode == "disjoint", "seed": 3}
    for split in ("train", "test"):
        whole = grammar.sample(61, split=split, **arguments)
        assert whole.dtype == grammar.token_dtype
        grammar.parse(whole)
        for start, end in ((0, 1), (1, 2), (3, 8), (60, 61), (5, 61)):
            assert (grammar.sample(end - start, split=split, start=start, **arguments) == whole[start:end]).all()
        monkeypatch.setattr(sampling, "WORKING_BYTES", 1000)
        assert (grammar.sample(61, split=split, **arguments) == whole).all()
        monkeypatch.undo()


@pytest.mark.parametrize("table_bytes", [sparse_plan.TABLE_BYTES, 0])
@pytest.mark.parametrize("name", [name for name in GRAMMARS if name != "zipf"])
def test_unique_sentences_are_those_of_the_permuted_indices(name, table_bytes, monkeypatch):
    """However many levels of placements one look-up takes."""
    monkeypatch.setattr(sparse_plan, "TABLE_BYTES", table_bytes)
    grammar = GRAMMARS[name]()
    layout = grammar.sampling_plan.permuted
    sizes = [int(size) for size in layout.products[: layout.num_permuted]]
    tokens = grammar.sample(2, seed=9, start=3)
    for row, position in zip(tokens, (3, 4), strict=True):
        numbers = np.empty((1, len(sizes)), dtype=np.uint64)
        Permutation(sizes, 9).fill_indices(position, 1, numbers)
        index = 0
        for number, size in zip(numbers[0].tolist(), sizes, strict=True):
            index = index * size + (number * size >> 64)
        rest = 1
        for product in layout.products[layout.num_permuted :].tolist():
            rest *= product
        assert grammar.index(row) // rest == index  # the leading digits, all of them but in the largest


def test_unique_sentences_are_all_sentences_once():
    for name in ("uniform L1 A", "uniform L2 B"):
        grammar = small_sparse_grammar(name)
        everything = grammar.sample(grammar.num_sentences, seed=2)
        assert len(np.unique(everything, axis=0)) == grammar.num_sentences
        with pytest.raises(ValueError, match="more distinct train sentences than exist"):
            grammar.sample(grammar.num_sentences + 1)
    with pytest.raises(ValueError, match=r"sampling='unique' is impossible for custom-.*-sparse2"):
        GRAMMARS["zipf"]().sample(3, sampling="unique")


def test_splits_are_disjoint():
    grammar = GRAMMARS["anywhere"]()
    for arguments in ({}, {"sampling": "iid", "disjoint": True}):
        splits = [grammar.sample(2000, split=split, **arguments) for split in ("train", "validation", "test")]
        seen = [{row.tobytes() for row in tokens} for tokens in splits]
        assert len(set.union(*seen)) == sum(map(len, seen))
