"""What people pass in, as numpy rows: general grammars compute on the CPU."""

from typing import Any, NamedTuple

import numpy as np
import torch

from ....checks import as_array
from ...laws.inputs import check_given, checked_likelihoods, checked_tokens, padded
from ...source import Source


class Rows(NamedTuple):
    """int64 tokens `(n, t)`, 0 in the padding, int64 lengths `(n,)`, and where results belong."""

    tokens: np.ndarray
    lengths: np.ndarray
    device: torch.device


def checked_rows(source: Source, tokens: Any) -> Rows:
    """Rows of tokens of any type; the length of one is the number of ids before its first PAD."""
    tokens = checked_tokens(source, tokens, whole=False)
    array = tokens.cpu().numpy()
    inside = array != source.vocab_size + 1
    return Rows(np.where(inside, array, 0), inside.sum(1), tokens.device)


def given_evidence(
    source: Source, tokens: Any, mask: Any, evidence: Any, lengths: Any
) -> tuple[Rows, np.ndarray | None]:
    """Rows, and likelihoods `(n, t, v)` where tokens are hidden or soft; None where all are known."""
    check_given(tokens, mask, evidence, lengths)
    if evidence is not None:
        return _checked_evidence(source, evidence, lengths)
    if mask is None:
        return checked_rows(source, tokens), None
    tokens, hidden = padded(tokens, source.vocab_size + 1), as_array(mask)
    device = tokens.device if isinstance(tokens, torch.Tensor) else torch.device("cpu")
    array = as_array(tokens)
    if hidden.dtype != bool or hidden.shape != array.shape:
        raise ValueError(
            f"mask has shape {hidden.shape} and dtype {hidden.dtype}: it must be bool, True where a token is hidden, "
            f"of the shape of tokens, {array.shape}"
        )
    rows = checked_rows(source, np.where(hidden, 0, array))
    likelihoods = np.eye(source.vocab_size)[rows.tokens]
    likelihoods[hidden] = 1.0
    return rows._replace(device=device), likelihoods


def _checked_evidence(source, evidence: Any, lengths: Any) -> tuple[Rows, np.ndarray]:
    device = evidence.device if isinstance(evidence, torch.Tensor) else torch.device("cpu")
    array = as_array(evidence)
    if array.ndim != 3 or array.shape[2] != source.vocab_size or array.dtype.kind not in "fiu":
        raise ValueError(
            f"evidence has shape {array.shape} and dtype {array.dtype}: it must be numbers (sentences, t, "
            f"{source.vocab_size})"
        )
    array = checked_likelihoods(torch.from_numpy(np.array(array, dtype=np.float64, order="C"))).numpy()
    n, t, _ = array.shape
    sizes = np.full(n, t) if lengths is None else as_array(lengths)
    if sizes.shape != (n,) or sizes.dtype.kind not in "iu" or (n and (sizes.min() < 0 or sizes.max() > t)):
        raise ValueError(f"lengths must be {n} integers from 0 to {t}: the numbers of tokens of the rows")
    return Rows(np.zeros((n, t), np.int64), sizes.astype(np.int64), device), array
