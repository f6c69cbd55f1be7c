"""How many sentences a chain of blocks has, which they are, and their entropy.

All three walk over the sequences of the blocks' symbols with, for each, the joint weights of the chain's states: those
of a hidden Markov model's forward algorithm.
"""

import math
from collections.abc import Iterator

import numpy as np

from ..fixed_tree import FixedTree
from ..layered.rule_entropies import subtree_entropies
from ..layered.subtrees import subtrees_of


SET_LIMIT = 2**14  # sets of states that `count_sentences` keeps apart
SEQUENCE_ENTRIES = 2**22  # entries of the weights of all sequences that `entropy` visits exactly
SAMPLED = 2**13  # sentences that stand for them where they are too many


def count_sentences(chain: FixedTree) -> int | float:
    """The number of sentences of positive probability, as a Python integer; `math.inf` beyond `SET_LIMIT`.

    A sequence of symbols matters through the set of states that it leaves possible, as bits of an integer: the subset
    construction, which makes a deterministic automaton of a chain.
    """
    below = chain.blocks.subtree_counts[-1]
    sets = {_bits(chain.initial > 0): 1}
    following = None if chain.transitions is None else [_bits(row > 0) for row in chain.transitions]
    by_emission = [_symbols_by_states(emission, below) for emission in chain.emissions]
    for block in range(chain.num_blocks):
        if block and following is not None:
            sets = _summed((_followers(states, following), count) for states, count in sets.items())
        symbols = by_emission[min(block, len(by_emission) - 1)]
        sets = _summed(
            (states & possible, count * trees) for states, count in sets.items() for possible, trees in symbols.items()
        )
        sets.pop(0, None)
        if len(sets) > SET_LIMIT:
            return math.inf
    return sum(sets.values())


def count_derivations(chain: FixedTree) -> int:
    """The number of choices of states, symbols and rules of positive probability, as a Python integer."""
    below = chain.blocks.subtree_counts[-1]
    counts = [int(p > 0) for p in chain.initial]
    for block in range(chain.num_blocks):
        if block and chain.transitions is not None:
            counts = [sum(n for n, p in zip(counts, column, strict=True) if p > 0) for column in chain.transitions.T]
        written = [sum(n for n, p in zip(below, row, strict=True) if p > 0) for row in chain.emission(block)]
        counts = [n * trees for n, trees in zip(counts, written, strict=True)]
    return sum(counts)


def derivations_of(chain: FixedTree, rows: np.ndarray) -> list[int]:
    """The number of paths of states that emit the blocks' symbols, `(n, J)`, -1 for a block that no rule derives."""
    found = []
    for row in rows.tolist():
        counts = np.array([int(p > 0) for p in chain.initial], dtype=object)
        for block, symbol in enumerate(row):
            if block and chain.transitions is not None:
                counts = counts @ (chain.transitions > 0).astype(object)
            counts = counts * ((chain.emission(block)[:, symbol] > 0) if symbol >= 0 else 0)
        found.append(int(counts.sum()))
    return found


def derivation_entropy(chain: FixedTree) -> float:
    """Entropy of states, symbols and rules together, in nats: that of every choice given the one it depends on."""
    below = subtree_entropies(chain.blocks, chain.cut)
    total = float(_entropies(chain.initial[None], np.ones(1))[0])
    for block, states in enumerate(chain.state_marginals):
        emission = chain.emission(block)
        total += float(states @ (_entropies(emission, np.ones(len(emission))) + emission @ below))
        if chain.transitions is not None and block + 1 < chain.num_blocks:
            total += float(states @ _entropies(chain.transitions, np.ones(len(states))))
    return total


def _symbols_by_states(emission: np.ndarray, below: list[int]) -> dict[int, int]:
    """The sets of states that can write a symbol, with the number of blocks that begin with such symbols."""
    return _summed((_bits(column > 0), trees) for column, trees in zip(emission.T, below, strict=True))


def _followers(states: int, following: list[int]) -> int:
    found = 0
    while states:
        lowest = states & -states
        found |= following[lowest.bit_length() - 1]
        states ^= lowest
    return found


def _bits(flags: np.ndarray) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _summed(pairs) -> dict[int, int]:
    sums: dict[int, int] = {}
    for key, value in pairs:
        sums[key] = sums.get(key, 0) + value
    return sums


def extended(chain: FixedTree, block: int, weights: np.ndarray) -> np.ndarray:
    """Joint weights `(rows, states, symbols)` of states and of a block's symbol, from those of the states."""
    return weights[:, :, None] * chain.emission(block)


