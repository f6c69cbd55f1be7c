"""What people fit an n-gram to, as one flat array."""

from typing import Any, NamedTuple

import numpy as np

from ...checks import check_integer


class Documents(NamedTuple):
    """Sentences or documents, one after the other."""

    tokens: np.ndarray  # int64, all of them
    lengths: np.ndarray  # int64, of every document
    num_symbols: int

    @classmethod
    def of(cls, input_ids: Any, num_symbols: int | None, padded: bool = False) -> "Documents":
        """Reads an array, a tensor, lists or a dataset; see [`NGramForCausalLM.fit`].

        With `padded` a row ends before its first PAD = v + 1, where v is given.
        """
        if padded and num_symbols is not None and not hasattr(input_ids, "column_names"):
            input_ids = _unpadded(input_ids, num_symbols + 1)
        tokens, lengths = _from_dataset(input_ids) if hasattr(input_ids, "column_names") else _from_arrays(input_ids)
        if not len(tokens):
            raise ValueError("input_ids is empty: there is nothing to count")
        if tokens.dtype.kind not in "iu":
            raise ValueError(f"input_ids has dtype {tokens.dtype}: symbols must be integers")
        lowest, highest = int(tokens.min()), int(tokens.max())
        num_symbols = highest + 1 if num_symbols is None else check_integer("num_symbols", num_symbols, 1)
        if lowest < 0 or highest >= num_symbols:
            raise ValueError(
                f"input_ids holds {lowest if lowest < 0 else highest}, out of range: num_symbols={num_symbols}, so "
                f"symbols are 0 to {num_symbols - 1}; leave special ids such as BOS and padding out"
            )
        return cls(tokens.astype(np.int64), np.asarray(lengths, dtype=np.int64), num_symbols)

    def with_ends(self) -> "Documents":
        """The same with END = v after every document."""
        tokens = np.insert(self.tokens, np.cumsum(self.lengths), self.num_symbols)
        return Documents(tokens, self.lengths + 1, self.num_symbols)

    @property
    def common_length(self) -> int | None:
        """The length of all documents, None where they differ."""
        first = int(self.lengths[0])
        return first if (self.lengths == first).all() else None

    @property
    def positions(self) -> np.ndarray:
        """The place of every token in its document."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.tokens)) - np.repeat(starts, self.lengths)


def _unpadded(input_ids, pad: int):
    """Rows without their padding, where they are an array that has some."""
    array = input_ids.detach().cpu().numpy() if hasattr(input_ids, "detach") else input_ids
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not (array == pad).any():
        return input_ids
    return [row[:n] for row, n in zip(array, (array != pad).cumprod(1).sum(1), strict=True)]


def _from_arrays(input_ids) -> tuple[np.ndarray, np.ndarray]:
    if hasattr(input_ids, "detach"):
        input_ids = input_ids.detach().cpu().numpy()
    if isinstance(input_ids, list | tuple) and len({len(part) for part in input_ids if hasattr(part, "__len__")}) > 1:
        parts = [_array(part) if len(part) else np.zeros(0, np.int64) for part in input_ids]
        if any(part.ndim != 1 for part in parts):
            raise ValueError("input_ids mixes shapes: give a list of sequences of ids")
        return np.concatenate(parts), np.array([len(part) for part in parts])
    array = _array(input_ids)
    if array.ndim not in (1, 2):
        raise ValueError(f"input_ids has shape {array.shape}: give sentences (N, d), one text (T,) or documents")
    array = np.atleast_2d(array)
    return array.ravel(), np.full(len(array), array.shape[1])


def _array(values) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError("input_ids is ragged in more than one dimension: give a list of sequences of ids") from None


def _from_dataset(dataset) -> tuple[np.ndarray, np.ndarray]:
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(f"input_ids is a {type(dataset).__name__}: pass one split, a Dataset that is not streamed")
    if "input_ids" not in dataset.column_names:
        raise ValueError(f"the dataset has no column 'input_ids': it has {', '.join(dataset.column_names)}")
    column = dataset.select_columns("input_ids").with_format("arrow")[:].column(0)
    if not (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    ):
        raise ValueError(f"the column 'input_ids' holds {column.type}: it must hold lists of ids")
    return pc.list_flatten(column).to_numpy(), pc.list_value_length(column).to_numpy()


def checked_weights(weights: Any, num_documents: int, smoothing: str) -> np.ndarray | None:
    """One finite non-negative number for every document, not all 0."""
    if weights is None:
        return None
    if smoothing != "add_k":
        raise ValueError(f"weights need smoothing='add_k': {smoothing} counts occurrences, which have no weight")
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (num_documents,):
        raise ValueError(f"weights has shape {weights.shape}: one for each of the {num_documents} sentences is needed")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError("weights must be finite and >= 0, and not all 0")
    return weights
