"""The numba kernel that places informative tokens among uninformative ones."""

import numpy as np

from ..sentences.philox import compiled, multiply


@compiled
def place(words, steps, radices, first, tables, base_tokens, empty, block_size, sentences):
    """Writes `base_tokens` into `sentences` at the positions that the digits from step `first` on say.

    Step by step for `block_size` sentences at a time, as in [`~rhm_hf.grammar.kernels.expand`];
    [`~rhm_hf.grammar.sparse_plan.SparsePlan`] explains the arrays. The digits before `first` in the same word are read
    and left to their owner.
    """
    begin = first
    while begin > 0 and steps[begin, 0] < 0:
        begin -= 1
    num_slots = np.int64(1)
    for j in range(first, steps.shape[0]):
        if not steps[j, 3]:
            num_slots = max(num_slots, steps[j, 4] + steps[j, 5])
    remaining, rows = np.empty(block_size, np.uint64), np.empty(block_size, np.uint64)
    slots = np.zeros((num_slots, block_size), np.uint32)
    for start in range(0, words.shape[0], block_size):
        size = min(block_size, words.shape[0] - start)
        block, informative = sentences[start : start + size], base_tokens[start : start + size]
        block[:] = empty
        for j in range(begin, steps.shape[0]):
            word, source, is_leaf, target, count = steps[j, 0], steps[j, 1], steps[j, 3], steps[j, 4], steps[j, 5]
            table, radix = tables[steps[j, 6] :], radices[j]
            if word >= 0:
                for i in range(size):
                    remaining[i] = words[start + i, word]
            for i in range(size):
                digit, remaining[i] = multiply(remaining[i], radix)
                rows[i] = digit * np.uint64(count)
            if j < first:
                continue
            parents = slots[source]
            for u in range(count):
                if is_leaf:
                    for i in range(size):
                        position = np.uint64(parents[i]) + np.uint64(table[rows[i] + np.uint64(u)])
                        block[np.uint64(i), position] = informative[i, target + u]
                else:
                    for i in range(size):
                        slots[target + u, i] = parents[i] + table[rows[i] + np.uint64(u)]