def moved_on(chain: FixedTree, weights: np.ndarray) -> np.ndarray:
    """The weights of the states one block later."""
    return weights if chain.transitions is None else weights @ chain.transitions


def symbol_sequences(chain: FixedTree) -> tuple[np.ndarray, np.ndarray]:
    """All sequences of the blocks' symbols of positive probability: `(sequences, J)` and their probabilities."""
    weights, sequences = chain.initial[None], np.zeros((1, 0), dtype=np.int64)
    for block in range(chain.num_blocks):
        joint = np.moveaxis(extended(chain, block, weights), 2, 1)
        rows, symbols = np.nonzero(joint.sum(2) > 0)
        sequences = np.concatenate([sequences[rows], symbols[:, None]], axis=1)
        weights = joint[rows, symbols]
        if block + 1 < chain.num_blocks:
            weights = moved_on(chain, weights)
    return sequences, weights.sum(1)


def enumerate_chain(chain: FixedTree) -> tuple[np.ndarray, np.ndarray]:
    """See [`~rhm_hf.grammar.enumeration.enumerate_sentences`]; ordered by the blocks' symbols, then by their trees."""
    trees = subtrees_of(chain.blocks)
    sequences, weights = symbol_sequences(chain)
    tokens, probs = [], []
    for symbols, weight in zip(sequences.tolist(), weights.tolist(), strict=True):
        rows, law = np.zeros((1, 0), chain.token_dtype), np.array([weight])
        for symbol in symbols:
            block, inside = trees[symbol]
            rows = np.concatenate([np.repeat(rows, len(block), 0), np.tile(block, (len(rows), 1))], axis=1)
            law = np.outer(law, inside).ravel()
        tokens.append(rows)
        probs.append(law)
    return np.concatenate(tokens), np.concatenate(probs)


def entropy(chain: FixedTree) -> tuple[float, float]:
    """Entropy of a sentence in nats, and its standard error, 0 where all sequences of symbols were visited."""
    below, rules = subtree_entropies(chain.blocks, chain.cut), 0.0
    for block, states in enumerate(chain.state_marginals):
        rules += float(states @ chain.emission(block) @ below)
    total = 0.0
    for law in laws_after_prefixes(chain):
        if law is None:
            value, error = _sampled_entropy(chain)
            return rules + value, error
        total += float(_entropies(law, law.sum(1)).sum())
    return rules + total, 0.0


def laws_after_prefixes(chain: FixedTree) -> Iterator[np.ndarray | None]:
    """Yields for block 1, 2, .. the joint weights `(prefixes, symbols)` of all prefixes of symbols and its own symbol.

    The last thing that comes is None where there are too many prefixes.
    """
    weights = chain.initial[None]
    for block in range(chain.num_blocks):
        if weights.size * chain.emissions.shape[2] > SEQUENCE_ENTRIES:
            yield None
            return
        joint = np.moveaxis(extended(chain, block, weights), 2, 1)
        law = joint.sum(2)
        yield law
        weights = joint[law > 0]
        if block + 1 < chain.num_blocks:
            weights = moved_on(chain, weights)


def laws_after_sampled_prefixes(chain: FixedTree) -> Iterator[np.ndarray]:
    """The same for the prefixes of sampled sentences, which are fixed: `(sentences, symbols)`, rows sum to 1."""
    symbols = chain.parse(chain.sample(SAMPLED, split="evaluation"))[-1].astype(np.int64)
    weights = np.tile(chain.initial, (SAMPLED, 1))
    for block in range(chain.num_blocks):
        emission = chain.emission(block)
        yield weights @ emission
        weights = weights * emission[:, symbols[:, block]].T
        weights = moved_on(chain, weights / weights.sum(1, keepdims=True))


def _sampled_entropy(chain) -> tuple[float, float]:
    """Mean over sentences of the exact entropies of every block's symbol given those before it."""
    sums = sum(_entropies(law, np.ones(SAMPLED)) for law in laws_after_sampled_prefixes(chain))
    return float(sums.mean()), float(sums.std(ddof=1) / math.sqrt(SAMPLED))


def _entropies(joint: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Weight times entropy of every row `(rows, symbols)` of joint weights, given its sum."""
    ratio = np.where(joint > 0, joint / total[:, None], 1.0)
    return -(joint * np.log(ratio)).sum(1)
