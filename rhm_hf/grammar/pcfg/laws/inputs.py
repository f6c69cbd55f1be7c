"""Checks of sentences of different lengths: lists of lists, or rows padded with PAD = v + 1."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch


class Rows(NamedTuple):
    """int64 tokens `(n, t)`, int64 lengths `(n,)`, and where results belong."""

    tokens: np.ndarray
    lengths: np.ndarray
    device: torch.device


def checked_rows(source, tokens: Any, hidden: np.ndarray | None = None) -> Rows:
    """Rows of tokens; the length of one is the number of ids before its first PAD.

    Args:
        source: gives the vocabulary.
        tokens (tensor, array or list): integers `(n, t)` or a list of rows of any lengths.
        hidden (`np.ndarray`, *optional*): bool `(n, t)`; hidden entries may hold anything and become 0.

    Raises:
        `ValueError`: for anything but tokens and PAD, and for tokens after PAD.
    """
    device = tokens.device if isinstance(tokens, torch.Tensor) else torch.device("cpu")
    pad, array = source.vocab_size + 1, _array(tokens, source.vocab_size + 1)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"tokens has shape {array.shape} and dtype {array.dtype}: it must be integers (sentences, tokens), padded "
            f"with {pad}, or a list of lists; one sentence is [tokens]"
        )
    array = array.astype(np.int64)
    if hidden is not None:
        array = np.where(hidden, 0, array)
    is_pad = array == pad
    lengths = np.where(is_pad.any(1), is_pad.argmax(1), array.shape[1]) if array.shape[1] else np.zeros(len(array), int)
    inside = np.arange(array.shape[1]) < lengths[:, None]
    bad = array[np.where(inside, (array < 0) | (array >= source.vocab_size), ~is_pad)]
    if len(bad):
        raise ValueError(
            f"tokens holds {bad[0]}{'' if bad[0] < 0 or bad[0] >= source.vocab_size else ' after padding'}: "
            f"vocab_size={source.vocab_size}, so tokens are 0 to {source.vocab_size - 1}, and {pad} fills rows up; other "
            "special ids must be removed"
        )
    return Rows(np.where(inside, array, 0), lengths.astype(np.int64), device)


def _array(tokens: Any, pad: int) -> np.ndarray:
    if isinstance(tokens, torch.Tensor):
        return tokens.detach().cpu().numpy()
    if isinstance(tokens, np.ndarray):
        return tokens
    if not isinstance(tokens, Sequence) or isinstance(tokens, str):
        raise ValueError(f"tokens={tokens!r} are no rows: pass a tensor, an array or a list of lists")
    rows = [np.asarray(row.cpu() if isinstance(row, torch.Tensor) else row) for row in tokens]
    if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in rows):
        raise ValueError("tokens must be a list of rows, each a list of integers; one sentence is [tokens]")
    array = np.full((len(rows), max((len(row) for row in rows), default=0)), pad, dtype=np.int64)
    for place, row in zip(array, rows, strict=True):
        place[: len(row)] = row
    return array


def given_evidence(source, tokens: Any, mask: Any, evidence: Any, lengths: Any) -> tuple[Rows, np.ndarray | None]:
    """Rows, and likelihoods `(n, t, v)` where tokens are hidden or soft; None where all are known."""
    if (tokens is None) == (evidence is None):
        raise ValueError("give either tokens (with or without a mask) or evidence, of shape (sentences, t, vocab_size)")
    if evidence is not None:
        if mask is not None:
            raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
        return _checked_evidence(source, evidence, lengths)
    if lengths is not None:
        raise ValueError("lengths goes with evidence: rows of tokens are padded with PAD")
    if mask is None:
        return checked_rows(source, tokens), None
    array = _array(tokens, source.vocab_size + 1)
    hidden = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if hidden.dtype != bool or hidden.shape != array.shape:
        raise ValueError(
            f"mask has shape {hidden.shape} and dtype {hidden.dtype}: it must be bool, True where a token is hidden, of "
            f"the shape of tokens, {array.shape}"
        )
    rows = checked_rows(source, tokens, hidden)
    likelihoods = np.eye(source.vocab_size)[rows.tokens]
    likelihoods[hidden] = 1.0
    return rows, likelihoods


def _checked_evidence(source, evidence: Any, lengths: Any) -> tuple[Rows, np.ndarray]:
    device = evidence.device if isinstance(evidence, torch.Tensor) else torch.device("cpu")
    array = evidence.detach().cpu().numpy() if isinstance(evidence, torch.Tensor) else np.asarray(evidence)
    if array.ndim != 3 or array.shape[2] != source.vocab_size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"evidence has shape {array.shape} and dtype {array.dtype}: it must be numbers (sentences, t, "
            f"{source.vocab_size})"
        )
    array = array.astype(np.float64)
    if not (np.isfinite(array) & (array >= 0)).all():
        bad = array[~(np.isfinite(array) & (array >= 0))][0]
        raise ValueError(f"evidence holds {bad}: likelihoods must be finite and >= 0")
    n, t, _ = array.shape
    sizes = np.full(n, t) if lengths is None else np.asarray(lengths.cpu() if isinstance(lengths, torch.Tensor) else lengths)
    if sizes.shape != (n,) or sizes.dtype.kind not in "iu" or (n and (sizes.min() < 0 or sizes.max() > t)):
        raise ValueError(f"lengths must be {n} integers from 0 to {t}: the numbers of tokens of the rows")
    return Rows(np.zeros((n, t), np.int64), sizes.astype(np.int64), device), array


def checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """float64 unless told otherwise."""
    if dtype not in (None, torch.float32, torch.float64):
        raise ValueError(
            f"dtype={dtype!r} is not supported: exact laws come in torch.float64 (default) or torch.float32"
        )
    return torch.float64 if dtype is None else dtype
