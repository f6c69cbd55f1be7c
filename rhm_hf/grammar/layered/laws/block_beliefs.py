"""Posteriors of tokens given the visible tokens of their own block only, for blocks of every level at once; exact.

A block is the tokens below one node. Given them alone, the node's law is its marginal, which depends on its place,
times the message that has come up to it; from there the pass down is that of `beliefs`. The messages of all nodes are
those of one pass up, so all levels cost one pass up and one pass down from each level.
"""

from typing import Any

import torch

from ...laws.posteriors import given_evidence, refuse_impossible
from ...source import Source
from .beliefs import children_posterior, chunks
from .messages import Level, guarded, leaves_of, upward, with_identity
from .rule_tables import Tables, tables_for


@torch.no_grad()
def block_posteriors(grammar: Source, tokens: Any, mask: Any, levels: list[int], dtype: torch.dtype) -> torch.Tensor:
    """See [`~rhm_hf.inference.block_posteriors`]; chunks as in `beliefs`."""
    evidence = given_evidence(grammar, tokens, mask, None)
    n, device = len(evidence[0]), evidence[0].device
    tables = tables_for(grammar, device, dtype)
    laws = torch.empty(len(levels), n, tables.sentence_length, tables.vocab_size, dtype=dtype, device=device)
    log_evidence = torch.empty(n, dtype=torch.float64, device=device)
    for chunk in chunks(tables, n, grammar.sentence_length):
        up = upward(tables, leaves_of(tables, [array[chunk] for array in evidence]))
        possible = (up[-1].messages * tables.root_probs[:, None]).sum(0)[up[-1].column[:, 0]]
        log_evidence[chunk] = up[-1].log_evidence + possible.double().log()
        fill_blocks(tables, up, tables.marginals, levels, laws[:, chunk])
    refuse_impossible(log_evidence)
    return laws


def fill_blocks(
    tables: Tables, up: list[Level], marginals: list[torch.Tensor], levels: list[int], out: torch.Tensor
) -> None:
    """Writes the laws of the leaves, `(levels, n, d, v)`, given the evidence of their own blocks.

    Args:
        up (`list[Level]`): the messages of every level.
        marginals (`list[torch.Tensor]`): entry ℓ: the law of every node given nothing, `(nodes at level ℓ, symbols)`.
        levels (`list[int]`): of the blocks, 0 .. L.
    """
    for law, level in zip(out, levels, strict=True):
        if level == 0:
            law.copy_(marginals[0].expand_as(law))
            continue
        posterior = _own_posterior(up[level], marginals[level].to(law.dtype))
        for at in range(level, 0, -1):
            posterior = children_posterior(tables, at, up[at], up[at - 1], posterior)
        rows = posterior.t().contiguous()
        law.copy_(rows.index_select(0, up[0].column.view(-1)).view(law.shape))


def _own_posterior(at: Level, marginals: torch.Tensor) -> torch.Tensor:
    """The laws of a level's nodes given their own blocks, in columns: known symbols, then open nodes."""
    place = at.open % len(marginals)  # of the node in its sentence
    posterior = torch.empty_like(at.messages)
    joint = at.own * marginals.t()[:, place]
    posterior[:, len(posterior) :] = joint / guarded(joint.sum(0))
    return with_identity(posterior)
