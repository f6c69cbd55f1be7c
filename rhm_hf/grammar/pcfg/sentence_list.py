"""All sentences of a finite grammar with their exact probabilities, and what follows: entropies, counts."""

import numpy as np

from .sweeps import Sweeps


def all_sentences(sweeps: Sweeps, limit: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Every sentence of positive probability, the shortest first, in the order of their tokens.

    All possible prefixes of one length are extended by their exact next-token laws, so ambiguity, unit cycles and
    empty rules do not matter. Every prefix has a sentence of its own: there are never more than `limit`.

    Returns:
        int64 `(sentences, longest)` padded with v + 1, float64 probabilities; None where there are more than `limit`,
        infinitely many included.
    """
    v = sweeps.grammar.rules.vocab_size
    prefixes, probs = np.zeros((1, 0), np.int64), np.ones(1)
    ended, ended_probs, count = [], [], 0
    while len(prefixes):
        length = prefixes.shape[1]
        laws, _, _ = sweeps.rows(prefixes, np.full(len(prefixes), length), length + 1)
        law = laws[:, length]
        ends = law[:, v] > 0
        ended.append(prefixes[ends])
        ended_probs.append(probs[ends] * law[ends, v])
        count += int(ends.sum())
        rows, tokens = np.nonzero(law[:, :v])
        if count + len(rows) > limit:
            return None
        probs = probs[rows] * law[rows, tokens]
        prefixes = np.concatenate([prefixes[rows], tokens[:, None]], axis=1)
    longest = ended[-1].shape[1]
    padded = [np.pad(rows, ((0, 0), (0, longest - rows.shape[1])), constant_values=v + 1) for rows in ended]
    return np.concatenate(padded), np.concatenate(ended_probs)
