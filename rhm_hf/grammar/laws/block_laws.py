"""Posteriors of tokens given the visible tokens of their own block only, for any fixed tree."""

from typing import Any

import torch

from .posteriors import given_evidence


@torch.no_grad()
def block_posteriors_by_hiding(
    laws: Any, tokens: Any, mask: Any, levels: list[int], dtype: torch.dtype
) -> torch.Tensor:
    """See [`~rhm_hf.inference.block_posteriors`]: all tokens outside a block are hidden, one pass for each block.

    Args:
        laws ([`~rhm_hf.grammar.laws.base.Laws`]): which have `posteriors`.
        tokens, mask, dtype: as there.
        levels (`list[int]`): of the blocks, 0 .. L.
    """
    grammar = laws.source
    tokens, hidden = given_evidence(grammar, tokens, mask, None)
    by_size: dict[int, torch.Tensor] = {}
    for size in {_size(grammar, level) for level in levels}:  # blocks of one length are the same blocks
        parts = []
        for start in range(0, grammar.sentence_length, size or grammar.sentence_length):
            block = slice(start, start + (size or grammar.sentence_length))
            unseen = torch.ones_like(hidden)
            if size:
                unseen[:, block] = hidden[:, block]
            parts.append(laws.posteriors(tokens, unseen, None, dtype)[0][:, block])
        by_size[size] = torch.cat(parts, 1)
    return torch.stack([by_size[_size(grammar, level)] for level in levels])


def _size(grammar: Any, level: int) -> int:
    """The tokens that a token of a level knows of, itself included; 0: none at all."""
    return grammar.block_length(level) if level else 0
