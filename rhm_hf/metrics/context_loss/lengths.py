"""Which context lengths a paired curve is measured at: coarse ones, and finer ones where it bends.

A pass of n tokens for every target costs n, or with attention more: the few longest lengths cost nearly all. So above
`DENSE` every other one of the log-spaced lengths is measured only where an answer, or an end of its interval, lies
beside it, and every one within an interval.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .saturation import RELATIVE, saturation


DENSE = 64  # up to here all lengths are measured


def log_spaced(longest: int) -> list[int]:
    """0, 1, 2, 3, 4, 6, 8, 11, 16, .. `longest`: powers of the square root of 2, rounded."""
    powers = {round(2 ** (k / 2)) for k in range(2 * longest.bit_length() + 1)}
    return sorted({0, longest, *(n for n in powers if n < longest)})


def left_for_later(lengths: Sequence[int]) -> list[int]:
    """Of log-spaced lengths, those that are no powers of 2 between 64 and the longest."""
    return [n for n in lengths[:-1] if n > DENSE and n & (n - 1)]


def where_it_bends(
    measured: Sequence[int],
    unmeasured: Sequence[int],
    sums: torch.Tensor,
    counts: torch.Tensor,
    num_windows: int,
    seed: int,
) -> list[int]:
    """The lengths not yet measured that lie within the interval of n_sat or n_sat_relative, or beside its ends.

    A length beside an end on either side may become the end itself: left out, it could make an interval narrower.

    Args:
        measured, unmeasured (`Sequence[int]`): ascending.
        sums, counts (`torch.Tensor`): `(rows, measured)` and `(rows,)`, see [`saturation`].
        num_windows (`int`), seed (`int`): of the windows.
    """
    if not unmeasured:
        return []
    options = {"num_windows": num_windows, "seed": seed, "count_windows": False}
    found = [
        saturation(measured, sums, counts, **options),
        saturation(measured, sums, counts, tolerance=RELATIVE, relative=True, **options),
    ]
    wanted = set()
    for one in (one for one in found if one.estimate is not None):
        low, high = one.interval or (one.estimate, one.estimate)
        first, last = np.searchsorted(measured, [low, high])
        below, above = measured[max(first - 1, 0)], measured[min(last + 1, len(measured) - 1)]
        wanted |= {n for n in unmeasured if below < n < above}
    return sorted(wanted)
