"""Next-token laws given a window of tokens, from posteriors: for families without a faster way."""

from typing import Any

import torch
import torch.nn.functional as F


WINDOW_ROWS = 2**10  # windows whose posteriors are taken together


def fill_windows(grammar: Any, tokens: torch.Tensor, window: int, probs: torch.Tensor, valid: torch.Tensor) -> None:
    """Writes the laws of the tokens at positions beyond `window`: posteriors with all but a window hidden.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        tokens (`torch.Tensor`): int64 `(n, t)`.
        window (`int`): visible tokens before each one.
        probs, valid (`torch.Tensor`): `(n, positions, v)` and `(n, positions)`, written from `window + 1` on.
    """
    n, positions = valid.shape
    d, device = grammar.sentence_length, tokens.device
    padded = F.pad(tokens, (0, d - tokens.shape[1]))
    targets = torch.arange(window + 1, positions, device=device)
    place = torch.arange(d, device=device)
    hidden = (place < targets[:, None] - window) | (place >= targets[:, None])
    size = max(1, WINDOW_ROWS // len(targets))
    for start in range(0, n, size):
        part = padded[start : start + size]
        rows, mask = part.repeat_interleave(len(targets), 0), hidden.repeat(len(part), 1)
        laws, log_evidence = grammar.laws.posteriors(rows, mask, dtype=probs.dtype, return_log_evidence=True)
        laws = laws[0].view(len(part), len(targets), d, -1)
        index = targets[None, :, None, None].expand(len(part), -1, 1, laws.shape[-1])
        probs[start : start + size, window + 1 :] = laws.gather(2, index).squeeze(2)
        valid[start : start + size, window + 1 :] = ~log_evidence.isneginf().view(len(part), -1)
