"""Checks of arguments, used by every public function: they return the value as it should be, or name the argument."""

import math
import operator
from numbers import Real
from typing import Any

import numpy as np


SEED_LIMIT = 2**63
MAX_VOCAB_SIZE = 2**31 - 4  # ids are int32 at most, and BOS, PAD and MASK follow the symbols


def smallest_dtype(num_symbols: int) -> np.dtype:
    """The smallest of uint8, uint16 and int32 that holds 0..num_symbols-1."""
    return np.dtype("uint8" if num_symbols <= 2**8 else "uint16" if num_symbols <= 2**16 else "int32")


def check_integer(name: str, value: Any, minimum: int, limit: int | None = None) -> int:
    """Returns `value` as a Python integer of `[minimum, limit)`, or raises a `ValueError` that names the argument."""
    allowed = f"an integer >= {minimum}" + (f" and < {limit}" if limit is not None else "")
    try:
        number = operator.index(value)  # takes numpy integers, refuses floats and strings
    except TypeError:
        raise ValueError(f"{name}={value!r} is not {allowed}: pass a Python or numpy integer") from None
    if isinstance(value, bool) or number < minimum or (limit is not None and number >= limit):
        raise ValueError(f"{name}={value!r} is out of range: it must be {allowed}")
    return number


def check_number(name: str, value: Any, minimum: float, maximum: float = math.inf) -> float:
    """Returns `value` as a finite float of `[minimum, maximum]`, or raises a `ValueError` that names the argument."""
    allowed = f"a number >= {minimum:g}" + (f" and <= {maximum:g}" if maximum < math.inf else "")
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ValueError(f"{name}={value!r} is not {allowed}")
    number = float(value)
    if not (math.isfinite(number) and minimum <= number <= maximum):
        raise ValueError(f"{name}={value!r} is out of range: it must be {allowed}")
    return number + 0.0  # -0.0 becomes 0.0
