"""Keys of the random streams; free of numba, which takes a moment to import."""

import numpy as np


def philox_key(seed: int, purpose: str) -> np.ndarray:
    """Key of the stream of a seed and a purpose (a split, ..): its first eight letters are the second word."""
    return np.array([seed, int.from_bytes(purpose.encode()[:8], "big")], dtype=np.uint64)
