import math

import numpy as np
import pytest
from exact_law import assert_uniform, chi_squared_z

from rhm_hf.grammar.sentences import permutation
from rhm_hf.grammar.sentences.permutation import ROUNDS, Permutation, philox_key


M64 = 2**64 - 1


def by_definition(sizes: list[int], seed: int, index: int) -> list[int]:
    """The permuted index in plain Python integers; two sizes give two halves."""
    words = np.random.Philox(key=philox_key(seed, "permutation"))
    size = math.prod(sizes)
    if size < 2**16:
        return [int(np.argsort(words.random_raw(size), kind="stable")[index])]
    keys = [int(k) for k in words.random_raw(ROUNDS)]
    a, b = sizes if len(sizes) == 2 else (math.isqrt(size - 1) + 1,) * 2

    def narrow(x, modulus, key):
        x = ((x ^ key) % 2**32) * 0x9E3779B1
        x = ((x ^ x >> 32) % 2**32) * 0x85EBCA77
        return ((x ^ x >> 32) % 2**32) * modulus >> 32

    def wide(x, modulus, key):
        for factor in (0x9E3779B97F4A7C15, 0xD2B74407B1CE6E93):
            x = (x ^ key) * factor
            x, key = (x >> 64) ^ (x & M64), 0
        return x * modulus >> 64

    function = narrow if max(a, b) <= 2**31 else wide
    while True:
        left, right = divmod(index, b)
        for r in range(0, ROUNDS, 2):
            left = (left + function(right, a, keys[r])) % a
            right = (right + function(left, b, keys[r + 1])) % b
        index = left * b + right
        if index < size:
            return [index] if len(sizes) == 1 else [left, right]


def permuted(sizes: list[int], seed: int, first: int, num: int, step: int = 1) -> np.ndarray:
    """What the words that are made for the sampler say, shape (num, len(sizes))."""
    words = np.empty((num, len(sizes)), dtype=np.uint64)
    Permutation(sizes, seed).fill_indices(first, step, words)
    columns = [[int(word) * size >> 64 for word in words[:, k]] for k, size in enumerate(sizes)]
    return np.array(columns, dtype=np.uint64).T


SIZES = [[1], [2], [1000], [2**16 - 1], [2**16], [70001], [2**50], [2**60 - 93], [2**60], [2**31, 2**31],
         [3**20, 2**35], [2**20, 2**62], [2**62, 7**20], [2**62, 2**62]]  # fmt: skip


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_words_are_those_of_the_definition(sizes, seed):
    size, num = math.prod(sizes), min(math.prod(sizes), 20)
    expected = [by_definition(sizes, seed, i) for i in range(num)]
    assert permuted(sizes, seed, 0, num).tolist() == expected
    expected = [by_definition(sizes, seed, i) for i in range(size - 1, -1, -2)[:num]]
    assert permuted(sizes, seed, size - 1, len(expected), -2).tolist() == expected
    middle = min(size // 3, 2**62)
    expected = [by_definition(sizes, seed, i) for i in range(middle, size)[:num]]
    assert permuted(sizes, seed, middle, len(expected)).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 37, 2**16 - 1, 2**16, 2**16 + 1, 70001, 257 * 256, 2**18])
def test_every_index_appears_once(size):
    for seed in (0, 1):
        assert (np.sort(permuted([size], seed, 0, size)[:, 0]) == np.arange(size)).all()


@pytest.mark.parametrize(("a", "b"), [(256, 300), (1, 1000), (1000, 2), (2**10, 2**8)])
@pytest.mark.parametrize("is_wide", [False, True])
def test_rounds_are_bijections(a, b, is_wide):
    left, right = np.divmod(np.arange(a * b, dtype=np.uint64), np.uint64(b))
    for r, key in enumerate(np.random.Philox(3).random_raw(6)):
        add = permutation._add_wide if is_wide else permutation._add_narrow
        add(*((left, right, np.uint64(a), key) if r % 2 else (right, left, np.uint64(b), key)))
        assert (np.sort(left * np.uint64(b) + right) == np.arange(a * b)).all()


def test_small_permutations_are_uniform():
    # All 24 orders of 4 indices over many seeds.
    orders = [tuple(permuted([4], seed, 0, 4)[:, 0].tolist()) for seed in range(4800)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert abs(chi_squared_z(counts, np.full(24, 200))) < 4.5


LARGE = [[2**16], [70001], [2**50], [2**60], [2**20, 2**62], [3**38, 2**61], [2**62, 2**62]]


@pytest.mark.parametrize("sizes", LARGE, ids=str)
def test_images_of_first_indices_over_seeds_are_uniform(sizes):
    # A fixed index over many seeds, and the difference of two neighbours.
    images = np.array([permuted(sizes, seed, 0, 2).astype(object) for seed in range(4000)])  # (seeds, 2, halves)
    for column, size in enumerate(sizes):
        assert_uniform(images[:, 0, column] * 16 // size, 16)
        assert_uniform((images[:, 1, column] - images[:, 0, column]) % size * 16 // size, 16)


@pytest.mark.parametrize(
    "sizes", [[2**50], [2**60], [10**9 * 1001], [2**20, 2**62], [3**38, 2**61], [2**62, 2**62]], ids=str
)
def test_runs_of_indices_look_random(sizes):
    num = 2**17
    for seed in range(3):
        for column, size in zip(permuted(sizes, seed, 0, num).T, sizes, strict=True):
            coarse = (column.astype(float) * (64 / size)).astype(int)
            assert_uniform(coarse, 64)
            for lag in (1, 2, 3, 64, 4096):
                assert_uniform(coarse[lag:] * 64 + coarse[:-lag], 64**2)
                difference = (column[lag:].astype(np.int64) - column[:-lag].astype(np.int64)) % size
                assert_uniform((difference * (64 / size)).astype(int), 64)


@pytest.mark.parametrize("sizes", [[2**50], [2**60], [2**62, 2**62]], ids=str)
def test_avalanche(sizes):
    # Flipping one bit of the index flips every bit of the image half the time.
    num, rng = 512, np.random.default_rng(0)
    starts = rng.integers(0, 2**48, num)
    bits = [size.bit_length() - 1 for size in sizes]
    shuffled = Permutation(sizes, 5)

    def image(index):
        words = np.empty((1, len(sizes)), dtype=np.uint64)
        shuffled.fill_indices(index, 1, words)
        return [int(words[0, k]) >> (64 - bits[k]) for k in range(len(sizes))]

    for flipped in (0, 1, 20, 24, 25, 47):
        changed = [[x ^ y for x, y in zip(image(i), image(i ^ 1 << flipped), strict=True)] for i in starts.tolist()]
        for k, count in enumerate(bits):
            ones = np.array([[row[k] >> bit & 1 for bit in range(count)] for row in changed])
            assert np.abs(ones.mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(num)
            assert abs(ones.mean() - 0.5) < 5 * 0.5 / math.sqrt(num * count)
