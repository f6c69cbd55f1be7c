"""numba kernels of sampling and parsing. All of them run on one thread and release the GIL.

numba's cache notices changes of the file a kernel is in, not of the files it calls into: `compiled` and `multiply` are
all that other files use. Indices are unsigned wherever they are computed, which spares the check for negative ones.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic


def compiled(function: Any, **options: Any) -> Any:
    """Compiles at the first call and keeps the machine code on disk where there is a writable place for it."""
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": neither __pycache__ nor the user's cache can be written
        return numba.njit(**options)(function)


def compiled_within(function: Any) -> Any:
    """A kernel that only kernels call: without a wrapper for Python it takes half the time to compile."""
    return compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@intrinsic
def multiply(typingctx: Any, a: Any, b: Any):
    """The 128-bit product of two uint64 as (high half, low half): one machine instruction."""

    def codegen(context, builder, signature, args):
        half, wide = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), half)
        return context.make_tuple(builder, signature.return_type, (high, builder.trunc(product, half)))

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), codegen


# Random numbers. Those of one key and attempt are one stream, that of
# `np.random.Philox(key=key, counter=[0, attempt, 0, 0])`; sentence i owns its numbers i * W to i * W + W - 1.
#
# A random number w stands for one below the product N of the radices of its digits: floor(w N / 2^64). That is exactly
# uniform when the numbers with (w N mod 2^64) < 2^64 mod N, its threshold, are drawn again (Lemire, arXiv 1805.10941),
# which never happens where N is a power of two. Redraw r has the counter (block, attempt, r, 0).


@compiled
def philox(block, attempt, redraw, key):
    """The four numbers of Philox4x64-10 (Salmon et al., SC 2011) at the counter (block, attempt, redraw, 0)."""
    c0, c1, c2, c3 = block, attempt, redraw, np.uint64(0)
    k0, k1 = key[0], key[1]
    for _ in range(10):
        high0, low0 = multiply(np.uint64(0xD2E7470EE14C6C93), c0)
        high1, low1 = multiply(np.uint64(0xCA5A826395121157), c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += np.uint64(0x9E3779B97F4A7C15)
        k1 += np.uint64(0xBB67AE8584CAA73B)
    return c0, c1, c2, c3


LANES = 64  # blocks side by side where vector registers take eight numbers


@cache
def has_wide_vectors() -> bool:
    """Whether the compiler has AVX-512 to work with; with narrower registers the other kernel is as fast or faster."""
    return bool(binding.get_host_cpu_features().get("avx512f"))


def fill_stream(key: np.ndarray, attempt: np.uint64, first_block: np.uint64, stream: np.ndarray) -> None:
    """Fills `stream`, a multiple of 8 numbers, from block `first_block` on (numpy's stream begins with block 1)."""
    wide = len(stream) // (4 * LANES) * LANES if has_wide_vectors() else 0  # blocks
    if wide:
        fill_lanes(key, attempt, np.arange(wide, dtype=np.uint64) + first_block, stream)
    if 4 * wide < len(stream):
        fill_pairs(key, attempt, np.uint64(int(first_block) + wide), stream[4 * wide :])


@compiled
def fill_pairs(key, attempt, first_block, stream):
    """The same, 8 numbers a turn.

    Two blocks run side by side: each is a chain of ten dependent multiplications, and together they hide the latency.
    """
    for turn in range(stream.shape[0] // 8):
        c0 = np.uint64(first_block) + np.uint64(2 * turn)
        d0 = c0 + np.uint64(1)
        c1 = d1 = np.uint64(attempt)
        c2 = c3 = d2 = d3 = np.uint64(0)
        k0, k1 = key[0], key[1]
        for _ in range(10):
            high0, low0 = multiply(np.uint64(0xD2E7470EE14C6C93), c0)
            high1, low1 = multiply(np.uint64(0xCA5A826395121157), c2)
            high2, low2 = multiply(np.uint64(0xD2E7470EE14C6C93), d0)
            high3, low3 = multiply(np.uint64(0xCA5A826395121157), d2)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
            d0, d1, d2, d3 = high3 ^ d1 ^ k0, low3, high2 ^ d3 ^ k1, low2
            k0 += np.uint64(0x9E3779B97F4A7C15)
            k1 += np.uint64(0xBB67AE8584CAA73B)
        at = 8 * turn
        stream[at], stream[at + 1], stream[at + 2], stream[at + 3] = c0, c1, c2, c3
        stream[at + 4], stream[at + 5], stream[at + 6], stream[at + 7] = d0, d1, d2, d3


@compiled
def fill_lanes(key, attempt, blocks, stream):
    """Any blocks, a multiple of `LANES`, in loops that become vector instructions, whose products have 32 bits.

    With x = h 2^32 + k and A = H 2^32 + K, and t = h K + (k K >> 32), u = k H + (t mod 2^32),

        x A = (h H + (t >> 32) + (u >> 32)) 2^64 + (u mod 2^32) 2^32 + (k K mod 2^32).
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    low0, high0 = np.uint64(0xD2E7470EE14C6C93) & low, np.uint64(0xD2E7470EE14C6C93) >> half
    low1, high1 = np.uint64(0xCA5A826395121157) & low, np.uint64(0xCA5A826395121157) >> half
    lanes = np.empty((4, LANES), np.uint64)
    c0, c1, c2, c3 = lanes[0], lanes[1], lanes[2], lanes[3]
    for turn in range(blocks.shape[0] // LANES):
        for i in range(LANES):
            c0[i] = blocks[turn * LANES + i]
            c1[i], c2[i], c3[i] = np.uint64(attempt), np.uint64(0), np.uint64(0)
        k0, k1 = key[0], key[1]
        for _ in range(10):
            for i in range(LANES):
                h, k = c0[i] >> half, c0[i] & low
                first = k * low0
                t = h * low0 + (first >> half)
                u = k * high0 + (t & low)
                top0, bottom0 = h * high0 + (t >> half) + (u >> half), (u << half) | (first & low)
                h, k = c2[i] >> half, c2[i] & low
                first = k * low1
                t = h * low1 + (first >> half)
                u = k * high1 + (t & low)
                top1, bottom1 = h * high1 + (t >> half) + (u >> half), (u << half) | (first & low)
                c0[i], c1[i] = top1 ^ c1[i] ^ k0, bottom1
                c2[i], c3[i] = top0 ^ c3[i] ^ k1, bottom0
            k0 += np.uint64(0x9E3779B97F4A7C15)
            k1 += np.uint64(0xBB67AE8584CAA73B)
        at = 4 * LANES * turn
        for i in range(LANES):
            stream[at + 4 * i], stream[at + 4 * i + 1] = c0[i], c1[i]
            stream[at + 4 * i + 2], stream[at + 4 * i + 3] = c2[i], c3[i]


@compiled
def pick(four, lane):
    low = four[1] if lane & np.uint64(1) else four[0]
    high = four[3] if lane & np.uint64(1) else four[2]
    return high if lane & np.uint64(2) else low


def scattered_numbers(key: np.ndarray, attempt: np.uint64, indices: np.ndarray, numbers: np.ndarray) -> None:
    """Fills `numbers[i]` with the numbers of sentence `indices[i]`."""
    wide = len(indices) // LANES * LANES if numbers.shape[1] == 1 and has_wide_vectors() else 0
    if wide:  # a block for each
        stream = np.empty((wide, 4), dtype=np.uint64)
        blocks = (indices[:wide].astype(np.uint64) >> np.uint64(2)) + np.uint64(1)
        fill_lanes(key, attempt, blocks, stream.reshape(-1))
        pick_lanes(stream, indices[:wide], numbers[:wide, 0])
    scattered(key, attempt, indices[wide:], numbers[wide:])


@compiled
def pick_lanes(blocks, indices, numbers):
    """Of every block `(num, 4)` the number of a sentence that owns one."""
    for i in range(numbers.shape[0]):
        numbers[i] = blocks[i, np.uint64(indices[i]) & np.uint64(3)]


@compiled
def replace_rows(rows, indices, others):
    """`rows[indices] = others` for few columns."""
    for i in range(indices.shape[0]):
        for t in range(rows.shape[1]):
            rows[indices[i], t] = others[i, t]


@compiled
def scattered(key, attempt, indices, numbers):
    """The same, block by block."""
    block, four = np.uint64(0), (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
    for i in range(numbers.shape[0]):
        number = np.uint64(indices[i]) * np.uint64(numbers.shape[1])
        for g in range(numbers.shape[1]):
            wanted = (number >> np.uint64(2)) + np.uint64(1)
            if wanted != block:
                block, four = wanted, philox(wanted, attempt, np.uint64(0), key)
            numbers[i, g] = pick(four, number & np.uint64(3))
            number += np.uint64(1)


@compiled
def redraw_numbers(key, attempt, indices, products, thresholds, numbers):
    """Draws those of `numbers[i, g]`, number g of sentence `indices[i]`, again that would be less than uniform."""
    for g in range(numbers.shape[1]):
        product, threshold = products[g], thresholds[g]
        if threshold == np.uint64(0):
            continue
        for i in range(numbers.shape[0]):
            redraw = np.uint64(0)
            while numbers[i, g] * product < threshold:
                redraw += np.uint64(1)
                number = np.uint64(indices[i]) * np.uint64(numbers.shape[1]) + np.uint64(g)
                four = philox((number >> np.uint64(2)) + np.uint64(1), attempt, redraw, key)
                numbers[i, g] = pick(four, number & np.uint64(3))


@compiled
def hash_sentences(sentences, key, hashes):
    """A keyed 64-bit hash of each row of `sentences`."""
    for i in range(sentences.shape[0]):
        mixed = key[0]
        for t in range(sentences.shape[1]):
            high, low = multiply(mixed ^ np.uint64(sentences[i, t]), np.uint64(0x9E3779B97F4A7C15))
            mixed = high ^ low ^ key[1]
        high, low = multiply(mixed, np.uint64(0xD2B74407B1CE6E93))
        hashes[i] = high ^ low


# Sentences to derivations.


@compiled
def hash_rows(sentences, lengths, key, hashes):
    """The same of the first `lengths[i]` entries of each row."""
    for i in range(sentences.shape[0]):
        mixed = key[0] ^ np.uint64(lengths[i])
        for t in range(lengths[i]):
            high, low = multiply(mixed ^ np.uint64(sentences[i, t]), np.uint64(0x9E3779B97F4A7C15))
            mixed = high ^ low ^ key[1]
        high, low = multiply(mixed, np.uint64(0xD2B74407B1CE6E93))
        hashes[i] = high ^ low
