"""numba kernels that draw layered trees: one sentence after the other, from random numbers that its index owns."""

import numpy as np

from ..sentences.philox import compiled, compiled_within, multiply, philox, pick


@compiled
def draw_trees(
    key,
    attempt,
    indices,
    numbers_per_sentence,
    row_starts,
    rule_counts,
    limits,
    aliases,
    child_starts,
    children,
    with_trees,
    flat,
):
    """Draws sentences of the stream of a key and an attempt.

    Sentence i owns the 64-bit numbers i W .. i W + W - 1 of the stream, W = `numbers_per_sentence`; every node, the
    levels in turn from the root and each from left to right, takes the next one.

    Args:
        indices (int64 array): of the sentences.
        row_starts (int64 array): where the table of each level begins, root's choice first.
        rule_counts (int64 array): rules per symbol of each level.
        limits (uint64 array), aliases (int64 array): alias tables of all levels, one after the other.
        child_starts (int64 array): where the children of each entry of the tables begin, and the end.
        children (int32 array): the children of all rules.
        with_trees (`bool`): whether all nodes are written, root first, or the tokens alone.
        flat (array): only its dtype is used.

    Returns:
        Flat symbols, lengths `(num,)`, and with trees the numbers of nodes by level `(num, levels)` and the flat
        numbers of children of the inner nodes.
    """
    num, depth = indices.shape[0], rule_counts.shape[0] - 1
    current, following = np.zeros(64, np.int32), np.zeros(64, np.int32)
    flat = np.empty(max(64, 16 * num), flat.dtype)
    arities = np.empty(max(64, 16 * num) if with_trees else 0, np.int32)
    lengths = np.empty(num, np.int64)
    sizes = np.zeros((num if with_trees else 0, depth + 1), np.int64)
    used = used_arities = 0
    for i in range(num):
        number = np.uint64(indices[i]) * np.uint64(numbers_per_sentence)
        block, four = np.uint64(0), (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        current[0] = 0
        nodes = 1
        for level in range(depth + 1):
            base, count = row_starts[level], np.uint64(rule_counts[level])
            written = 0
            for node in range(nodes):
                wanted = (number >> np.uint64(2)) + np.uint64(1)
                if wanted != block:
                    block, four = wanted, philox(wanted, np.uint64(attempt), np.uint64(0), key)
                column, position = multiply(pick(four, number & np.uint64(3)), count)
                number += np.uint64(1)
                entry = base + np.int64(current[node]) * np.int64(count) + np.int64(column)
                if position >= limits[entry]:
                    entry = aliases[entry]
                low, high = child_starts[entry], child_starts[entry + 1]
                if written + high - low > following.shape[0]:
                    following = grown(following, written + high - low)
                for k in range(low, high):
                    following[written] = children[k]
                    written += 1
                if with_trees and level > 0:
                    if used_arities == arities.shape[0]:
                        arities = grown(arities, used_arities + 1)
                    arities[used_arities] = high - low
                    used_arities += 1
            current, following = following, current
            nodes = written
            if with_trees or level == depth:
                if used + nodes > flat.shape[0]:
                    flat = grown(flat, used + nodes)
                for node in range(nodes):
                    flat[used + node] = current[node]
                used += nodes
            if with_trees:
                sizes[i, level] = nodes
        lengths[i] = nodes
    return flat[:used], lengths, sizes, arities[:used_arities]


@compiled_within
def grown(array, size):
    """A copy with room for `size` entries and as many again."""
    larger = np.empty(2 * size, array.dtype)
    larger[: array.shape[0]] = array
    return larger


@compiled
def pad_rows(flat, lengths, padding, rows):
    """Writes sentences that follow each other in `flat` into rows that end with `padding`."""
    at = 0
    for i in range(lengths.shape[0]):
        for t in range(lengths[i]):
            rows[i, t] = flat[at + t]
        for t in range(lengths[i], rows.shape[1]):
            rows[i, t] = padding
        at += lengths[i]
