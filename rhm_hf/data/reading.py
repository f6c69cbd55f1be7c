"""From the rows of a dataset back to arrays, in the type they are stored in."""

import hashlib
from typing import Annotated, Any

import datasets
import numpy as np
import pyarrow as pa

from ..checks import OwnCheck, checked


@checked
def tokens_of(dataset: Annotated[datasets.Dataset, OwnCheck()], column: str = "input_ids") -> np.ndarray:
    """A column of symbols as one array, without the detour through Python lists or int64.

    Args:
        dataset (`Dataset`): one split; a selection or a shuffled one is read in its order.
        column (`str`, *optional*, defaults to `"input_ids"`): `input_ids` or `level_1`, ..

    Returns:
        `np.ndarray` of shape `(rows, d)` and the column's own integer type. It is read-only where it shares the memory
        of the dataset.

    Raises:
        `ValueError`: if `dataset` is no split, has no such column, or its rows have no declared length: then see
            [`rows_of`].
    """
    symbols = _column(dataset, column)
    if not pa.types.is_fixed_size_list(symbols.type):
        raise ValueError(
            f"column={column!r} holds {symbols.type}, not lists of one length: cast it to List(Value(..), length=d), "
            "which map() forgets where it writes a column"
        )
    return symbols.flatten().to_numpy().reshape(len(dataset), symbols.type.list_size)


def rows_of(
    dataset: Annotated[datasets.Dataset, OwnCheck()], pad: int, column: str = "input_ids"
) -> tuple[np.ndarray, np.ndarray]:
    """A column of rows of any lengths as one padded array, without the detour through Python lists.

    Args:
        dataset (`Dataset`): one split.
        pad (`int`): what rows are padded with; the result's type holds it.
        column (`str`, *optional*, defaults to `"input_ids"`): of lists of integers.

    Returns:
        `np.ndarray` of shape `(rows, longest)`, and int64 `(rows,)`, the rows' lengths.
    """
    symbols = _column(dataset, column)
    if pa.types.is_fixed_size_list(symbols.type):
        tokens = tokens_of(dataset, column)
        return tokens, np.full(len(tokens), tokens.shape[1], dtype=np.int64)
    lengths = symbols.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    flat = symbols.flatten().to_numpy(zero_copy_only=False)
    dtype = np.promote_types(flat.dtype, np.min_scalar_type(pad))
    tokens = np.full((len(lengths), int(lengths.max(initial=0))), pad, dtype=dtype)
    tokens[np.arange(tokens.shape[1]) < lengths[:, None]] = flat
    return tokens, lengths


def _column(dataset: datasets.Dataset, column: str) -> pa.Array:
    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(f"dataset is a {type(dataset).__name__}: pass one split, a datasets.Dataset")
    if column not in dataset.column_names:
        raise ValueError(f"column={column!r} is missing: the dataset has {', '.join(dataset.column_names)}")
    return dataset.select_columns(column).with_format("arrow")[:].column(0).combine_chunks()


def dataset_tokens(dataset: Any, column: str) -> Any:
    """A column as an array where its rows have a declared length, else its documents."""
    if dataset.column_names is not None and column not in dataset.column_names:
        raise ValueError(f"column={column!r} is missing: the dataset has {', '.join(dataset.column_names)}")
    if not hasattr(dataset, "__len__"):
        return (np.asarray(row[column]) for row in dataset)
    rows = dataset.select_columns(column).with_format("arrow")
    if getattr(dataset.features[column], "length", -1) > 0:
        symbols = rows[:].column(0).combine_chunks()
        return symbols.flatten().to_numpy().reshape(len(dataset), symbols.type.list_size)
    return [
        row.values.to_numpy(zero_copy_only=False) for table in rows.iter(batch_size=1000) for row in table.column(0)
    ]


@checked
def checksum(dataset: datasets.Dataset, column: str = "input_ids", lengths_vary: bool = False) -> str:
    """SHA-256, in hexadecimal, of a column's symbols row after row, each little-endian in its storage type.

    With `lengths_vary`, rows may differ in length, and their lengths follow, int64.
    """
    if lengths_vary:
        rows = _column(dataset, column)
        flat = rows.flatten().to_numpy(zero_copy_only=False)
        lengths = rows.value_lengths().to_numpy(zero_copy_only=False).astype("<i8")
        digest = hashlib.sha256(flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes())
        digest.update(lengths.tobytes())
        return digest.hexdigest()
    symbols = tokens_of(dataset, column)
    little_endian = symbols.astype(symbols.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little_endian)).hexdigest()
