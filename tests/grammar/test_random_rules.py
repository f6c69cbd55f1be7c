import hashlib
import itertools
import tracemalloc

import numpy as np
import pytest
from exact_law import assert_uniform

from rhm_hf.grammar import Grammar, GrammarParameters
from rhm_hf.grammar.layered.random_rules import bounded_integers, distinct_tuples, stable_order


def digest(arrays) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(str((array.shape, array.dtype.str)).encode() + array.tobytes())
    return total.hexdigest()[:16]


FROZEN = {
    ("v4-m2-s2-L2", 0): "87746ec5b8bd015f",
    ("v16-m4-s2-L3", 0): "e7c392b1c0023efc",
    ("v16-m4-s2-L3", 2**63 - 1): "1ce677d99dec1b40",
    ("v5-m3-s3-L2-c3", 1): "eee96bd453d5cf11",
    ("v300-m2-s2-L2", 0): "443646d4685d9577",
    ("v70000-m2-s2-L1-c5", 0): "2eab4cb8c8bc7941",
}


@pytest.mark.parametrize(("name", "seed"), FROZEN)
def test_frozen_rules(name, seed):
    assert digest(GrammarParameters.from_name(name, seed).draw_rules()[0]) == FROZEN[name, seed]


@pytest.mark.parametrize(
    "name", ["v4-m4-s2-L3", "v5-m3-s2-L3-c3", "v3-m9-s3-L2", "v64-m8-s4-L2", "v2-m1-s40-L1-c2", "v20-m2-s20-L1"]
)
def test_shapes_and_no_ambiguity(name):
    grammar = Grammar.from_name(name, rules_seed=3)
    p = grammar.parameters
    for generation, rules in enumerate(grammar.rules):
        symbols = p.num_classes if generation == 0 else p.vocab_size
        assert rules.shape == (symbols, p.num_synonyms, p.tuple_size)
        assert rules.dtype == np.int32
        assert 0 <= rules.min() <= rules.max() < p.vocab_size
        assert len(np.unique(rules.reshape(-1, p.tuple_size), axis=0)) == symbols * p.num_synonyms


def test_levels_and_seeds_differ():
    first, second = (Grammar.from_name("v16-m4-s2-L2", rules_seed=seed) for seed in (0, 1))
    assert (first.rules[0] != first.rules[1]).any()
    assert (first.rules[0] != second.rules[0]).any()
    assert first != second


@pytest.mark.parametrize("count", [2, 7], ids=["sparse", "dense"])
def test_ordered_samples_are_uniform(count):
    # Both ways of drawing: the first and the last tuple of many draws, and both together.
    vocab_size, tuple_size = 3, 2
    numbers = np.random.Philox(key=np.array([0, count], dtype=np.uint64))
    codes = np.array([distinct_tuples(vocab_size, tuple_size, count, numbers) @ (vocab_size, 1) for _ in range(8000)])
    assert_uniform(codes[:, 0], 9)
    assert_uniform(codes[:, -1], 9)
    pairs = {pair: k for k, pair in enumerate(itertools.permutations(range(9), 2))}
    assert_uniform([pairs[a, b] for a, b in codes[:, [0, -1]].tolist()], len(pairs))


def test_bounded_integers_redraw_what_would_be_uneven():
    class Numbers:
        """Numbers at the edge: the last multiple of 3 x 2^61 is 3 x 2^62."""

        draws = iter([[3 * 2**62, 5], [3 * 2**62 - 1]])

        def random_raw(self, count):
            values = next(self.draws)
            assert len(values) == count
            return np.array(values, dtype=np.uint64)

    assert bounded_integers(Numbers(), 3 * 2**61, 2).tolist() == [3 * 2**61 - 1, 5]


def test_large_ensembles_are_drawn_without_listing_the_tuples():
    GrammarParameters(8, 2, 2, 2).draw_rules()  # imports and first calls
    tracemalloc.start()
    GrammarParameters(64, 8, 4, 4).draw_rules()  # 16.8 M tuples
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the list of all tuples would take 268 MB


def test_as_many_rules_as_tuples():
    rules = GrammarParameters(4, 4, 2, 1).draw_rules()[0][0]
    assert len(np.unique(rules.reshape(-1, 2), axis=0)) == 16


@pytest.mark.parametrize("largest", [2**64 - 1, 3, 2**20])
@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000])
def test_the_order_is_that_of_a_stable_sort_also_where_keys_or_their_high_bits_are_equal(largest, count):
    keys = np.random.default_rng(count).integers(0, largest, count, dtype=np.uint64, endpoint=True)
    assert np.array_equal(stable_order(keys), np.argsort(keys, kind="stable"))
    high = keys << np.uint64(54)
    assert np.array_equal(stable_order(high), np.argsort(high, kind="stable"))
