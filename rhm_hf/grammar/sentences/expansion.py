"""numba kernels that turn random numbers into sentences; one thread, GIL released."""

import numpy as np

from .philox import compiled, multiply


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
def expand(numbers, steps, radices, middle, mask, leaves, limits, aliases, block_size, sentences):
    """Turns numbers into sentences, `block_size` at a time so that all but the output stays in the first-level cache.

    Step by step for the whole block rather than sentence by sentence: the inner loops are a few instructions each, and
    successive turns do not depend on each other. [`~rhm_hf.grammar.plan.Plan`] explains the arrays.
    """
    num_slots = np.int64(1)
    for j in range(steps.shape[0]):
        if not steps[j].is_leaf:
            num_slots = max(num_slots, steps[j].target + steps[j].units)
    remaining, rows = np.empty(block_size, np.uint64), np.empty(block_size, np.uint64)
    slots = np.zeros((num_slots, block_size), middle.dtype)
    for first in range(0, numbers.shape[0], block_size):
        size = min(block_size, numbers.shape[0] - first)
        block = sentences[first : first + size]
        for j in range(steps.shape[0]):
            step, radix = steps[j], radices[j]
            number, is_leaf, target, units, skew = step.number, step.is_leaf, step.target, step.units, step.alias
            shift, table, parents = np.uint64(step.shift), middle[step.table :], slots[step.source]
            if number >= 0:
                for i in range(size):
                    remaining[i] = numbers[first + i, number]
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
def skew_numbers(drawn, sources, shifts, starts, products, limits, replacements, numbers):
    """Makes numbers whose digits have the joint laws of alias tables, from uniform halves of numbers.

    Half a number is enough to tell the column of the table and, nearly always, on which side of its limit it is. One
    time in 2^20 it is not: then 32 bits of a hash of the whole number go on where the half ends.

    Args:
        drawn (uint64 array): `(num, numbers drawn)`, uniform.
        sources, shifts (int64 arrays): the drawn number that each number comes from, and 32 for its upper half, 0 for
            its lower half; a number without table is taken over whole.
        starts (int64 array): where the table of each number begins, -1 for none.
        products (uint64 array): the sizes of the tables.
        limits, replacements (uint64 arrays): see [`~rhm_hf.grammar.shared_laws.SharedLawPlan`].
        numbers (uint64 array): filled, `(num, numbers)`.
    """
    half, whole = np.uint64(32), np.uint64(2**32)
    for i in range(drawn.shape[0]):
        for g in range(numbers.shape[1]):
            number = drawn[i, sources[g]]
            if starts[g] < 0:
                numbers[i, g] = number
                continue
            start, product = np.uint64(starts[g]), products[g]
            upper = (number >> np.uint64(shifts[g])) & (whole - np.uint64(1))
            column = (upper * product) >> half
            position = (upper * product) & (whole - np.uint64(1))  # and up to position + product, by what follows
            limit = limits[start + column] >> half
            replacement = replacements[start + column]
            numbers[i, g] = upper << half if position <= limit else replacement
            if position + product > (limit if position <= limit else whole):
                mixed = (number ^ np.uint64(g)) * np.uint64(0x9E3779B97F4A7C15)
                mixed = (mixed ^ (mixed >> half)) * np.uint64(0xD2B74407B1CE6E93)
                full = (upper << half) | (mixed >> half)
                column, fraction = multiply(full, product)
                numbers[i, g] = full if fraction < limits[start + column] else replacements[start + column]
