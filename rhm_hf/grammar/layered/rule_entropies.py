"""Entropies of the rules below the symbols of a level."""

import numpy as np

from ..fixed_tree import FixedTree


def subtree_entropies(grammar: FixedTree, level: int) -> np.ndarray:
    """Entropy, in nats, of the rules below one node of each symbol of a level: `(symbols,)`."""
    below = np.zeros(grammar.vocab_size)
    for lower in range(1, level + 1):
        rules, probs = grammar.rules_at(lower), grammar.rule_probs_at(lower)
        below = (probs * (below[rules].sum(-1) - np.log(np.where(probs > 0, probs, 1.0)))).sum(-1)
    return below
