"""The numba kernel of nearest neighbours. It runs on one thread and releases the GIL."""

from rhm_hf.grammar.sentences.philox import compiled


@compiled
def largest_overlaps(rows, others, result):
    """The largest number of equal entries of every row with any one of the others.

    Args:
        rows, others (`np.ndarray`): integers `(n, d)` and `(m, d)`.
        result (`np.ndarray`): int64 `(n,)`, written.
    """
    length = rows.shape[1]
    for i in range(rows.shape[0]):
        fewest = length + 1  # differences of the nearest so far
        for j in range(others.shape[0]):
            different = 0
            for k in range(length):
                if rows[i, k] != others[j, k]:
                    different += 1
                    if different >= fewest:
                        break
            if different < fewest:
                fewest = different
                if fewest == 0:
                    break
        result[i] = length - fewest
