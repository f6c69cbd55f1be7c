"""The numba kernel that turns uniform numbers into choices with given laws."""

import numpy as np

from ..sentences.philox import compiled


def thresholds_of(probs: np.ndarray) -> np.ndarray:
    """Cumulated laws `(symbols, choices)` in units of 2^-64: uint64; choice k is taken below `[a, k]` first."""
    summed = np.minimum(np.cumsum(probs, axis=1) / probs.sum(axis=1, keepdims=True), 1)
    largest = np.nextafter(2.0**64, 0)
    limits = np.minimum(summed * 2.0**64, largest).astype(np.uint64)
    last = probs.shape[1] - 1 - np.argmax(probs[:, ::-1] > 0, axis=1)  # the last possible choice takes the rest
    limits[np.arange(probs.shape[1]) >= last[:, None]] = np.iinfo(np.uint64).max
    return limits


@compiled
def choose(numbers, symbols, thresholds, chosen):
    """`chosen[i]`: the first choice whose threshold, in the row of `symbols[i]`, is above `numbers[i]`."""
    for i in range(numbers.shape[0]):
        low, high = 0, thresholds.shape[1] - 1
        row = symbols[i]
        while low < high:
            middle = (low + high) // 2
            if numbers[i] < thresholds[row, middle]:
                high = middle
            else:
                low = middle + 1
        chosen[i] = low
