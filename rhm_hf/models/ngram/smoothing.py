"""What a count model says of its smoothing, checked once for all of them."""

import math
from collections.abc import Sequence
from numbers import Real

from ...checks import NonNegativeInt, check_memory


SMOOTHINGS = ("kneser_ney", "add_k")
Counts = Sequence[NonNegativeInt]  # one for each order


def check_smoothing(smoothing: str, add_k: float, discount: float | None) -> None:
    """Raises a `ValueError` that names what is wrong."""
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing={smoothing!r} is unknown: it must be one of {', '.join(SMOOTHINGS)}")
    if not (_is_real(add_k) and 0 <= add_k < math.inf):
        raise ValueError(f"add_k={add_k!r} must be a number >= 0 (0: relative frequencies)")
    if discount is not None and not (_is_real(discount) and 0 <= discount <= 1):
        raise ValueError(f"discount={discount!r} must be a number from 0 to 1, or None to estimate it from the counts")


def check_counts(num_contexts: Counts, num_pairs: Counts) -> None:
    """Raises a `ValueError` for shapes that are not one of each for every order, or that do not fit."""
    if len(num_contexts) != len(num_pairs):
        raise ValueError(f"num_pairs has {len(num_pairs)} entries and num_contexts {len(num_contexts)}: one an order")
    what = f"num_contexts={list(num_contexts)} and num_pairs={list(num_pairs)}"
    check_memory(what, 8 * sum(num_contexts) + 16 * sum(num_pairs), "count shorter contexts, or less text")


def _is_real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
