"""The numba kernel that places informative tokens among uninformative ones."""

import numpy as np

from ..sentences.philox import compiled, multiply


@compiled
def place(numbers, steps, radices, first, tables, base_tokens, empty, block_size, sentences):
    """Writes `base_tokens` into `sentences` at the positions that the digits from step `first` on say.

    Step by step for `block_size` sentences at a time, as in [`~sentences.expansion.expand`];
    [`~sparse_plan.SparsePlan`] explains the arrays. The digits before `first` in the same number are read
    and left to their owner.
    """
    begin = first
    while begin > 0 and steps[begin].number < 0:
        begin -= 1
    num_slots = np.int64(1)
    for j in range(first, steps.shape[0]):
        if not steps[j].is_leaf:
            num_slots = max(num_slots, steps[j].target + steps[j].units)
    remaining, rows = np.empty(block_size, np.uint64), np.empty(block_size, np.uint64)
    slots = np.zeros((num_slots, block_size), np.uint32)
    for start in range(0, numbers.shape[0], block_size):
        size = min(block_size, numbers.shape[0] - start)
        block, informative = sentences[start : start + size], base_tokens[start : start + size]
        block[:] = empty
        for j in range(begin, steps.shape[0]):
            step, radix = steps[j], radices[j]
            number, target, count, table = step.number, step.target, step.units, tables[step.table :]
            if number >= 0:
                for i in range(size):
                    remaining[i] = numbers[start + i, number]
            for i in range(size):
                digit, remaining[i] = multiply(remaining[i], radix)
                rows[i] = digit * np.uint64(count)
            if j < first:
                continue
            parents = slots[step.source]
            for u in range(count):
                if step.is_leaf:
                    for i in range(size):
                        position = np.uint64(parents[i]) + np.uint64(table[rows[i] + np.uint64(u)])
                        block[np.uint64(i), position] = informative[i, target + u]
                else:
                    for i in range(size):
                        slots[target + u, i] = parents[i] + table[rows[i] + np.uint64(u)]
