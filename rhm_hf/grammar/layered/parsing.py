"""Sentences to derivations, level by level through the prefix trees."""

import numpy as np

from ...checks import smallest_dtype
from ..fixed_tree import FixedTree


BATCH = 2**14  # tuples parsed together: their states stay in the first-level cache


def parse(grammar: FixedTree, tokens: np.ndarray) -> list[np.ndarray]:
    """The derivation of every sentence: rules are unambiguous, so tuples determine their parents.

    Args:
        tokens (`np.ndarray`): integers of shape `(num, sentence_length)`.

    Returns:
        `list[np.ndarray]`: entry ℓ, ℓ = 0..L, of shape `(num, nodes at level ℓ)` and the smallest of uint8, uint16 and
        int32 that holds the level's symbols. Entry 0 holds the tokens.

    Raises:
        `ValueError`: if a sentence is ungrammatical; it names the first one and the lowest level where it fails.
    """
    levels, failure = parsed_levels(grammar, checked_tokens(grammar, tokens))
    if failure is not None:
        refuse(grammar, tokens, *failure)
    return levels


def refuse(grammar: FixedTree, tokens: np.ndarray, sentence: int, level: int) -> None:
    """Raises the `ValueError` that names an ungrammatical sentence and the lowest level where it fails."""
    raise ValueError(
        f"tokens[{sentence}] = {np.asarray(tokens)[sentence].tolist()} is ungrammatical: at level {level} a tuple "
        f"is no rule of {grammar.name}, or the root has probability 0"
    )


def parsed_levels(grammar: FixedTree, tokens: np.ndarray) -> tuple[list[np.ndarray], tuple[int, int] | None]:
    """The levels above checked tokens, and the first sentence that has none with the lowest level where it fails."""
    levels = [tokens]
    failure = None
    for level in range(1, grammar.depth + 1):
        parents, first_bad = _parents(grammar, level, levels[-1])
        levels.append(parents)
        if first_bad < len(parents):  # the sentences before it may still fail at a higher level
            failure = (first_bad, level)
            levels = [symbols[:first_bad] for symbols in levels]
    return levels, failure


def checked_tokens(grammar: FixedTree, tokens: np.ndarray) -> np.ndarray:
    """Integers of the grammar's shape and range, as `token_dtype`."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[1] != grammar.sentence_length:
        raise ValueError(
            f"tokens has shape {tokens.shape}: {grammar.name} asks for (sentences, {grammar.sentence_length})"
        )
    if tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= grammar.vocab_size):
        first = int(((tokens < 0) | (tokens >= grammar.vocab_size)).any(axis=1).argmax())
        raise ValueError(
            f"tokens[{first}] = {tokens[first].tolist()} holds a symbol out of range: the symbols of {grammar.name} "
            f"are 0 to {grammar.vocab_size - 1}"
        )
    return np.ascontiguousarray(tokens, dtype=grammar.token_dtype)


def _parents(grammar, level: int, below: np.ndarray) -> tuple[np.ndarray, int]:
    """The symbols of a level, shape `(num, nodes)`, and the first sentence that has none (num if all do)."""
    from . import parsing_kernels

    tree, nodes = grammar.prefix_tree(level), grammar.num_nodes_at(level)
    tuples = below.reshape(-1, tree.tuple_size)
    parents = np.empty(len(tuples), dtype=smallest_dtype(grammar.num_symbols_at(level)))
    symbols = (tree.order // tree.rules_per_symbol).astype(parents.dtype)
    first_bad = len(tuples)
    for begin in range(0, len(tuples), BATCH):
        batch = tuples[begin : begin + BATCH]
        states = np.zeros(len(batch), dtype=np.int32)
        for child, (table, keys) in enumerate(zip(tree.tables[1:], tree.keys[1:], strict=True)):
            if table is not None:
                parsing_kernels.follow_table(table, batch, child, states)
            else:
                parsing_kernels.follow_keys(keys, tree.num_child_symbols, batch, child, states)
        bad = parsing_kernels.parents_of_states(states, symbols, parents[begin : begin + BATCH])
        if bad < len(batch):
            first_bad = min(first_bad, begin + bad)
    first_bad //= nodes
    parents = parents.reshape(-1, nodes)
    if level == grammar.depth:
        impossible = grammar.root_probs[parents[:first_bad, 0]] == 0
        first_bad = int(impossible.argmax()) if impossible.any() else first_bad
    return parents, first_bad
