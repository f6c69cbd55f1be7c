"""Exact entropies of a sparse grammar with aligned contexts, in nats a token."""

import math

import numpy as np
import torch

from ...fixed_tree import FixedTree
from .slot_tables import sparse_tables_for


def sparse_node_marginals(grammar: FixedTree, level: int) -> torch.Tensor:
    """The law of every node of a level of a sparse grammar given nothing.

    Args:
        grammar (`SparseGrammar`): the grammar.
        level (`int`): 0 (tokens) .. L (root).

    Returns:
        `torch.Tensor`: float64 `(nodes at the level, symbols)`, on the CPU, the empty symbol last below the root.
    """
    laws = sparse_tables_for(grammar, torch.device("cpu")).marginals[level]
    return laws[:, : grammar.num_symbols_at(level)].clone()


def sparse_plateau(grammar: FixedTree, level: int) -> float:
    """Entropy per token when each token is predicted from the tokens to its left in its own level-`level` block.

    As [`~rhm_hf.inference.plateau`]: the mean entropy of a block, which is that of its root plus the expected
    entropies of the rules and placements below, over its length.

    Args:
        grammar (`SparseGrammar`): the grammar.
        level (`int`): 0..L.

    Returns:
        `float`: nats per token, exact.
    """
    marginals = sparse_node_marginals(grammar, level)
    base = grammar.base
    below = np.zeros(base.vocab_size)  # entropy of the subtree below an informative symbol
    for lower in range(1, level + 1):
        rules, probs = base.rules_at(lower), base.rule_probs_at(lower)
        below = (probs * (below[rules].sum(-1) - np.log(np.where(probs > 0, probs, 1.0)))).sum(-1)
        below += math.log(grammar.placements_at(lower).count)
    informative = marginals[:, : len(below)] @ torch.from_numpy(below)  # an empty node has no entropy below
    return float(torch.special.entr(marginals).sum() + informative.sum()) / grammar.sentence_length
