"""Posteriors of tokens of a chain of blocks given the visible tokens of their own block of each level."""

from typing import Any

import torch

from ..laws.posteriors import given_evidence
from ..layered.laws.beliefs import chunks
from ..layered.laws.block_beliefs import fill_blocks
from ..layered.laws.messages import leaves_of, upward
from .chain_grammar import ChainGrammar
from .chain_tables import chain_tables_for


@torch.no_grad()
def chain_block_posteriors(laws: Any, tokens: Any, mask: Any, levels: list[int], dtype: torch.dtype) -> torch.Tensor:
    """See [`~rhm_hf.inference.block_posteriors`].

    Up to level k, that of the chain's blocks, everything is as in a grammar. A state between these and the root knows
    no more than its block, and the root has all tokens below it.

    Args:
        laws ([`~rhm_hf.grammar.chain.chain_laws.ChainLaws`]): of the chain.
        tokens, mask, levels, dtype: as there, checked.
    """
    grammar: ChainGrammar = laws.source
    tokens, hidden = given_evidence(grammar, tokens, mask, None)
    whole = laws.posteriors(tokens, hidden, None, dtype)[0]  # refuses impossible tokens
    tables = chain_tables_for(grammar, tokens.device, dtype)
    found = torch.empty(len(levels), *whole.shape, dtype=dtype, device=tokens.device)
    inside = [min(level, grammar.cut) for level in levels]
    for chunk in chunks(tables.blocks, len(tokens), grammar.sentence_length):
        blocks = [part[chunk].unflatten(1, (grammar.num_blocks, -1)).flatten(0, 1) for part in (tokens, hidden)]
        up = upward(tables.blocks, leaves_of(tables.blocks, blocks))
        fill_blocks(tables.blocks, up, tables.marginals, inside, found[:, chunk])
    for law, level in zip(found, levels, strict=True):
        if level == grammar.depth:
            law.copy_(whole)
        elif level > grammar.cut == 0:  # a block is a token, which knows itself
            known = torch.nn.functional.one_hot(tokens, grammar.vocab_size).to(dtype)
            law.copy_(torch.where(hidden[..., None], law, known))
    return found
