"""The numba kernels of pair counting. They run on one thread and release the GIL."""

import numpy as np

from ...grammar.sentences.philox import compiled, compiled_within


@compiled
def count_pairs(left, right, starts, segments, distance, only_last, num_right, tables, scratch):
    """Counts the pairs (left[r - t], right[r]) of one distance t within documents, segment by segment.

    Args:
        left, right (`np.ndarray`): non-negative integers `(n,)`.
        starts (`np.ndarray`): int64, where documents start, and n.
        segments (`np.ndarray`): int64 `(segments, 3)`: block and range of r, in the order of r.
        only_last (`bool`): whether only the last token of every document is a right member.
        num_right (`int`): columns of a table.
        tables (`np.ndarray`): int64 `(blocks, num_left * num_right)`, added to.
        scratch (`np.ndarray`): uint32 `(4, num_left * num_right)`, zeros before and after.
    """
    document = 0
    for i in range(segments.shape[0]):
        block, first, last = segments[i]
        while starts[document + 1] <= first:
            document += 1
        table = tables[block]
        if last - first < 4 * table.shape[0]:  # clearing and adding up would cost more than they save
            _count_segment(
                left, right, starts, document, first, last, distance, only_last, num_right, table, table, table, table
            )
            continue
        a, b, c, d = scratch
        _count_segment(left, right, starts, document, first, last, distance, only_last, num_right, a, b, c, d)
        for key in range(table.shape[0]):
            table[key] += np.int64(a[key]) + np.int64(b[key]) + np.int64(c[key]) + np.int64(d[key])
        scratch[:] = 0


@compiled_within
def _count_segment(left, right, starts, document, first, last, distance, only_last, num_right, t0, t1, t2, t3):
    """Successive pairs go to the four tables in turn: an increment then need not wait until the one before it is
    stored, which on many processors it does where a pair repeats."""
    width, t = np.uint64(num_right), np.uint64(distance)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    while document + 1 < starts.shape[0] and starts[document] < last:
        low, high = max(starts[document] + distance, first), min(starts[document + 1], last)
        if only_last:
            low = max(low, starts[document + 1] - 1)
        for turn in range((high - low) // 4):
            b = np.uint64(low + 4 * turn)
            a = b - t
            t0[np.uint64(left[a]) * width + np.uint64(right[b])] += 1
            t1[np.uint64(left[a + one]) * width + np.uint64(right[b + one])] += 1
            t2[np.uint64(left[a + two]) * width + np.uint64(right[b + two])] += 1
            t3[np.uint64(left[a + three]) * width + np.uint64(right[b + three])] += 1
        for r in range(low + max(0, high - low) // 4 * 4, high):
            key = np.uint64(left[np.uint64(r) - t]) * width + np.uint64(right[np.uint64(r)])
            if document & 1:  # documents of a few tokens change tables too
                t0[key] += 1
            else:
                t1[key] += 1
        document += 1
