"""All next-token laws of a sentence in one pass down the tree.

The law of a node given everything left of its span depends on its parent's law and its left siblings only: right
siblings sum to one, and left siblings are parsed. So the law of child i of a node with law pi is

    D_i[x] = sum of pi[parent(r)] p(r) over the rules r with r_1 .. r_(i-1) observed and r_i = x

divided by its sum; at level 0 it is P(x_i | x_<i) (Cagnetta et al., arXiv 2307.02129, for the model). A prefix is
impossible exactly where a sum is 0.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F

from ...fixed_tree import FixedTree
from ...laws.inputs import checked_context
from .rule_tables import LevelTables, Tables, look_up, normalised, tables_for
from .sliding import windowed_laws


# Sentences are handled in chunks whose largest tensors have about this many bytes: what caches hold, or a GPU likes.
CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**27}


@torch.no_grad()
def token_laws(
    grammar: FixedTree,
    tokens: torch.Tensor,
    positions: int,
    context_level: int | None,
    context_length: int | None,
    dtype: torch.dtype | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See [`~rhm_hf.grammar.laws.base.Laws.token_laws`].

    Chunks of n sentences have tensors of about 4 MiB on a CPU, 128 MiB on a GPU: 8 n positions times the largest
    number of rules that share a prefix.
    """
    top, window = checked_context(grammar, context_level, context_length)
    tables = tables_for(grammar, tokens.device, dtype)
    probs = torch.empty(len(tokens), positions, tables.vocab_size, dtype=tables.dtype, device=tokens.device)
    valid = torch.empty(len(tokens), positions, dtype=torch.bool, device=tokens.device)
    size = _sentences_per_chunk(tables, positions, window)
    for start in range(0, len(tokens) if positions else 0, size):
        part = tokens[start : start + size]
        read = read_prefix(tables, part, positions)
        full = positions if window is None else min(positions, window + 1)  # beyond, the window leaves tokens out
        probs[start : start + size, :full], valid[start : start + size, :full] = _causal_laws(tables, read, full, top)
        if full < positions:
            probs[start : start + size, full:], valid[start : start + size, full:] = windowed_laws(
                tables, part, read, positions, window
            )
    return probs, valid


def _sentences_per_chunk(tables: Tables, positions: int, window: int | None) -> int:
    widest = max(t.width if window is None else t.rules.shape[1] for t in tables.levels)
    budget = tables.limit(CHUNK_BYTES)
    return max(1, budget // max(1, positions * widest * tables.root_probs.element_size()))


def read_prefix(tables: Tables, tokens: torch.Tensor, positions: int) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Parses a prefix upward.

    Returns:
        Entry ℓ = 0..L-1, for the nodes of level ℓ+1 that start before `positions`: the symbols of their children
        `(n, nodes, s)` and the states after 1..s of them. Children that are not complete have the dead symbol.
    """
    read = []
    symbols = tokens
    for level in range(1, tables.depth + 1):
        t = tables[level]
        nodes = math.ceil(positions / tables.blocks[level])
        missing = nodes * t.tuple_size - symbols.shape[1]
        if missing:
            symbols = F.pad(symbols, (0, missing), value=t.num_child_symbols)
        children = symbols.view(len(tokens), nodes, t.tuple_size)
        states = t.read(children)
        read.append((children, states))
        symbols = look_up(t.parents, states[-1])
    return read


def _causal_laws(tables: Tables, read, positions: int, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Laws `(n, positions, v)` and validity `(n, positions)`, starting from the marginal laws of level `top`."""
    n = len(read[0][0])
    nodes = math.ceil(positions / tables.blocks[top])
    laws = tables.marginals[top][:nodes].expand(n, -1, -1)
    valid = torch.ones(n, nodes, dtype=torch.bool, device=tables.device)
    return descend(tables, read, positions, top, laws, valid)


def descend(
    tables: Tables, read: Any, positions: int, top: int, laws: Any, valid: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """From the laws of level `top`'s nodes given what is to their left, `(n, nodes, symbols)`, to the tokens'."""
    for level in range(top, 0, -1):
        states = [s[:, : laws.shape[1]] for s in read[level - 1][1]]
        laws, valid = _children(tables[level], laws, states, is_last=level == 1)
        nodes = math.ceil(positions / tables.blocks[level - 1])
        laws, valid = laws[:, :nodes], valid[:, :nodes]
    return laws, valid


def _children(t: LevelTables, laws: torch.Tensor, states: list[torch.Tensor], is_last: bool):
    """From the laws of a level's nodes, `(n, nodes, V)`, to those of their children, `(n, nodes * s, v)`."""
    n, nodes, _ = laws.shape
    flat = laws.reshape(n * nodes, -1)
    joint = [
        t.child_law(flat, child, states[child - 1].reshape(-1) if child else None) for child in range(t.tuple_size)
    ]
    children, valid = normalised(torch.stack(joint, 1), fill=is_last)
    return children.view(n, -1, t.num_child_symbols), valid.view(n, -1)
