"""From the rows of a dataset back to arrays, in the type they are stored in."""

import hashlib

import datasets
import numpy as np
import pyarrow as pa


def tokens_of(dataset: datasets.Dataset, column: str = "input_ids") -> np.ndarray:
    """A column of symbols as one array, without the detour through Python lists or int64.

    Args:
        dataset (`Dataset`): one split; a selection or a shuffled one is read in its order.
        column (`str`, *optional*, defaults to `"input_ids"`): `input_ids` or `level_1`, ..

    Returns:
        `np.ndarray` of shape `(rows, d)` and the column's own integer type. It is read-only where it shares the memory
        of the dataset.

    Raises:
        `ValueError`: if `dataset` is no split, has no such column, or its rows have no declared length.
    """
    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(f"dataset is a {type(dataset).__name__}: pass one split, a datasets.Dataset")
    if column not in dataset.column_names:
        raise ValueError(f"column={column!r} is missing: the dataset has {', '.join(dataset.column_names)}")
    symbols = dataset.select_columns(column).with_format("arrow")[:].column(0).combine_chunks()
    if not pa.types.is_fixed_size_list(symbols.type):
        raise ValueError(
            f"column={column!r} holds {symbols.type}, not lists of one length: cast it to List(Value(..), length=d), "
            "which map() forgets where it writes a column"
        )
    return symbols.flatten().to_numpy().reshape(len(dataset), symbols.type.list_size)


def checksum(dataset: datasets.Dataset, column: str = "input_ids") -> str:
    """SHA-256, in hexadecimal, of a column's symbols row after row, each little-endian in its storage type."""
    symbols = tokens_of(dataset, column)
    little_endian = symbols.astype(symbols.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little_endian)).hexdigest()
