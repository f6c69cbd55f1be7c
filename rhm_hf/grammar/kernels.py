"""numba kernels of sampling and parsing. All of them run on one thread and release the GIL.

numba's cache notices changes of the file a kernel is in, not of the files it calls into: `compiled` and `multiply` are
all that other files use. Indices are unsigned wherever they are computed, which spares the check for negative ones.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def compiled(function):
    """Compiles at the first call and keeps the machine code on disk where there is a writable place for it."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": neither __pycache__ nor the user's cache can be written
        return numba.njit(**options)(function)


@intrinsic
def multiply(typingctx, a, b):
    """The 128-bit product of two uint64 as (high word, low word): one machine instruction."""

    def codegen(context, builder, signature, args):
        word, wide = ir.IntType(64), ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return context.make_tuple(builder, signature.return_type, (high, builder.trunc(product, word)))

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), codegen


# Random words. The words of one key and attempt are one stream, that of
# `np.random.Philox(key=key, counter=[0, attempt, 0, 0])`; sentence i owns its words i * W to i * W + W - 1.
#
# A word w stands for a number below the product N of the radices of its digits: floor(w N / 2^64). That is exactly
# uniform when the words with (w N mod 2^64) < 2^64 mod N, its threshold, are drawn again (Lemire, arXiv 1805.10941),
# which never happens where N is a power of two. Redraw r has the counter (block, attempt, r, 0).


