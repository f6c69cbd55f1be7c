"""The joint laws of two tokens, and of a tuple and a token, in a tree of rules.

The law of the lowest common ancestor's rule at its place, times the laws of the two given the children that they
descend from: products of child matrices along their paths.
"""

import numpy as np

from ...fixed_tree import FixedTree


def joint(grammar: FixedTree, first: int, level: int, second: int) -> np.ndarray:
    """P(the level-`level` ancestor of token `first` is a, token `second` is b): `(symbols, v)`."""
    top = next(x for x in range(1, grammar.depth + 1) if _node(grammar, first, x) == _node(grammar, second, x))
    rules, size = grammar.rules_at(top), grammar.num_symbols_at(top - 1)
    children = [_node(grammar, place, top - 1) % grammar.tuple_size_at(top) for place in (first, second)]
    weights = grammar.laws.node_marginals(top)[_node(grammar, first, top)].numpy()[:, None] * grammar.rule_probs_at(
        top
    )
    pairs = rules[..., children[0]].astype(np.int64) * size + rules[..., children[1]]
    joint = np.bincount(pairs.ravel(), weights.ravel(), size * size).reshape(size, size)
    return descent(grammar, first, top - 1, level).T @ joint @ descent(grammar, second, top - 1)


def _node(grammar, position: int, level: int) -> int:
    """The ancestor of a token."""
    return position // grammar.block_length(level)


def descent(grammar: FixedTree, position: int, level: int, bottom: int = 0) -> np.ndarray:
    """P(the token's ancestor of level `bottom` is x | that of level `level` is a): `(symbols a, symbols x)`."""
    matrix = np.eye(grammar.num_symbols_at(level))
    for upper in range(level, bottom, -1):
        child = _node(grammar, position, upper - 1) % grammar.tuple_size_at(upper)
        rules, probs = grammar.rules_at(upper), grammar.rule_probs_at(upper)
        step = np.zeros((len(rules), grammar.num_symbols_at(upper - 1)))
        np.add.at(step, (np.arange(len(rules))[:, None], rules[..., child]), probs)
        matrix = matrix @ step
    return matrix


def tuple_law(grammar: FixedTree, node: int, position: int, level: int) -> np.ndarray:
    """See [`~rhm_hf.grammar.laws.base.Laws.tuple_law`]: rule r = symbol * rules per symbol + rule."""
    first = node * grammar.block_length(level)  # a token below the node, to find the common ancestor by
    symbols = joint(grammar, first, level, position)
    return (grammar.rule_probs_at(level)[..., None] * symbols[:, None]).reshape(-1, grammar.vocab_size)
