"""Sentence <-> index: ranks of derivations in depth-first order, as Python integers of any size.

A node's rank counts the subtrees below its symbol: first its rule, then the ranks of its children, first child most
significant. For the RHM this is the mixed-radix number (class, rule of the root, digits of child 1, digits of child 2,
..), so the digits of a block of tokens are next to each other.
"""

import numpy as np

from ...checks import AnyIndex, check_integer
from ..fixed_tree import FixedTree


def count_subtrees(grammar: FixedTree) -> list[list[int]]:
    """Entry ℓ, ℓ = 0..L: how many different subtrees each level-ℓ symbol has, rules of probability 0 left out."""
    counts = [[1] * grammar.vocab_size]
    for level in range(1, grammar.depth + 1):
        probs = grammar.rule_probs_at(level)
        if len(set(counts[-1])) == 1 and (probs > 0).all():  # the RHM: all symbols alike
            each = probs.shape[1] * counts[-1][0] ** grammar.tuple_size_at(level)
            counts.append([each] * len(probs))
        else:
            counts.append([sum(_rule_counts(grammar, level, a, counts[-1])) for a in range(len(probs))])
    return counts


def _rule_counts(grammar, level: int, symbol: int, below: list[int]) -> list[int]:
    """The number of subtrees that start with each rule of a symbol."""
    counts = []
    for rule, prob in zip(grammar.rules_at(level)[symbol].tolist(), grammar.rule_probs_at(level)[symbol], strict=True):
        count = int(prob > 0)
        for child in rule:
            count *= below[child]
        counts.append(count)
    return counts


def _locate(index: int, counts: list[int]) -> tuple[int, int]:
    """The entry that holds the index-th item when entry k holds counts[k] of them, and the item's rank in it."""
    if len(set(counts)) == 1:
        return divmod(index, counts[0])
    for k, count in enumerate(counts):
        if index < count:
            return k, index
        index -= count
    raise AssertionError("index beyond the total")


def sentence(grammar: FixedTree, index: AnyIndex) -> np.ndarray:
    """The sentence of rank `index` in `[0, num_sentences)`.

    Returns:
        `np.ndarray` of shape `(sentence_length,)` and `grammar.token_dtype`.

    Raises:
        `ValueError`: if `index` is no integer of that range.
    """
    index = check_integer("index", index, 0, grammar.num_sentences)
    counts = grammar.subtree_counts
    classes = [n if p > 0 else 0 for n, p in zip(counts[-1], grammar.root_probs, strict=True)]
    nodes = [_locate(index, classes)]
    for level in range(grammar.depth, 0, -1):
        rules = grammar.rules_at(level)
        below = counts[level - 1]
        children = []
        for symbol, rank in nodes:
            rule, rank = _locate(rank, _rule_counts(grammar, level, symbol, below))
            digits = []
            for child in rules[symbol, rule].tolist()[::-1]:  # the last child is the least significant digit
                rank, digit = divmod(rank, below[child])
                digits.append((child, digit))
            children.extend(digits[::-1])
        nodes = children
    return np.array([symbol for symbol, _ in nodes], dtype=grammar.token_dtype)


def index(grammar: FixedTree, tokens: np.ndarray) -> int:
    """The rank of one sentence of shape `(sentence_length,)`; `ValueError` where it is ungrammatical."""
    tokens = np.asarray(tokens)
    if tokens.shape != (grammar.sentence_length,):
        raise ValueError(f"tokens has shape {tokens.shape}: one sentence has shape ({grammar.sentence_length},)")
    if tokens.dtype.kind not in "iu" or tokens.min() < 0 or tokens.max() >= grammar.vocab_size:
        raise ValueError(f"tokens={tokens.tolist()} must be integers from 0 to {grammar.vocab_size - 1}")
    counts = grammar.subtree_counts
    nodes = [(token, 0) for token in tokens.tolist()]
    for level in range(1, grammar.depth + 1):
        tree, size, below = grammar.prefix_tree(level), grammar.tuple_size_at(level), counts[level - 1]
        flat = tree.find(np.array([symbol for symbol, _ in nodes]).reshape(-1, size))
        if (flat < 0).any():
            raise ValueError(f"tokens={tokens.tolist()} is ungrammatical: at level {level} a tuple is no rule")
        parents = []
        for node, found in enumerate(flat.tolist()):
            symbol, rule = divmod(found, tree.rules_per_symbol)
            rank = 0
            for child, digit in nodes[node * size : (node + 1) * size]:
                rank = rank * below[child] + digit
            rank += sum(_rule_counts(grammar, level, symbol, below)[:rule])
            parents.append((symbol, rank))
        nodes = parents
    (root, rank), probs = nodes[0], grammar.root_probs
    if probs[root] == 0:
        raise ValueError(f"tokens={tokens.tolist()} is ungrammatical: its root symbol {root} has probability 0")
    return rank + sum(counts[-1][a] for a in range(root) if probs[a] > 0)
