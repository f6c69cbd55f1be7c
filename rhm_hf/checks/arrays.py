"""Checks of arrays and of token ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .scalars import shown


def check_array(name: str, value: Any) -> Any:
    """Arrays, tensors and lists of numbers, all rows of one length; what numbers they may hold, the function knows."""
    if isinstance(value, list | tuple | range):
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(f"{name} is ragged: all its rows must have the same length") from None
    elif hasattr(value, "__array__") and hasattr(value, "shape"):
        array = value
    else:
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be an array or a list of numbers")
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must hold numbers, not {array.dtype}")
    return value


def as_array(value: Any) -> np.ndarray:
    """An array, of a tensor on any device too; numpy knows no tensors that require gradients or lie elsewhere."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def check_ids(name: str, value: Any, low: int = 0) -> Any:
    """Ids of tokens in arrays or lists, one row or rows of any lengths: integers >= `low`, no texts and no floats.

    Other holders of rows, such as data sets, and iterators pass as they are; tensors come back as arrays.
    """
    if hasattr(value, "detach"):  # a tensor
        value = as_array(value)
    if isinstance(value, Mapping) and hasattr(value, "column_names"):
        raise ValueError(f"{name} is a dataset of several splits: pass one, {name}[{next(iter(value), 'test')!r}]")
    is_text = isinstance(value, str | bytes)
    if (
        is_text
        or isinstance(value, Mapping | type)
        or not hasattr(value, "__iter__")
        or getattr(value, "ndim", 1) == 0
    ):
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must hold ids, in an array or in lists")
    is_list = isinstance(value, list | tuple)
    of_rows = is_list and len(value) > 0 and hasattr(value[0], "__len__")
    for part in value if of_rows else [value] if is_list or isinstance(value, np.ndarray) else []:
        try:
            array = as_array(part)
        except ValueError:
            raise ValueError(f"{name} is ragged below its rows: it must hold ids, or rows of ids") from None
        if array.ndim > 2 - of_rows:
            raise ValueError(f"{name} has {array.ndim + of_rows} dimensions: it must hold ids, or rows of ids")
        if array.size and array.dtype.kind not in "iu":
            raise ValueError(f"{name} has dtype {array.dtype}: ids must be integers")
        if array.size and (least := int(array.min())) < low:
            raise ValueError(f"{name} holds {least}: ids must be integers >= {low}")
    return value
