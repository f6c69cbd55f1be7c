"""numba kernels of parsing: sentences to derivations. All of them run on one thread and release the GIL."""

import numpy as np

from ..sentences.philox import compiled


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
