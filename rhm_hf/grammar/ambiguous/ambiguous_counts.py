"""Closed forms of ambiguous grammars on fixed trees: derivations, sentences, entropies, marginals."""

import math

import numpy as np

from .expansions import Expansion, Factors, downward


SUPPORT_LIMIT = 2**16  # combinations of children's supports, up to which sentences are counted
BLOCK_LIMIT = 2**22  # combinations of children's blocks, up to which sentences are listed
CHUNK_NUMBERS = 2**22  # weights of rules that are held at a time


def entropies(probs: np.ndarray) -> np.ndarray:
    """Of the laws along the last axis, nats."""
    return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(-1)


def node_marginals(levels: list[Expansion], root_probs: np.ndarray, vocab_size: int) -> list[np.ndarray]:
    """Entry ℓ = 0..L, `(nodes, symbols)`: the law of every node given nothing."""
    laws = [root_probs[None]]
    for level, below in downward(levels, vocab_size):
        children = [laws[-1] @ level.child_law(child, below) for child in range(level.tuple_size)]
        laws.append(np.stack(children, axis=1).reshape(-1, below))
    return laws[::-1]


def derivation_entropy(levels: list[Expansion], root_probs: np.ndarray, vocab_size: int) -> float:
    """Of the root and all choices, nats, exact."""
    total = float(entropies(root_probs))
    marginals = node_marginals(levels, root_probs, vocab_size)[::-1]
    for (level, _), laws in zip(downward(levels, vocab_size), marginals[:-1], strict=True):
        total += float((laws @ sum(entropies(choice) for choice in level.choices())).sum())
    return total


def count_derivations(levels: list[Expansion], root_probs: np.ndarray, vocab_size: int) -> int:
    """The number of derivations of positive probability, a Python integer."""
    counts = np.ones(vocab_size, dtype=object)
    for level, _ in reversed(list(downward(levels, vocab_size))):
        if isinstance(level, Factors):
            parts = [(matrix > 0).astype(object) @ counts for matrix in level.matrices]
            counts = math.prod(parts[1:], start=parts[0])
        else:
            counts = (counts[level.rules].prod(axis=2) * (level.probs > 0)).sum(axis=1)
    return int(counts[root_probs > 0].sum())


def derivations_of(
    levels: list[Expansion], root_probs: np.ndarray, vocab_size: int, rows: list[list[int]]
) -> list[int]:
    """The number of derivations of every row of tokens, Python integers: one row at a time."""
    found = []
    for row in rows:
        counts = np.array([[int(token == x) for x in range(vocab_size)] for token in row], dtype=object)
        for level, _ in reversed(list(downward(levels, vocab_size))):
            children = [counts[child :: level.tuple_size] for child in range(level.tuple_size)]
            if isinstance(level, Factors):
                parts = [
                    below @ (matrix > 0).astype(object).T
                    for below, matrix in zip(children, level.matrices, strict=True)
                ]
                counts = math.prod(parts[1:], start=parts[0])
            else:
                chosen = [below[:, level.rules[:, :, child]] for child, below in enumerate(children)]
                counts = (math.prod(chosen[1:], start=chosen[0]) * (level.probs > 0)).sum(axis=2)
        found.append(int(counts[0][root_probs > 0].sum()))
    return found


def count_sentences(levels: list[Expansion], root_probs: np.ndarray, vocab_size: int) -> int | None:
    """The number of sentences of positive probability, exact; None where too many supports would be needed.

    A block's *support* is the set of symbols that can derive it. How many blocks have which support follows from the
    supports of the blocks below, level by level. A block counts once, however many derivations it has.
    """
    counts = {1 << token: 1 for token in range(vocab_size)}
    for level, below in reversed(list(downward(levels, vocab_size))):
        partial: dict[tuple[int, ...], int] = {(): 1}
        for _ in range(level.tuple_size):
            if len(partial) * len(counts) > SUPPORT_LIMIT:
                return None
            partial = {(*supports, support): n * m for supports, n in partial.items() for support, m in counts.items()}
        above: dict[int, int] = {}
        for supports, n in partial.items():
            support = _support(level, supports, below)
            if support:
                above[support] = above.get(support, 0) + n
        counts = above
    possible = sum(1 << a for a in np.flatnonzero(root_probs > 0).tolist())
    return sum(n for support, n in counts.items() if support & possible)


def _support(level: Expansion, supports: tuple[int, ...], below: int) -> int:
    """The symbols that have a rule whose children are in the given supports, as bits."""
    sets = np.array([[support >> x & 1 for x in range(below)] for support in supports], dtype=bool)
    if isinstance(level, Factors):
        able = np.logical_and.reduce([(matrix > 0) @ own for matrix, own in zip(level.matrices, sets, strict=True)])
    else:
        inside = np.logical_and.reduce([own[level.rules[:, :, i]] for i, own in enumerate(sets)])
        able = (inside & (level.probs > 0)).any(axis=1)
    return sum(1 << a for a in np.flatnonzero(able).tolist())


def list_sentences(
    levels: list[Expansion], root_probs: np.ndarray, vocab_size: int, limit: int = BLOCK_LIMIT
) -> tuple[np.ndarray, np.ndarray] | None:
    """All sentences of positive probability `(num, d)`, in lexicographic order, and their probabilities.

    Level by level, the possible blocks and the probabilities of each given its symbol; None where more than `limit`
    combinations of blocks would have to be tried.
    """
    tokens, messages = np.arange(vocab_size)[:, None], np.eye(vocab_size)
    for level, _ in reversed(list(downward(levels, vocab_size))):
        num = len(tokens) ** level.tuple_size
        if num > limit:
            return None
        size = max(1, CHUNK_NUMBERS // level.num_weights)
        kept_tokens, kept_messages = [], []
        for first in range(0, num, size):
            combination = np.arange(first, min(first + size, num))
            blocks = np.unravel_index(combination, (len(tokens),) * level.tuple_size)
            up = level.upward([messages[block] for block in blocks])
            possible = (up > 0).any(axis=1)
            kept_messages.append(up[possible])
            kept_tokens.append(np.concatenate([tokens[block[possible]] for block in blocks], axis=1))
        tokens, messages = np.concatenate(kept_tokens), np.concatenate(kept_messages)
    probs = messages @ root_probs
    return tokens[probs > 0], probs[probs > 0]
