"""Sentences of a sparse grammar to derivations and placements, and back; all sentences of a small one.

Level by level: a patch without informative children is empty, any other must hold a placement of a rule.
"""

from typing import Any

import numpy as np

from ...checks import AnyIndex, smallest_dtype
from ..fixed_tree import FixedTree
from ..layered.parsing import checked_tokens


def parse(grammar: FixedTree, tokens: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The symbols of every level (entry ℓ = 0..L) and the placements of informative nodes (entry ℓ - 1, ℓ = 1..L)."""
    levels, placements = [checked_tokens(grammar, tokens)], []
    num, failure = len(levels[0]), None
    for level in range(1, grammar.depth + 1):
        parents, ranks, bad = _parse_level(grammar, level, levels[-1].reshape(-1, grammar.tuple_size_at(level)))
        levels.append(parents.reshape(num, grammar.num_nodes_at(level)))
        placements.append(ranks)
        bad = bad.reshape(levels[-1].shape).any(1)
        if bad.any():
            num = int(bad.argmax())  # the sentences before it may still fail at a higher level
            failure = (num, level)
            levels = [symbols[:num] for symbols in levels]
    if failure is not None:
        sentence, level = failure
        raise ValueError(
            f"tokens[{sentence}] = {np.asarray(tokens)[sentence].tolist()} is ungrammatical: at level {level} a patch "
            f"is no placement of a rule of {grammar.name}, or the root has probability 0"
        )
    shapes = [(num, grammar.base.num_nodes_at(level)) for level in range(1, grammar.depth + 1)]
    return levels, [ranks.reshape(shape) for ranks, shape in zip(placements, shapes, strict=True)]


def _parse_level(grammar, level: int, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The symbols above patches `(N, slots)`, the placements of those with children, and which are wrong, `(N,)`."""
    base, at, tree = grammar.base, grammar.placements_at(level), grammar.base.prefix_tree(level)
    informative = patches != grammar.empty_at(level - 1)
    count = informative.sum(1)
    fits = count == at.tuple_size  # patches with another number of children are as wrong as those of no rule
    children, slots = patches[informative & fits[:, None]], informative[fits].nonzero()[1]
    rules = tree.find(children.reshape(-1, at.tuple_size).astype(np.int64))
    ranks = at.rank(slots.reshape(-1, at.tuple_size))
    is_root = level == grammar.depth
    parents = np.full(
        len(patches), 0 if is_root else grammar.empty_at(level), smallest_dtype(grammar.num_symbols_at(level))
    )
    parents[fits] = np.maximum(rules, 0) // tree.rules_per_symbol
    bad = count > 0  # until it turns out right
    bad[fits] = (rules < 0) | (ranks < 0)
    if is_root:
        bad |= (count == 0) | (base.root_probs[parents] == 0)
    return parents, ranks, bad


def positions(grammar: FixedTree, placements: list[np.ndarray]) -> np.ndarray:
    """Where every informative token lies in the sentence: int64 of shape `(num, base.sentence_length)`."""
    offsets = np.zeros((len(placements[-1]), 1), dtype=np.int64)
    for level in range(grammar.depth, 0, -1):
        slots = grammar.placements_at(level).slots[placements[level - 1]]  # (num, nodes, s)
        nodes = grammar.base.num_nodes_at(level - 1)
        offsets = (offsets[:, :, None] + slots * grammar.block_length(level - 1)).reshape(-1, nodes)
    return offsets


def place(grammar: FixedTree, base_tokens: Any, placements: Any) -> np.ndarray:
    """See [`~rhm_hf.grammar.sparse.SparseGrammar.place`]."""
    base, base_tokens = grammar.base, np.asarray(base_tokens)
    if base_tokens.ndim != 2 or base_tokens.shape[1] != base.sentence_length:
        raise ValueError(f"base_tokens has shape {base_tokens.shape}: it must be (sentences, {base.sentence_length})")
    if base_tokens.size and (base_tokens.min() < 0 or base_tokens.max() >= base.vocab_size):
        raise ValueError(
            f"base_tokens holds a symbol out of range: informative symbols are 0 to {base.vocab_size - 1}"
        )
    placements = [np.asarray(ranks) for ranks in placements]
    shapes = [(len(base_tokens), base.num_nodes_at(level)) for level in range(1, grammar.depth + 1)]
    if [ranks.shape for ranks in placements] != shapes:
        raise ValueError(f"placements has shapes {[ranks.shape for ranks in placements]}: they must be {shapes}")
    for level, ranks in enumerate(placements, start=1):
        count = grammar.placements_at(level).count
        if ranks.size and (ranks.min() < 0 or ranks.max() >= count):
            raise ValueError(
                f"placements[{level - 1}] holds a rank out of range: level {level} has {count} placements"
            )
    tokens = np.full((len(base_tokens), grammar.sentence_length), grammar.empty_at(0), dtype=grammar.token_dtype)
    np.put_along_axis(tokens, positions(grammar, placements), base_tokens.astype(grammar.token_dtype), axis=1)
    return tokens


# Placements of one sentence <-> rank: in depth-first order, a node's own placement most significant.


def rank_of_placements(grammar: FixedTree, placements: list[np.ndarray]) -> int:
    """The rank of the placements of one sentence, each of shape `(1, nodes)`, in `[0, placement_counts[-1])`."""
    ranks = [0] * grammar.base.sentence_length
    for level in range(1, grammar.depth + 1):
        size, below = grammar.base.tuple_size_at(level), grammar.placement_counts[level - 1]
        parents = []
        for node, rank in enumerate(placements[level - 1][0].tolist()):
            for child in ranks[node * size : (node + 1) * size]:
                rank = rank * below + child
            parents.append(rank)
        ranks = parents
    return ranks[0]


def placements_of_rank(grammar: FixedTree, rank: AnyIndex) -> list[np.ndarray]:
    """The inverse of [`rank_of_placements`]."""
    ranks, placements = [rank], []
    for level in range(grammar.depth, 0, -1):
        size, below = grammar.base.tuple_size_at(level), grammar.placement_counts[level - 1]
        own, children = [], []
        for node in ranks:
            digits = []
            for _ in range(size):
                node, digit = divmod(node, below)
                digits.append(digit)
            own.append(node)
            children.extend(digits[::-1])
        placements.append(np.array([own], dtype=np.int64))
        ranks = children
    return placements[::-1]


def enumerate_sparse(grammar: FixedTree) -> tuple[np.ndarray, np.ndarray]:
    """Every sentence of a sparse grammar with its probability, row i being `grammar.sentence(i)`.

    Returns and raises as [`~rhm_hf.grammar.enumeration.enumerate_sentences`] does.
    """
    base_tokens, base_probs = grammar.base.list_sentences()
    count = grammar.placement_counts[-1]
    drawn = [placements_of_rank(grammar, rank) for rank in range(count)]
    placements = [
        np.concatenate([level] * len(base_tokens)) for level in map(np.concatenate, zip(*drawn, strict=True))
    ]
    tokens = grammar.place(np.repeat(base_tokens, count, axis=0), placements)
    return tokens, np.repeat(base_probs / count, count)