@compiled
def philox(block, attempt, redraw, key):
    """The four words of Philox4x64-10 (Salmon et al., SC 2011) at the counter (block, attempt, redraw, 0)."""
    c0, c1, c2, c3 = block, attempt, redraw, np.uint64(0)
    k0, k1 = key[0], key[1]
    for _ in range(10):
        high0, low0 = multiply(np.uint64(0xD2E7470EE14C6C93), c0)
        high1, low1 = multiply(np.uint64(0xCA5A826395121157), c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += np.uint64(0x9E3779B97F4A7C15)
        k1 += np.uint64(0xBB67AE8584CAA73B)
    return c0, c1, c2, c3


@compiled
def fill_stream(key, attempt, first_block, stream):
    """Fills `stream`, 8 words a turn, from block `first_block` on (numpy's stream begins with block 1).

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
def pick(four, lane):
    low = four[1] if lane & np.uint64(1) else four[0]
    high = four[3] if lane & np.uint64(1) else four[2]
    return high if lane & np.uint64(2) else low


@compiled
def scattered_words(key, attempt, indices, words):
    """Fills `words[i]` with the words of sentence `indices[i]`."""
    block, four = np.uint64(0), (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
    for i in range(words.shape[0]):
        word = np.uint64(indices[i]) * np.uint64(words.shape[1])
        for g in range(words.shape[1]):
            wanted = (word >> np.uint64(2)) + np.uint64(1)
            if wanted != block:
                block, four = wanted, philox(wanted, attempt, np.uint64(0), key)
            words[i, g] = pick(four, word & np.uint64(3))
            word += np.uint64(1)


@compiled
def redraw_words(key, attempt, indices, products, thresholds, words):
    """Draws the words again that would make `words[i, g]`, word g of sentence `indices[i]`, less than uniform."""
    for g in range(words.shape[1]):
        product, threshold = products[g], thresholds[g]
        if threshold == np.uint64(0):
            continue
        for i in range(words.shape[0]):
            redraw = np.uint64(0)
            while words[i, g] * product < threshold:
                redraw += np.uint64(1)
                word = np.uint64(indices[i]) * np.uint64(words.shape[1]) + np.uint64(g)
                four = philox((word >> np.uint64(2)) + np.uint64(1), attempt, redraw, key)
                words[i, g] = pick(four, word & np.uint64(3))


# Words to sentences.


@compiled
def alias_tables(probs, limits, aliases):
    """Walker's alias method for every row of `probs`: column r is rule r below its limit, its alias from there on.

    Args:
        limits (uint64 array): shape `probs.shape`, in units of 2^-64 of a column.
        aliases (int32 array): shape `probs.shape`, as flat indices of `probs`. A column without alias has limit 0 and
            itself as its alias.
    """
    symbols, count = probs.shape
    small, large = np.empty(count, np.int64), np.empty(count, np.int64)
    for a in range(symbols):
        num_small = num_large = 0
        scaled = probs[a] * count
        for r in range(count):
            limits[a, r], aliases[a, r] = np.uint64(0), a * count + r
            if scaled[r] < 1:
                small[num_small] = r
                num_small += 1
            else:
                large[num_large] = r
                num_large += 1
        while num_small > 0 and num_large > 0:
            num_small -= 1
            giver, taker = large[num_large - 1], small[num_small]
            limits[a, taker] = np.uint64(scaled[taker] * 2.0**64)
            aliases[a, taker] = a * count + giver
            scaled[giver] -= 1 - scaled[taker]
            if scaled[giver] < 1:
                num_large -= 1
                small[num_small] = giver
                num_small += 1
        for k in range(num_small):  # left over by rounding: their columns are full, but for impossible rules
            if probs[a, small[k]] == 0:
                aliases[a, small[k]] = a * count + np.argmax(probs[a])


@compiled
def skew_words(drawn, sources, shifts, starts, products, limits, replacements, words):
    """Makes words whose digits have the joint laws of alias tables, from uniform halves of words.

    Half a word is enough to tell the column of the table and, nearly always, on which side of its limit it is. One
    time in 2^20 it is not: then 32 bits of a hash of the whole word go on where the half ends.

    Args:
        drawn (uint64 array): `(num, words drawn)`, uniform.
        sources, shifts (int64 arrays): the drawn word that each word comes from, and 32 for its upper half, 0 for its
            lower half; a word without table is taken over whole.
        starts (int64 array): where the table of each word begins, -1 for none.
        products (uint64 array): the sizes of the tables.
        limits, replacements (uint64 arrays): see [`~rhm_hf.grammar.shared_laws.SharedLawPlan`].
        words (uint64 array): filled, `(num, words)`.
    """
    half, whole = np.uint64(32), np.uint64(2**32)
    for i in range(drawn.shape[0]):
        for g in range(words.shape[1]):
            word = drawn[i, sources[g]]
            if starts[g] < 0:
                words[i, g] = word
                continue
            start, product = np.uint64(starts[g]), products[g]
            upper = (word >> np.uint64(shifts[g])) & (whole - np.uint64(1))
            column = (upper * product) >> half
            position = (upper * product) & (whole - np.uint64(1))  # and up to position + product, by what follows
            limit = limits[start + column] >> half
            replacement = replacements[start + column]
            words[i, g] = upper << half if position <= limit else replacement
            if position + product > (limit if position <= limit else whole):
                mixed = (word ^ np.uint64(g)) * np.uint64(0x9E3779B97F4A7C15)
                mixed = (mixed ^ (mixed >> half)) * np.uint64(0xD2B74407B1CE6E93)
                full = (upper << half) | (mixed >> half)
                column, fraction = multiply(full, product)
                words[i, g] = full if fraction < limits[start + column] else replacements[start + column]


@compiled
def expand(words, steps, radices, middle, mask, leaves, limits, aliases, block_size, sentences):
    """Turns words into sentences, `block_size` at a time so that all but the output stays in the first-level cache.

    Step by step for the whole block rather than sentence by sentence: the inner loops are a few instructions each, and
    successive turns do not depend on each other. [`~rhm_hf.grammar.plan.Plan`] explains the arrays.
    """
    num_slots = np.int64(1)
    for j in range(steps.shape[0]):
        if not steps[j, 3]:
            num_slots = max(num_slots, steps[j, 4] + steps[j, 5])
    remaining, rows = np.empty(block_size, np.uint64), np.empty(block_size, np.uint64)
    slots = np.zeros((num_slots, block_size), middle.dtype)
    for first in range(0, words.shape[0], block_size):
        size = min(block_size, words.shape[0] - first)
        block = sentences[first : first + size]
        for j in range(steps.shape[0]):
            word, source, shift, is_leaf, target, units, offset, skew = steps[j]
            radix, shift, table = radices[j], np.uint64(shift), middle[offset:]
            parents = slots[source]
            if word >= 0:
                for i in range(size):
                    remaining[i] = words[first + i, word]
            if skew >= 0:
                for i in range(size):
                    column, position = multiply(remaining[i], radix)
                    row = ((np.uint64(parents[i]) >> shift) & mask) + column
                    entry = np.uint64(skew) + row
                    alias = np.uint64(aliases[entry])  # read in any case: a branch would often be guessed wrong
                    rows[i] = row if position < limits[entry] else alias
            elif units == 1 and is_leaf:  # the two common cases in one loop each
                column_out = block[:, target]
                for i in range(size):
                    digit, remaining[i] = multiply(remaining[i], radix)
                    column_out[i] = leaves[((np.uint64(parents[i]) >> shift) & mask) + digit, 0]
                continue
            elif units == 1:
                slot = slots[target]
                for i in range(size):
                    digit, remaining[i] = multiply(remaining[i], radix)
                    slot[i] = table[((np.uint64(parents[i]) >> shift) & mask) + digit]
                continue
            else:
                for i in range(size):
                    digit, remaining[i] = multiply(remaining[i], radix)
                    rows[i] = ((np.uint64(parents[i]) >> shift) & mask) + digit
            for u in range(units):
                if is_leaf:
                    for i in range(size):
                        block[i, target + u] = leaves[rows[i], u]
                else:
                    for i in range(size):
                        slots[target + u, i] = table[rows[i] * np.uint64(units) + np.uint64(u)]


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
def follow_table(table, tuples, child, states):
    """One step down the prefix tree for every tuple: `states[i]` after reading `tuples[i, child]`; -1 stays -1."""
    for i in range(states.shape[0]):
        if states[i] >= 0:
            states[i] = table[states[i], tuples[i, child]]


@compiled
def follow_keys(keys, num_child_symbols, tuples, child, states):
    """The same where the transitions are a sorted list of keys."""
    for i in range(states.shape[0]):
        if states[i] >= 0:
            wanted = np.int64(states[i]) * num_child_symbols + np.int64(tuples[i, child])
            found = np.searchsorted(keys, wanted)
            states[i] = found if found < keys.shape[0] and keys[found] == wanted else -1


@compiled
def parents_of_states(states, symbols, parents):
    """`parents[i] = symbols[states[i]]`; returns the first i whose state is -1, or the number of states."""
    first = states.shape[0]
    for i in range(states.shape[0]):
        if states[i] < 0:
            first = min(first, i)
        else:
            parents[i] = symbols[states[i]]
    return first
