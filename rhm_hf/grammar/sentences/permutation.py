"""A keyed permutation of sentence indices: `unique` sampling draws distinct sentences without remembering any.

Below 2^16 indices it is a random permutation drawn outright, elsewhere a Feistel network on Z_a x Z_b. Indices up to
2^60 take the smallest square a x b that holds them all and permute again whatever falls outside; larger ones are the
product of two halves of whole digits, so nothing beyond 64 bits is ever computed.
"""

import math
from functools import lru_cache

import numpy as np

from .keys import philox_key
from .philox import compiled, multiply


SMALL = 2**16
ROUNDS = 8  # of which each changes one half; statistical tests find nothing from 4 on
M32 = np.uint64(2**32 - 1)


class Permutation:
    """The permutation of `[0, sizes[0])` or of `[0, sizes[0] * sizes[1])` that a seed picks.

    Args:
        sizes (`tuple[int, ...]`): one size up to 2^60, or two up to 2^62.
        seed (`int`): in `[0, 2^63)`.
    """

    def __init__(self, sizes: tuple[int, ...], seed: int):
        raw = np.random.Philox(key=philox_key(seed, "permutation"))
        self.sizes = sizes
        self.size: int = math.prod(sizes)
        self.table: np.ndarray | None = None
        self.keys: np.ndarray | None = None
        if self.size < SMALL:
            self.table = np.argsort(raw.random_raw(self.size), kind="stable").astype(np.uint64)
            return
        self.keys = raw.random_raw(ROUNDS)
        self.a: int
        self.b: int
        self.a, self.b = sizes if len(sizes) == 2 else (math.isqrt(self.size - 1) + 1,) * 2

    def fill_indices(self, first: int, step: int, words: np.ndarray) -> None:
        """Fills the first columns of `words`, row i with the permuted index of `first + i * step`, as words.

        Args:
            step (`int`): 1 or -2.
            words (`np.ndarray`): uint64 of shape `(num, words)`, one column for each of `sizes` or more.
        """
        if self.table is not None:
            numbers = [self.table[first + step * np.arange(len(words))]]
        else:
            left, right = np.empty((2, len(words)), dtype=np.uint64)
            pairs(left, right, *map(np.uint64, divmod(first, self.b)), step, np.uint64(self.b))
            feistel(left, right, np.uint64(self.a), np.uint64(self.b), self.keys)
            numbers = [left, right]
            if len(self.sizes) == 1:
                walk(left, right, np.uint64(self.a), np.uint64(self.b), self.keys, np.uint64(self.size))
                numbers = [left]
        for column, (below, size) in enumerate(zip(numbers, self.sizes, strict=True)):
            # 2^128 / 1 has no two words, but any word will do where the only number is 0.
            reciprocal = min(-(-(2**128) // size), 2**128 - 1)
            high, low = divmod(reciprocal, 2**64)
            scaled_numbers(below, np.uint64(high), np.uint64(low), words[:, column])


@lru_cache(maxsize=16)
def permutation_of(sizes: tuple[int, ...], seed: int) -> Permutation:
    """The same, made once: a random order of 2^16 indices takes longer than a small batch of sentences."""
    return Permutation(sizes, seed)


# The network: its halves take turns in adding a function of the other, which is a bijection whatever the function.


@compiled
def pairs(left, right, first_left, first_right, step, b):
    """The numbers `first, first + step, ..`, as pairs `left * b + right`; step is 1 or -2, b >= 2."""
    l, r = first_left, first_right
    for i in range(left.shape[0]):
        left[i], right[i] = l, r
        if step > 0:
            r += np.uint64(1)
            if r == b:
                l, r = l + np.uint64(1), np.uint64(0)
        else:
            if r < np.uint64(2):
                l, r = l - np.uint64(1), r + b
            r -= np.uint64(2)


@compiled
def _add_narrow(changed, other, modulus, key):
    """changed += F(other) mod modulus, for moduli up to 2^31: 32-bit factors only, so that it is vectorised."""
    key, modulus = key & M32, modulus & M32
    for i in range(changed.shape[0]):
        mixed = ((other[i] ^ key) & M32) * np.uint64(0x9E3779B1)
        mixed = ((mixed ^ (mixed >> np.uint64(32))) & M32) * np.uint64(0x85EBCA77)
        mixed = (mixed ^ (mixed >> np.uint64(32))) & M32
        total = changed[i] + ((mixed * modulus) >> np.uint64(32))
        changed[i] = total - modulus if total >= modulus else total


@compiled
def _add_wide(changed, other, modulus, key):
    """The same for moduli up to 2^62."""
    for i in range(changed.shape[0]):
        high, low = multiply(other[i] ^ key, np.uint64(0x9E3779B97F4A7C15))
        high, low = multiply(high ^ low, np.uint64(0xD2B74407B1CE6E93))
        high, low = multiply(high ^ low, modulus)
        total = changed[i] + high
        changed[i] = total - modulus if total >= modulus else total


@compiled
def feistel(left, right, a, b, keys):
    """Permutes Z_a x Z_b in place, elementwise."""
    narrow = a <= np.uint64(2**31) and b <= np.uint64(2**31)
    for r in range(0, keys.shape[0], 2):
        if narrow:
            _add_narrow(left, right, a, keys[r])
            _add_narrow(right, left, b, keys[r + 1])
        else:
            _add_wide(left, right, a, keys[r])
            _add_wide(right, left, b, keys[r + 1])


@compiled
def walk(left, right, a, b, keys, size):
    """Turns pairs into their numbers, in `left`, and permutes those of `size` or more again until they are below."""
    beyond = False
    for i in range(left.shape[0]):
        left[i] = left[i] * b + right[i]
        beyond |= left[i] >= size
    if not beyond:
        return
    for i in range(left.shape[0]):
        while left[i] >= size:
            one, other = left[i : i + 1], right[i : i + 1]
            one[0] //= b  # `right` still holds the other half
            feistel(one, other, a, b, keys)
            one[0] = one[0] * b + other[0]


@compiled
def scaled_numbers(numbers, high, low, words):
    """The word floor(x c / 2^64) + 1 of each number x below N, c = high 2^64 + low = ceil(2^128 / N).

    It lies in [x 2^64 / N, (x + 1) 2^64 / N), so its digits are those of x, most significant first, if N <= 2^63.
    """
    for i in range(numbers.shape[0]):
        upper, _ = multiply(numbers[i], low)
        words[i] = numbers[i] * high + upper + np.uint64(1)
