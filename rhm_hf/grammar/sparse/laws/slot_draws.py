"""Derivations of a sparse grammar drawn from their exact posterior given any evidence, from the root down.

An informative node's rule r has weight p(r) alpha_s(r), see `sparse_beliefs`, and given the rule a placement has the
product of the messages of its children in their slots and of empty nodes in the others.
"""

from typing import Any

import torch

from ...fixed_tree import FixedTree
from ...laws.posteriors import draw, given_evidence, refuse_impossible, slices
from .slot_beliefs import CHUNK_BYTES, Level, rule_weights, sentence_bytes, upward
from .slot_tables import SparseLevel, SparseTables, sparse_tables_for


PLACEMENT_ENTRIES = 2**22  # weights of placements held at a time


@torch.no_grad()
def sparse_sample_posterior(
    grammar: FixedTree,
    tokens: Any = None,
    mask: Any = None,
    evidence: Any = None,
    generator: torch.Generator | None = None,
) -> list[torch.Tensor]:
    """One derivation of a sparse grammar for every row of evidence, drawn from its exact posterior.

    Args:
        grammar (`SparseGrammar`): the grammar.
        tokens, mask, evidence: as in [`~rhm_hf.inference.posteriors`].
        generator (`torch.Generator`, *optional*): belongs to the evidence's device.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (tokens) .. L (root), int64 of shape `(n, nodes at level ℓ)`.

    Raises:
        `ValueError`: for bad input and impossible evidence.
    """
    evidence = given_evidence(grammar, tokens, mask, evidence)
    tables = sparse_tables_for(grammar, evidence[0].device)
    samples, log_evidence = [], []
    for chunk in slices(len(evidence[0]), tables.base.limit(CHUNK_BYTES) // sentence_bytes(tables)):
        levels, logs = upward(tables, [array[chunk] for array in evidence])
        root = levels[-1].messages * tables.base.root_probs[:, None]
        log_evidence.append(logs + root.sum(0).log())
        if not log_evidence[-1].isneginf().any():
            samples.append(_sampled(tables, levels, root, generator))
    refuse_impossible(torch.cat(log_evidence))
    return [torch.cat(level) for level in zip(*samples, strict=True)]


def _sampled(tables: SparseTables, levels: list[Level], root: torch.Tensor, generator) -> list[torch.Tensor]:
    drawn = [draw(root.t(), generator)[:, None]]
    for level in range(tables.depth, 0, -1):
        at, is_open, below = tables[level], levels[level].is_open, levels[level - 1]
        # What is below known nodes is known, what is below empty ones is empty.
        known = below.symbols.view(*is_open.shape, at.num_slots)
        children = torch.where(is_open[..., None], at.t.num_child_symbols, known).flatten(0, 1)
        parents = drawn[-1].flatten()
        nodes = (is_open.flatten() & (parents != at.t.num_symbols)).nonzero().squeeze(1)
        for part in nodes.split(max(1, PLACEMENT_ENTRIES // (at.num_placements + at.t.rules.shape[1]))):
            symbols, slots = _patch(at, below.messages, part, parents[part], generator)
            children[part[:, None], slots] = symbols
        drawn.append(children.view(len(is_open), -1))
    return drawn[::-1]


def _patch(at: SparseLevel, below: torch.Tensor, nodes: torch.Tensor, parents: torch.Tensor, generator):
    """The children of nodes with symbols `parents` and the slots that they are drawn to be in: `(N, s)` each."""
    t, every = at.t, torch.arange(len(nodes), device=nodes.device)
    weights, slots = rule_weights(at, below, nodes)
    rule = draw(weights.view(t.num_symbols, t.rules_per_symbol, -1)[parents, :, every], generator)
    symbols = t.rules[:, parents * t.rules_per_symbol + rule]  # (s, N)
    empty = slots[:, -1].t()  # (N, slots)
    weights = empty.new_ones(len(nodes), at.num_placements)
    for child, symbol in enumerate(symbols):
        weights = weights * slots[:, symbol, every].t()[:, at.slots[:, child]]
    for slot in range(at.num_slots):
        occupied = (at.slots == slot).any(1)
        weights = weights * torch.where(occupied, 1.0, empty[:, slot, None])
    return symbols.t(), at.slots[draw(weights, generator)]
