"""From whatever people hold tokens in to [`PairCounts`]."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ...data.provenance import population_of
from ...data.reading import dataset_tokens
from .checked_ids import checked_distances
from .pair_counts import PairCounts


NUM_BLOCKS = 32
BLOCK_DISTANCES = 10  # blocks are so many times as long as the largest distance, where the text is long enough


def count_tokens(
    tokens: Any,
    distances: Iterable[int],
    vocab_size: int | None,
    anchor: str | None,
    left: Any,
    num_left: int | None,
    column: str,
    settings: dict[str, Any],
) -> PairCounts:
    """Counts rows, a text, documents or a dataset: see [`~rhm_hf.statistics.token_correlations`]."""
    distances = checked_distances(distances)
    if hasattr(tokens, "column_names"):  # a datasets.Dataset or IterableDataset
        tokens = dataset_tokens(tokens, column)
    elif hasattr(tokens, "__len__") and not isinstance(tokens, list | tuple | np.ndarray | torch.Tensor):
        tokens = list(tokens)  # a column of a dataset
    if isinstance(tokens, list | tuple):
        tokens = _from_list(tokens)
    if not isinstance(tokens, np.ndarray | torch.Tensor):
        return _count_documents(tokens, distances, vocab_size, anchor, left, settings)
    if not math.prod(tokens.shape):
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}: the text is empty")
    longest = tokens.shape[-1]
    if max(distances) >= longest:
        raise ValueError(
            f"distances={list(distances)} reach beyond the text: rows have {longest} tokens, so distances are 1 to "
            f"{longest - 1}"
        )
    if left is not None:
        left = left if isinstance(left, np.ndarray | torch.Tensor) else np.asarray(left)
        num_left = int(left.max()) + 1 if num_left is None else num_left
    elif num_left is not None:
        raise ValueError(f"num_left={num_left} without left: give the ids of the left members")
    anchor = anchor or ("last" if tokens.ndim == 2 else "all")
    num_blocks = _num_blocks(settings, math.prod(tokens.shape), 0 if tokens.ndim == 2 else max(distances))
    unit = longest if tokens.ndim == 2 else 1  # blocks of whole rows
    block_length = -(-math.prod(tokens.shape) // unit // num_blocks) * unit
    vocab_size = _largest(tokens) + 1 if vocab_size is None else vocab_size
    device = tokens.device if isinstance(tokens, torch.Tensor) else "cpu"
    options = {**settings, "num_blocks": num_blocks, "block_length": block_length}
    options |= {"num_left": num_left, "device": device}
    return PairCounts(distances, vocab_size, anchor=anchor, **options).add(tokens, left)


def drawn_from(tokens: Any, anchor: str, column: str = "input_ids") -> int | None:
    """How many sentences the different rows of a dataset were drawn from, as it says; None of anything else.

    Halves of a sample without replacement are anticorrelated, and nobody who has a dataset remembers how it was drawn.
    """
    if anchor != "last" or not (hasattr(tokens, "column_names") and hasattr(tokens, "__len__")):
        return None
    if (population := population_of(tokens)) is None:
        return None
    rows = dataset_tokens(tokens, column)
    are_rows = isinstance(rows, np.ndarray) and rows.ndim == 2
    return population if are_rows and len(np.unique(rows, axis=0)) == len(rows) else None


def _count_documents(documents, distances, vocab_size, anchor, left, settings) -> PairCounts:
    if left is not None:
        raise ValueError("left ids need arrays: give tokens as rows (n, d) or one text (n,)")
    options = {**settings, "num_blocks": settings["num_blocks"] or NUM_BLOCKS}
    if isinstance(documents, list):
        documents = [np.asarray(document) for document in documents]
        total = sum(len(document) for document in documents)
        if not total:
            raise ValueError("tokens holds no token: the text is empty")
        options["num_blocks"] = _num_blocks(settings, total, max(distances))
        options["block_length"] = -(-total // options["num_blocks"])
        if vocab_size is None:
            vocab_size = max(_largest(document) for document in documents if len(document)) + 1
    elif not isinstance(documents, Iterable):
        raise ValueError(f"tokens is a {type(documents).__name__}: pass an array, documents or a dataset")
    if vocab_size is None:
        raise ValueError("vocab_size=None: what can be read only once needs it")
    return PairCounts(distances, vocab_size, anchor=anchor or "all", **options).add_documents(documents)


def _num_blocks(settings: dict[str, Any], total: int, reach: int) -> int:
    """As asked; by default 32, fewer but at least 4 where blocks would be short against the reach of their pairs."""
    if settings["num_blocks"] is not None:
        return settings["num_blocks"]
    return max(4, min(NUM_BLOCKS, total // (BLOCK_DISTANCES * reach))) if reach else NUM_BLOCKS


def _from_list(tokens: list | tuple) -> Any:
    """One text or rows as an array, documents of different lengths as a list of them."""
    if not len(tokens):
        raise ValueError("tokens is an empty list: the text is empty")
    if np.ndim(tokens[0]) == 0:
        return np.asarray(tokens)
    if len({len(row) for row in tokens}) == 1:
        return torch.stack(list(tokens)) if isinstance(tokens[0], torch.Tensor) else np.asarray(tokens)
    return list(tokens)


def _largest(tokens: Any) -> int:
    if isinstance(tokens, np.ndarray) and tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens has dtype {tokens.dtype}: tokens must be integers")
    return int(tokens.max())
