"""Checks of sentences of different lengths and of evidence on them."""

from typing import Any

import numpy as np
import torch

from ...laws.inputs import checked_mask


def checked_rows(source, tokens: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences or prefixes of any type as int64 `(n, T)`, and their lengths `(n,)`.

    A row's length is the number of ids before its first PAD = v + 1; lists of lists may have different lengths.
    """
    pad, v = source.vocab_size + 1, source.vocab_size
    if not isinstance(tokens, torch.Tensor | np.ndarray):
        rows = [np.asarray(row) for row in tokens]
        if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in rows):
            raise ValueError("tokens must be rows of integers: one sentence is [tokens]")
        filled = np.full((len(rows), max(map(len, rows), default=0)), pad, dtype=np.int64)
        for row, given in zip(filled, rows, strict=True):
            row[: len(given)] = given
        tokens = filled
    if isinstance(tokens, np.ndarray):
        if tokens.dtype.kind not in "iu":
            raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
        tokens = torch.from_numpy(tokens.astype(np.int64))
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
    if tokens.ndim != 2:
        raise ValueError(
            f"tokens has shape {tuple(tokens.shape)}: it must be (sentences, T); one sentence is tokens[None]"
        )
    tokens = tokens.to(torch.int64)
    inside = (tokens != pad).cumprod(1).bool()
    tokens = torch.where(inside, tokens, 0)
    if tokens.numel():
        lowest, highest = torch.stack(tokens.aminmax()).tolist()
        if lowest < 0 or highest >= v:
            raise ValueError(
                f"tokens holds {lowest if lowest < 0 else highest}, out of range: vocab_size={v}, so symbols are 0 to "
                f"{v - 1} and PAD is {pad}; other special ids such as BOS must be removed"
            )
    return tokens, inside.sum(1)


def masked_rows(source, tokens: Any, mask: Any):
    """Checked tokens, lengths and mask; hidden tokens may hold anything but PAD and become 0."""
    if mask is None:
        return *checked_rows(source, tokens), None
    tokens = tokens if isinstance(tokens, torch.Tensor) else torch.as_tensor(np.asarray(tokens).astype(np.int64))
    mask = checked_mask(mask, tokens)
    hidden = mask & (tokens != source.vocab_size + 1)
    tokens, lengths = checked_rows(source, torch.where(hidden, 0, tokens))
    inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    return tokens, lengths, mask & inside


def checked_evidence(source, evidence: Any) -> torch.Tensor:
    """Soft evidence `(sentences, T, v)`: floating point, finite and nowhere negative."""
    evidence = torch.as_tensor(np.asarray(evidence)) if not isinstance(evidence, torch.Tensor) else evidence
    if evidence.ndim != 3 or evidence.shape[2] != source.vocab_size:
        raise ValueError(f"evidence has shape {tuple(evidence.shape)}: it must be (sentences, T, {source.vocab_size})")
    evidence = evidence.to(torch.float64)
    if evidence.numel() and not bool(((evidence >= 0) & (evidence < torch.inf)).all()):
        bad = evidence[~((evidence >= 0) & (evidence < torch.inf))][0].item()
        raise ValueError(f"evidence holds {bad}: likelihoods must be finite and >= 0")
    return evidence


def refuse_impossible(logs: torch.Tensor) -> None:
    """Raises the `ValueError` that names the first row without any tree."""
    impossible = logs.isneginf()
    if bool(impossible.any()):
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"row {row} has no derivation: its evidence is impossible under this grammar; leave such rows out "
            "(log_prob is -inf there)"
        )


def given_evidence(source, tokens, mask, evidence, lengths, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Likelihoods `(n, T, v)` of the tokens and lengths `(n,)`, from tokens with or without a mask or from evidence."""
    if (tokens is None) == (evidence is None):
        raise ValueError(
            "give either tokens (with or without a mask) or evidence, of shape (sentences, T, vocab_size)"
        )
    v = source.vocab_size
    if evidence is None:
        if lengths is not None:
            raise ValueError("lengths goes with evidence; the length of a row of tokens is where PAD begins")
        tokens, lengths, mask = masked_rows(source, tokens, mask)
        given = torch.zeros(*tokens.shape, v, dtype=dtype, device=tokens.device)
        given.scatter_(2, tokens[..., None], 1.0)
        if mask is not None:
            given[mask] = 1.0
        return given, lengths
    if mask is not None:
        raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
    given = checked_evidence(source, evidence).to(dtype)
    if lengths is None:
        lengths = torch.full((len(given),), given.shape[1], device=given.device)
    lengths = torch.as_tensor(lengths, device=given.device).to(torch.int64)
    if lengths.shape != given.shape[:1] or (
        len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= given.shape[1]
    ):
        raise ValueError(f"lengths must be {len(given)} integers of 0..{given.shape[1]}, one a row of evidence")
    return given, lengths
