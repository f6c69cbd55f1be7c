"""All next-token laws of a sparse grammar in one pass down the tree.

As in `next_token`, the law of a node given everything left of its span follows from its parent's law and its left
siblings, which are parsed: whatever is left of a slot says how many of the children are placed, k, and which symbols
they are. With pi the law of the parent, D_k[x] the weight of the rules with these first k children and x as the next,
H the probability of the occupation so far and h that of a child in this slot, given it,

    law(x) ~ H h D_k[x],     law(empty) ~ H (1 - h) sum_x D_k[x] + [k = 0] pi[empty],

where the sum, for k = s, is the weight of the one rule that is complete.
"""

import math

import torch
import torch.nn.functional as F

from ...fixed_tree import FixedTree
from ...laws.inputs import checked_context
from ...laws.window_laws import fill_windows
from ...layered.laws.rule_tables import normalised
from .slot_tables import Patches, SparseLevel, SparseTables, sparse_tables_for


# Sentences are handled in chunks whose largest tensors have about this many bytes: what caches hold, or a GPU likes.
CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**27}


@torch.no_grad()
def sparse_token_laws(
    grammar: FixedTree,
    tokens: torch.Tensor,
    positions: int,
    context_level: int | None,
    context_length: int | None,
    dtype: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See [`~rhm_hf.grammar.laws.base.Laws.token_laws`].

    A window that leaves tokens out costs a belief propagation for every token, so about d times the full context.
    """
    top, window = checked_context(grammar, context_level, context_length)
    full = positions if window is None else min(positions, window + 1)  # beyond, the window leaves tokens out
    tables = sparse_tables_for(grammar, tokens.device, dtype)
    probs = torch.empty(len(tokens), positions, tables.vocab_size, dtype=dtype, device=tokens.device)
    valid = torch.empty(len(tokens), positions, dtype=torch.bool, device=tokens.device)
    size = _sentences_per_chunk(tables, positions)
    for start in range(0, len(tokens) if full else 0, size):
        part = tokens[start : start + size]
        read = _read_prefix(tables, part, positions)
        probs[start : start + size, :full], valid[start : start + size, :full] = _causal_laws(tables, read, full, top)
    if full < positions:
        fill_windows(grammar, tokens, window, probs, valid)
    return probs, valid


def _sentences_per_chunk(tables: SparseTables, positions: int) -> int:
    # For each node the rules that continue its prefix, and for each slot a law.
    widest = max(at.t.width * at.t.tuple_size / at.num_slots + at.t.num_child_symbols + 1 for at in tables.levels)
    budget = tables.base.limit(CHUNK_BYTES)
    return max(1, int(budget / (max(1, positions) * widest * tables.base.root_probs.element_size())))


def _read_prefix(tables: SparseTables, tokens: torch.Tensor, positions: int) -> list[Patches]:
    """Parses a prefix upward: entry ℓ = 0..L-1, for the nodes of level ℓ+1 that start before `positions`."""
    read, symbols = [], tokens
    for level in range(1, tables.depth + 1):
        at = tables[level]
        nodes = math.ceil(positions / tables.blocks[level])
        # Children that are not complete are dead: no law depends on them.
        padded = F.pad(symbols, (0, nodes * at.num_slots - symbols.shape[1]), value=at.t.num_child_symbols + 1)
        read.append(at.read(padded.view(len(tokens), nodes, at.num_slots)))
        symbols = read[-1].parents
    return read


def _causal_laws(tables: SparseTables, read: list[Patches], positions: int, top: int):
    """Laws `(n, positions, v)` and validity `(n, positions)`, starting from the marginal laws of level `top`."""
    n, device = len(read[0].before), tables.device
    nodes = math.ceil(positions / tables.blocks[top])
    laws = tables.marginals[top][:nodes].expand(n, -1, -1)
    valid = torch.ones(n, nodes, dtype=torch.bool, device=device)
    for level in range(top, 0, -1):
        joint = _child_weights(tables[level], laws, read[level - 1].first(laws.shape[1]))
        laws, valid = normalised(joint, fill=level == 1)
        nodes = math.ceil(positions / tables.blocks[level - 1])
        laws, valid = laws.flatten(1, 2)[:, :nodes], valid.flatten(1, 2)[:, :nodes]
    return laws, valid


def _child_weights(at: SparseLevel, laws: torch.Tensor, read: Patches) -> torch.Tensor:
    """From the laws of a level's nodes, `(n, nodes, V + 1)`, to weights of their slots, `(n, nodes, slots, v + 1)`."""
    t = at.t
    informative, empty = laws[..., :-1].flatten(0, 1), laws[..., -1:]
    # The next child after k = 0..s children; after s there is none, but one rule that is complete, or a dead state.
    next_child = [
        t.child_law(informative, k, read.states[k - 1].flatten() if k else None) for k in range(t.tuple_size)
    ]
    rule = t.parents[read.states[-1].flatten()]
    complete = F.pad(informative, (0, 1)).gather(1, rule[:, None])
    next_child.append(torch.zeros_like(next_child[0]))
    next_child = torch.stack(next_child, 1)  # (n nodes, s + 1, v)
    total = next_child.sum(2)
    total[:, -1:] = complete
    before = read.before.flatten(0, 1)
    joint = torch.empty(*read.before.shape, t.num_child_symbols + 1, dtype=laws.dtype, device=laws.device)
    weight = (read.history * read.hazard)[..., None]
    chosen = next_child.gather(1, before[..., None].expand(-1, -1, t.num_child_symbols))
    torch.mul(chosen.view(*weight.shape[:-1], -1), weight, out=joint[..., :-1])
    unoccupied = total.gather(1, before).view_as(read.history) * read.history * (1 - read.hazard)
    joint[..., -1] = unoccupied + torch.where(read.before == 0, empty, 0.0)
    return joint
