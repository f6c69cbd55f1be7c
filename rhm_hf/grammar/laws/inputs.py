"""Checks of what people pass in. On CUDA they cost one synchronisation with the host, to look at the values."""

from typing import Any

import numpy as np
import torch

from ...checks import check_integer
from ..refusal import NotSupported
from ..source import Source


def checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """float64 unless told otherwise."""
    if dtype is None:
        return torch.float64
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"dtype={dtype!r} is not supported: exact laws come in torch.float64 (default) or torch.float32"
        )
    return dtype


def checked_tokens(
    grammar: Source, tokens: Any, whole: bool = True, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Integer tokens `(sentences, length)` of any type as int64, on their own device (CPU where they are no tensor).

    Args:
        grammar (`Grammar`): gives the vocabulary and the sentence length.
        tokens (tensor, array or list): shape `(n, d)`, or `(n, t)`, t <= d, where `whole` is False.
        whole (`bool`, *optional*, defaults to `True`): whether the length must be d.
        hidden (`torch.Tensor`, *optional*): bool `(n, d)`; hidden entries may hold anything and become 0.
    """
    if grammar.lengths_vary:
        tokens = padded(tokens, grammar.vocab_size + 1)
    tokens = _tensor("tokens", tokens)
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
    if grammar.lengths_vary:
        return _checked_rows(grammar, tokens)
    length = grammar.sentence_length
    if tokens.ndim != 2 or (tokens.shape[1] != length if whole else tokens.shape[1] > length):
        allowed = f"(sentences, {length})" if whole else f"(sentences, t) with t <= {length}"
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}: it must be {allowed}; one sentence is tokens[None]")
    tokens = tokens.to(torch.int64)
    if hidden is not None:
        tokens = torch.where(hidden, 0, tokens)
    if tokens.numel():
        lowest, highest = torch.stack(tokens.aminmax()).tolist()
        if lowest < 0 or highest >= grammar.vocab_size:
            raise ValueError(
                f"tokens holds {lowest if lowest < 0 else highest}, out of range: vocab_size={grammar.vocab_size}, so "
                f"symbols are 0 to {grammar.vocab_size - 1}; special ids such as BOS must be removed or masked"
            )
    return tokens


def padded(rows: Any, pad: int) -> Any:
    """Lists of lists as one array `(n, longest)`, padded at the end; anything else as it is."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple | np.ndarray) for row in rows):
        return rows
    width = max(map(len, rows), default=0)
    filled = np.full((len(rows), width), pad, dtype=np.int64)
    for row, values in zip(filled, rows, strict=True):
        values = np.asarray(values)
        if len(values) and values.dtype.kind not in "iu":
            raise ValueError(f"tokens holds a row of dtype {values.dtype}: symbols must be integers")
        row[: len(values)] = values
    return filled


def _checked_rows(grammar, tokens: torch.Tensor) -> torch.Tensor:
    """Rows of different lengths: symbols, then PAD."""
    v, longest = grammar.vocab_size, grammar.max_length
    if tokens.ndim != 2:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}: it must be (sentences, t), padded with PAD = {v + 1}"
        )
    tokens = tokens.to(torch.int64)
    is_pad = tokens == v + 1
    wrong = ((tokens < 0) | (tokens >= v)) & ~is_pad
    wrong |= ~is_pad & (is_pad.cumsum(1) > 0)
    if longest is not None:
        wrong[:, longest:] |= ~is_pad[:, longest:]
    if wrong.any():
        row, place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"tokens[{row}, {place}] = {int(tokens[row, place])} is out of place: vocab_size={v}, so symbols are 0 to "
            f"{v - 1}, at most {longest or 'any number'} a sentence, with PAD = {v + 1} after them only"
        )
    return tokens


def checked_context(grammar: Source, context_level: int | None, context_length: int | None) -> tuple[int, int | None]:
    """The level to start from, and the window where it leaves out any token."""
    if context_level is not None and context_length is not None:
        raise ValueError(
            f"context_level={context_level!r} and context_length={context_length!r} are two different truncations: "
            "give one of them"
        )
    if context_level is not None:
        if not grammar.has_blocks:
            raise NotSupported(
                f"context_level={context_level!r}", grammar, "its trees have no aligned blocks", "use context_length"
            )
        return check_integer("context_level", context_level, 0, grammar.depth + 1), None
    if context_length is None:
        return grammar.depth, None
    window = check_integer("context_length", context_length, 0)
    if window == 0:
        return 0, None  # the marginal laws of the tokens
    return grammar.depth, window if window < grammar.sentence_length - 1 else None


def checked_mask(mask: Any, tokens: Any) -> torch.Tensor:
    """A bool mask of the tokens' shape, on the tokens' device; True hides a token."""
    tokens = _tensor("tokens", tokens)
    mask = _tensor("mask", mask)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}: it must be bool, True where a token is hidden")
    if mask.shape != tokens.shape:
        raise ValueError(f"mask has shape {tuple(mask.shape)}: it must be that of tokens, {tuple(tokens.shape)}")
    return mask.to(tokens.device)


def checked_evidence(grammar: Source, evidence: Any) -> torch.Tensor:
    """Soft evidence `(sentences, d, v)`: floating point, finite and nowhere negative."""
    evidence = _tensor("evidence", evidence)
    shape = (grammar.sentence_length, grammar.vocab_size)
    if evidence.ndim != 3 or evidence.shape[1:] != shape:
        raise ValueError(f"evidence has shape {tuple(evidence.shape)}: it must be (sentences, {shape[0]}, {shape[1]})")
    if evidence.is_complex():
        raise ValueError(f"evidence has dtype {evidence.dtype}: likelihoods must be real")
    return checked_likelihoods(evidence)


def check_given(tokens: Any, mask: Any, evidence: Any, lengths: Any = None) -> None:
    """Raises a `ValueError` unless tokens are given, or evidence: a mask goes with the one, lengths with the other."""
    if (tokens is None) == (evidence is None):
        raise ValueError(
            "give either tokens (with or without a mask) or evidence, of shape (sentences, d, vocab_size)"
        )
    if evidence is not None and mask is not None:
        raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
    if evidence is None and lengths is not None:
        raise ValueError("lengths goes with evidence; the length of a row of tokens is where PAD begins")


def checked_likelihoods(evidence: torch.Tensor) -> torch.Tensor:
    """Soft evidence of any shape in float64: finite and nowhere negative."""
    evidence = evidence.to(torch.float64)
    if evidence.numel() and not bool(((evidence >= 0) & (evidence < torch.inf)).all()):
        bad = evidence[~((evidence >= 0) & (evidence < torch.inf))][0].item()
        raise ValueError(f"evidence holds {bad}: likelihoods must be finite and >= 0")
    return evidence


def _tensor(name: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is ragged: all rows must have the same length") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}: pass numbers, as a tensor, an array or lists")
    if array.dtype.kind == "u":  # torch handles few unsigned types
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array, order="C"))  # a copy: read-only and reversed arrays are welcome
