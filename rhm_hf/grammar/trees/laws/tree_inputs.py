"""Evidence on the tokens of sentences of different lengths."""

from typing import Any

import numpy as np
import torch

from ...laws.inputs import check_given, checked_likelihoods, checked_mask, checked_tokens


def lengths_of(source: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The numbers of ids before the first PAD of each row: int64 `(n,)`."""
    return (tokens != source.vocab_size + 1).cumprod(1).sum(1)


def given_evidence(
    source: Any, tokens: Any, mask: Any, evidence: Any, lengths: Any, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Likelihoods `(n, T, v)` of the tokens and lengths `(n,)`, from tokens and a mask or from evidence."""
    check_given(tokens, mask, evidence, lengths)
    if evidence is None:
        return _of_tokens(source, tokens, mask, dtype)
    given = _checked_evidence(source, evidence).to(dtype)
    if lengths is None:
        return given, torch.full((len(given),), given.shape[1], device=given.device)
    lengths = torch.as_tensor(lengths, device=given.device).to(torch.int64)
    allowed = lengths.shape == given.shape[:1] and bool(((lengths >= 0) & (lengths <= given.shape[1])).all())
    if not allowed:
        raise ValueError(f"lengths must be {len(given)} integers of 0..{given.shape[1]}, one a row of evidence")
    return given, lengths


def _of_tokens(source: Any, tokens: Any, mask: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with a single 1, and rows of ones for hidden tokens, which may hold anything but PAD."""
    v, hidden = source.vocab_size, None
    if mask is not None:
        tokens = tokens if isinstance(tokens, torch.Tensor) else torch.as_tensor(np.array(tokens, dtype=np.int64))
        hidden = checked_mask(mask, tokens) & (tokens != v + 1)
        tokens = torch.where(hidden, 0, tokens)
    tokens = checked_tokens(source, tokens)
    lengths = lengths_of(source, tokens)
    given = torch.zeros(*tokens.shape, v, dtype=dtype, device=tokens.device)
    given.scatter_(2, torch.where(tokens < v, tokens, 0)[..., None], 1.0)
    if hidden is not None:
        given[hidden] = 1.0
    return given, lengths


def _checked_evidence(source: Any, evidence: Any) -> torch.Tensor:
    """Soft evidence `(sentences, T, v)`: floating point, finite and nowhere negative."""
    evidence = evidence if isinstance(evidence, torch.Tensor) else torch.as_tensor(np.asarray(evidence))
    if evidence.ndim != 3 or evidence.shape[2] != source.vocab_size or evidence.is_complex():
        raise ValueError(
            f"evidence has shape {tuple(evidence.shape)} and dtype {evidence.dtype}: it must be real, of shape "
            f"(sentences, T, {source.vocab_size})"
        )
    return checked_likelihoods(evidence)
