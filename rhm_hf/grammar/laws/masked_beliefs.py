"""Beliefs given every prefix, from posteriors with the rest hidden: exact for every family, but one pass a token."""

from typing import Any

import torch
import torch.nn.functional as F


ROWS = 2**10  # prefixes whose posteriors are taken together


@torch.no_grad()
def causal_posteriors_by_masks(source: Any, tokens: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """The laws of all ancestors of every token given the tokens up to it, on fixed trees.

    Args:
        source ([`~rhm_hf.grammar.FixedTree`]): whose `laws` have `posteriors`.
        tokens (`torch.Tensor`): checked, int64 `(n, t)`, t <= d.
        dtype (`torch.dtype`): of the computation.

    Returns:
        Entry ℓ - 1, ℓ = 1..L, `(n, t, symbols of level ℓ)`; zero where the prefix is impossible. Posteriors of 1024
        prefixes are in memory at a time.
    """
    (n, t), d = tokens.shape, source.sentence_length
    sizes = [source.num_symbols_at(level) for level in range(1, source.depth + 1)]
    beliefs = [torch.zeros(n * t, size, dtype=dtype, device=tokens.device) for size in sizes]
    padded = F.pad(tokens, (0, d - t))
    place = torch.arange(d, device=tokens.device)
    for part in torch.arange(n * t, device=tokens.device).split(ROWS):
        row, last = torch.div(part, max(t, 1), rounding_mode="floor"), part % max(t, 1)
        laws, log_evidence = source.laws.posteriors(
            padded[row], place > last[:, None], dtype=dtype, return_log_evidence=True
        )
        possible = ~log_evidence.isneginf()[:, None]
        index = torch.arange(len(part), device=tokens.device)
        for level, belief in enumerate(beliefs, start=1):
            node = torch.div(last, source.block_length(level), rounding_mode="floor")
            belief[part] = torch.where(possible, laws[level][index, node].to(dtype), 0.0)
    return [belief.view(n, t, size) for belief, size in zip(beliefs, sizes, strict=True)]
