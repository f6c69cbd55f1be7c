"""What a count model says of its smoothing, checked once for all of them."""

import math
from numbers import Real


SMOOTHINGS = ("kneser_ney", "add_k")


def check_smoothing(smoothing: str, add_k: float, discount: float | None) -> None:
    """Raises a `ValueError` that names what is wrong."""
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing={smoothing!r} is unknown: it must be one of {', '.join(SMOOTHINGS)}")
    if not (_is_real(add_k) and 0 <= add_k < math.inf):
        raise ValueError(f"add_k={add_k!r} must be a number >= 0 (0: relative frequencies)")
    if discount is not None and not (_is_real(discount) and 0 <= discount <= 1):
        raise ValueError(f"discount={discount!r} must be a number from 0 to 1, or None to estimate it from the counts")


def _is_real(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
