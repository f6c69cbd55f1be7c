"""A keyed permutation of sentence indices: `unique` sampling draws distinct sentences without remembering any.

Below 2^16 indices it is a random permutation drawn outright, elsewhere a Feistel network on Z_a x Z_b. Indices below 2^60
use the smallest square a x b that holds them all and permute again whatever falls outside; larger ones are the product
of two halves of whole digits, so nothing beyond 64 bits is ever computed.
"""

import math

import numpy as np

from . import kernels


SMALL = 2**16
ROUNDS = 8  # of which each changes one half; statistical tests find nothing from 4 on


def philox_key(seed: int, purpose: str) -> np.ndarray:
    """Key of the stream of a seed and a purpose (a split, ..): its first eight letters are the second word."""
    return np.array([seed, int.from_bytes(purpose.encode()[:8], "big")], dtype=np.uint64)


class Permutation:
    """The permutation of `[0, sizes[0])` or of `[0, sizes[0] * sizes[1])` that a seed picks.

    Args:
        sizes (`list[int]`): one size up to 2^60, or two up to 2^62.
        seed (`int`): in `[0, 2^63)`.
    """

    def __init__(self, sizes: list[int], seed: int):
        words = np.random.Philox(key=philox_key(seed, "permutation"))
        self.sizes = sizes
        self.size = math.prod(sizes)
        self.table = self.keys = None
        if self.size < SMALL:
            self.table = np.argsort(words.random_raw(self.size), kind="stable").astype(np.uint64)
            return
        self.keys = words.random_raw(ROUNDS)
        self.a, self.b = sizes if len(sizes) == 2 else (math.isqrt(self.size - 1) + 1,) * 2

    def words(self, first: int, step: int, words: np.ndarray) -> None:
        """Fills the first columns of `words`, row i with the permuted index of `first + i * step`, as words.

        Args:
            step (`int`): 1 or -2.
            words (`np.ndarray`): uint64 of shape `(num, words)`, one column for each of `sizes` or more.
        """
        if self.table is not None:
            numbers = [self.table[first + step * np.arange(len(words))]]
        else:
            left, right = np.empty((2, len(words)), dtype=np.uint64)
            kernels.pairs(left, right, *map(np.uint64, divmod(first, self.b)), step, np.uint64(self.b))
            kernels.feistel(left, right, np.uint64(self.a), np.uint64(self.b), self.keys)
            numbers = [left, right]
            if len(self.sizes) == 1:
                kernels.walk(left, right, np.uint64(self.a), np.uint64(self.b), self.keys, np.uint64(self.size))
                numbers = [left]
        for column, (below, size) in enumerate(zip(numbers, self.sizes, strict=True)):
            # 2^128 / 1 has no two words, but any word will do where the only number is 0.
            reciprocal = min(-(-(2**128) // size), 2**128 - 1)
            high, low = divmod(reciprocal, 2**64)
            kernels.words_of_numbers(below, np.uint64(high), np.uint64(low), words[:, column])
