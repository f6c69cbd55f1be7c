"""Parsing and the probability of sentences of a sparse grammar. A sentence determines its symbols and placements."""

from typing import Any

import torch

from .inputs import checked_dtype, checked_tokens
from .sparse_tables import SparseTables, sparse_tables_for
from .tables import look_up


def sparse_parse(grammar, tokens: Any) -> list[torch.Tensor]:
    """The derivation of every sentence of a sparse grammar, empty nodes included.

    Args:
        grammar (`SparseGrammar`): the grammar.
        tokens (tensor, array or list): integers of shape `(n, d)`.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0..L, int64 of shape `(n, nodes at level ℓ)`, the symbols of that level; -1
        where no placement of a rule of positive probability derives a node's patch, and at every node above such a
        node. An empty sentence has the root -1.
    """
    tokens = checked_tokens(grammar, tokens)
    tables = sparse_tables_for(grammar, tokens.device)
    levels = [tokens]
    for level, (_, symbols) in enumerate(rules_and_symbols(tables, tokens), start=1):
        limit = tables[level].t.num_symbols - (level == tables.depth)  # the root is never empty
        levels.append(torch.where(symbols > limit, -1, symbols))
    return levels


def sparse_log_prob(grammar, tokens: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Log probability of whole sentences in nats: the base sentence's minus the logarithm of all placements' number.

    Args:
        grammar (`SparseGrammar`): the grammar.
        tokens (tensor, array or list): integers of shape `(n, d)`.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result; sums are always float64.

    Returns:
        `torch.Tensor` of shape `(n,)`, -inf where a sentence is ungrammatical.
    """
    dtype = checked_dtype(dtype)
    tokens = checked_tokens(grammar, tokens)
    tables = sparse_tables_for(grammar, tokens.device)
    total = torch.full((len(tokens),), -tables.log_num_placements, dtype=torch.float64, device=tokens.device)
    for level, (rules, symbols) in enumerate(rules_and_symbols(tables, tokens), start=1):
        t = tables[level].t
        # Empty nodes have no rule; a patch that holds a rule's children in the wrong slots is dead all the same.
        logs = look_up(t.log_probs, rules).masked_fill_(symbols == t.num_symbols, 0.0)
        total += logs.masked_fill_(symbols > t.num_symbols, -torch.inf).sum(1)
    root = symbols[:, 0]
    roots = torch.nn.functional.pad(tables.base.root_probs, (0, 2))  # neither empty nor dead
    return (total + roots.log()[root]).to(dtype)


def rules_and_symbols(tables: SparseTables, tokens: torch.Tensor):
    """Yields for level 1, .., L the base's rule (a state of length s) and the symbol of every node: `(n, nodes)`."""
    symbols = tokens
    for level in range(1, tables.depth + 1):
        read = tables[level].read(symbols.unflatten(1, (-1, tables[level].num_slots)))
        symbols = read.parents
        yield read.states[-1], symbols
