"""numba kernel of the hidden states of chains: forward filtering, backward sampling, in a fixed order of sums."""

import numpy as np

from ..sentences.philox import compiled


@compiled
def draw_states(symbols, initial, transitions, stay, emissions, numbers, states):
    """Draws the states of every sequence of symbols from their exact posterior.

    Args:
        symbols (int64 array): `(num, J)`, the symbols that the chain wrote.
        initial, transitions, emissions (float64 arrays): see [`~rhm_hf.grammar.chain.ChainGrammar`].
        stay (`bool`): states do not change; `transitions` is not read.
        numbers (uint64 array): `(num, 1)` or `(num, J)`, uniform.
        states (int64 array): filled, `(num, 1)` where states stay, `(num, J)` elsewhere.

    Returns:
        The first sequence of probability 0, or -1.
    """
    blocks, size = symbols.shape[1], initial.shape[0]
    filtered = np.empty((blocks, size))
    law = np.empty(size)
    for i in range(symbols.shape[0]):
        law[:] = initial
        for j in range(blocks):
            emission = emissions[min(j, emissions.shape[0] - 1)]
            total = 0.0
            for z in range(size):
                filtered[j, z] = law[z] * emission[z, symbols[i, j]]
                total += filtered[j, z]
            if total <= 0.0:
                return i
            for z in range(size):
                filtered[j, z] /= total
            if stay:
                law[:] = filtered[j]
            else:
                for z in range(size):
                    law[z] = 0.0
                for y in range(size):
                    for z in range(size):
                        law[z] += filtered[j, y] * transitions[y, z]
        state = np.int64(-1)
        for k in range(states.shape[1]):
            j = states.shape[1] - 1 - k  # of the numbers and states
            row = filtered[blocks - 1 - k]
            total = 0.0
            for z in range(size):
                law[z] = row[z] if state < 0 else row[z] * transitions[z, state]
                total += law[z]
            threshold = np.float64(numbers[i, j] >> np.uint64(11)) * 2.0**-53 * total
            chosen, summed = np.int64(-1), 0.0
            for z in range(size):
                if law[z] > 0.0:  # the last possible one, should rounding leave the threshold above the sum
                    chosen = z
                    summed += law[z]
                    if summed > threshold:
                        break
            state = chosen
            states[i, j] = state
    return np.int64(-1)
