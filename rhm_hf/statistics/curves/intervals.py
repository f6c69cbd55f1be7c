"""Resampling of whole grammars (or runs), for intervals of what is read off their curves."""

import numpy as np


FEWEST = 4  # below four curves a percentile interval says nothing: three have ten distinct resamples


def check_bootstrap(resamples: int, confidence: float) -> None:
    """Refuses settings that give no interval."""
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} must lie between 0 and 1")


def resampled_rows(num: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Row numbers `(resamples, num)`, drawn with replacement."""
    return rng.integers(0, num, (resamples, num))


def percentile_interval(replicates: np.ndarray, confidence: float) -> np.ndarray:
    """Low and high `(.., 2)` of replicates `(resamples, ..)`; order statistics, so that they may be infinite.

    With n curves it is narrower than nominal by about sqrt(1 - 1/n) and by what Student's t is wider than the normal
    law: of intervals at 95 % from 8 curves about 90 % cover the truth.
    """
    ordered, tail = np.sort(replicates, axis=0), (1 - confidence) / 2 * (len(replicates) - 1)
    return np.stack([ordered[int(tail)], ordered[len(ordered) - 1 - int(tail)]], axis=-1)


def endless(shape: tuple[int, ...]) -> np.ndarray:
    """The interval `(.., 2)` where there are too few curves."""
    return np.broadcast_to(np.array([-np.inf, np.inf]), (*shape, 2)).copy()
