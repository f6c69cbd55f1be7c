"""Exact entropies of a grammar: what the best possible model with an aligned context can reach, in nats a token."""

import math

import torch

from ...fixed_tree import FixedTree
from ..rule_entropies import subtree_entropies
from .rule_tables import LevelTables, Tables, tables_for


# Contexts x symbols that exact enumeration may visit (some seconds), and those held at a time.
ENUMERATION_LIMIT = 2**30
CHUNK_ENTRIES = 2**21


def node_marginals(grammar: FixedTree, level: int) -> torch.Tensor:
    """The law of every node of a level given nothing: product of the child laws along its path.

    Args:
        grammar (`Grammar`): the grammar.
        level (`int`): 0 (tokens) .. L (root).

    Returns:
        `torch.Tensor`: float64 `(nodes at the level, symbols)`, on the CPU. Nodes of one level differ in their laws.
    """
    return tables_for(grammar, torch.device("cpu")).marginals[level].clone()


def plateau(grammar: FixedTree, level: int) -> float:
    """Entropy per token when each token is predicted from the tokens to its left in its own level-`level` block.

    By the chain rule this is the mean entropy of a block over its length; as rules are unambiguous, a block's entropy
    is that of its root plus the expected entropies of the rules below. Level 0: the mean entropy of a token; level L:
    the entropy of a sentence over d. These are the plateaus of a model that learns level after level and predicts all
    positions; those of last-token training are the last entries of [`position_entropies`].

    Args:
        grammar (`Grammar`): any; root law, rule probabilities and marginal laws need not be uniform.
        level (`int`): 0..L.

    Returns:
        `float`: nats per token, exact.
    """
    marginals = node_marginals(grammar, level)
    below = torch.from_numpy(subtree_entropies(grammar, level))
    total = torch.special.entr(marginals).sum() + (marginals @ below).sum()
    return float(total) / grammar.sentence_length


def position_entropies(grammar: FixedTree, level: int) -> torch.Tensor:
    """H(x_i | the tokens to its left in its own level-`level` block) for every position i; see [`plateau`].

    The left context of a token matters through its ancestors' parsed left siblings only; those are enumerated with
    their probabilities.

    Args:
        grammar (`Grammar`): the grammar.
        level (`int`): 0..L.

    Returns:
        `torch.Tensor`: float64 `(d,)` on the CPU, nats, exact (at the root a mean over sampled prefixes where
        `grammar.entropy` is one); its mean is `plateau(grammar, level)`.

    Raises:
        `ValueError`: where the contexts are too many to enumerate.
    """
    marginals = node_marginals(grammar, level)
    tables = tables_for(grammar, torch.device("cpu"))
    contexts = math.prod(1 + sum(tables[lower].num_states[1:-1]) for lower in range(1, level + 1))
    if len(marginals) * contexts * grammar.vocab_size > ENUMERATION_LIMIT:
        raise ValueError(
            f"level={level} has too many contexts to enumerate ({len(marginals)} blocks with {contexts:.3g} each): "
            "plateau(grammar, level) gives their mean exactly; for single positions average the entropies of "
            "next_token_probs(grammar, grammar.sample(..., sampling='iid'), context_level=level)"
        )
    return torch.cat([block_entropies(tables, law[None], level) for law in marginals])


def block_entropies(tables: Tables, joint: torch.Tensor, level: int) -> torch.Tensor:
    """Sums over contexts of weight x entropy, for the tokens below a node with joint weights `(contexts, symbols)`."""
    if level == 0:
        total = joint.sum(1, keepdim=True)
        return -torch.xlogy(joint, joint / total).sum().view(1)
    t = tables[level]
    parts = []
    for child in range(t.tuple_size):
        size = max(1, CHUNK_ENTRIES // (t.num_states[child] * t.width))
        pieces = (block_entropies(tables, _expanded(t, part, child), level - 1) for part in joint.split(size))
        parts.append(sum(pieces))
    return torch.cat(parts)


def _expanded(t: LevelTables, joint: torch.Tensor, child: int) -> torch.Tensor:
    """Joint weights of child `child`'s symbol with every old context times every state of the children before it."""
    if child == 0:
        return t.child_law(joint, 0, None)
    states = torch.arange(t.num_states[child]).repeat(len(joint))
    weights = t.child_law(joint.repeat_interleave(t.num_states[child], 0), child, states)
    return weights[weights.sum(1) > 0]
