"""Parsing and the probability of sentences of a sparse grammar. A sentence determines its symbols and placements."""

from collections.abc import Iterator

import torch

from ...fixed_tree import FixedTree
from .slot_tables import Patches, SparseLevel, SparseTables, sparse_tables_for


def sparse_parse(grammar: FixedTree, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The derivation of every sentence of a sparse grammar, empty nodes included.

    Args:
        grammar (`SparseGrammar`): the grammar.
        tokens (`torch.Tensor`): int64 of shape `(n, d)`.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0..L, int64 of shape `(n, nodes at level ℓ)`, the symbols of that level; -1
        where no placement of a rule of positive probability derives a node's patch, and at every node above such a
        node. An empty sentence has the root -1.
    """
    tables = sparse_tables_for(grammar, tokens.device)
    levels = [tokens]
    for level, (at, read) in enumerate(reads(tables, tokens), start=1):
        largest = at.t.num_symbols - (level == tables.depth)  # the root is never empty
        levels.append(torch.where(read.parents > largest, -1, read.parents))
    return levels


def sparse_log_prob(grammar: FixedTree, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Log probability of whole sentences in nats: the base sentence's minus the logarithm of all placements' number.

    Args:
        grammar (`SparseGrammar`): the grammar.
        tokens (`torch.Tensor`): int64 of shape `(n, d)`.
        dtype (`torch.dtype`): of the result; sums are always float64.

    Returns:
        `torch.Tensor` of shape `(n,)`, -inf where a sentence is ungrammatical.
    """
    tables = sparse_tables_for(grammar, tokens.device)
    total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    for at, read in reads(tables, tokens):
        total += at.log_probs(read).sum(1)
    root = read.parents[:, 0]
    roots = torch.nn.functional.pad(tables.base.root_probs, (0, 2))  # neither empty nor dead
    return (total + roots.log()[root]).to(dtype)


def reads(tables: SparseTables, tokens: torch.Tensor) -> Iterator[tuple[SparseLevel, Patches]]:
    """Yields for level 1, .., L its tables and what reading its patches tells, `(n, nodes)`."""
    symbols = tokens
    for at in tables.levels:
        read = at.read(symbols.unflatten(1, (-1, at.num_slots)))
        yield at, read
        symbols = read.parents
