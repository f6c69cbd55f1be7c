"""Parsing and the probability of sentences. Rules are unambiguous, so a sentence has at most one derivation."""

from collections.abc import Iterator

import torch

from ...fixed_tree import FixedTree
from .rule_tables import Tables, look_up, tables_for


def parse(grammar: FixedTree, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The derivation of every sentence, by table look-up.

    Args:
        grammar (`Grammar`): the grammar.
        tokens (`torch.Tensor`): int64 of shape `(n, d)`.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0..L, int64 of shape `(n, nodes at level ℓ)`, the symbols of that level; -1
        where no rule of positive probability derives a node's children, and at every node above such a node.
    """
    tables = tables_for(grammar, tokens.device)
    levels = [tokens]
    for level, rules in enumerate(rule_states(tables, tokens), start=1):
        symbols = look_up(tables[level].parents, rules)
        levels.append(symbols.masked_fill_(symbols == tables[level].num_symbols, -1))
    return levels


def log_prob(grammar: FixedTree, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Log probability of whole sentences in nats: the root's plus that of every rule of the derivation.

    Args:
        grammar (`Grammar`): the grammar.
        tokens (`torch.Tensor`): int64 of shape `(n, d)`.
        dtype (`torch.dtype`): of the result; sums are always float64.

    Returns:
        `torch.Tensor` of shape `(n,)`, -inf where a sentence is ungrammatical.
    """
    tables = tables_for(grammar, tokens.device)
    total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    for level, rules in enumerate(rule_states(tables, tokens), start=1):
        total += look_up(tables[level].log_probs, rules).sum(1)
    # A failed parse made the sum -inf already; any class will do for it.
    root = tables[tables.depth].parents[rules[:, 0]].clamp(max=grammar.num_classes - 1)
    return (total + tables.root_probs.log()[root]).to(dtype)


def rule_states(tables: Tables, tokens: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yields for level 1, 2, .. L the rule of every node, as a state of length s: `(n, nodes at the level)`."""
    symbols = tokens
    for level in range(1, tables.depth + 1):
        t = tables[level]
        rules = t.read(symbols.unflatten(1, (-1, t.tuple_size)))[-1]
        yield rules
        symbols = look_up(t.parents, rules)
