"""What follows from the rules of layered trees in closed form: lengths, numbers of derivations, entropies.

All are sums over rules from the leaves up: a property of a symbol is the mixture over its rules of products (lengths,
counts) or sums (entropies, means) over their children.
"""

from typing import Any

import numpy as np


def length_laws(levels: Any, vocab_size: int) -> np.ndarray:
    """The exact law of a sentence's length given the root's symbol.

    Generating functions: G_0(z) = z and G_l,a(z) = sum over rules p_r prod_i G_(l-1),r_i(z). Where the symbols of a
    level use arities with the same probabilities, and so below, all of them have one law, and one is computed.

    Args:
        levels: pairs (rules by arity, probabilities by arity), root first.
        vocab_size (`int`): tokens.

    Returns:
        `np.ndarray` float64 `(symbols of the root, longest + 1)`: entry n is P(n tokens).
    """
    laws = np.zeros((vocab_size, 2))
    laws[:, 1] = 1.0
    for rules, probs in reversed(levels):
        symbols = len(rules[0])
        is_same = all(np.ptp(p.sum(1)) <= 1e-15 for p in probs) and np.ptp(laws, axis=0).max() == 0
        longest = max(group.shape[2] for group in rules) * (laws.shape[1] - 1)
        above = np.zeros((1 if is_same else symbols, longest + 1))
        for group, p in zip(rules, probs, strict=True):
            if is_same:
                power = _power(laws[0], group.shape[2])
                above[0, : len(power)] += p[0].sum() * power
                continue
            for a, k in zip(*np.nonzero(p), strict=True):
                product = laws[group[a, k, 0]]
                for child in group[a, k, 1:]:
                    product = np.convolve(product, laws[child])
                above[a, : len(product)] += p[a, k] * product
        laws = np.repeat(above, symbols, axis=0) if is_same else above
    return laws


def _power(polynomial: np.ndarray, exponent: int) -> np.ndarray:
    result = np.ones(1)
    for _ in range(exponent):
        result = np.convolve(result, polynomial)
    return result


def count_derivations(levels: Any, vocab_size: int) -> list[int]:
    """The number of derivations from each symbol of the root, exact, as Python integers."""
    counts = [1] * vocab_size
    for rules, probs in reversed(levels):
        above = [0] * len(rules[0])
        even = len(set(counts)) == 1
        for group, p in zip(rules, probs, strict=True):
            if even:  # one product serves all
                product = counts[0] ** group.shape[2]
                above = [n + int(k) * product for n, k in zip(above, (p > 0).sum(1), strict=True)]
                continue
            for a, k in zip(*np.nonzero(p), strict=True):
                product = 1
                for child in group[a, k].tolist():
                    product *= counts[child]
                above[a] += product
        counts = above
    return counts


def expected_symbols(levels: Any, root_probs: np.ndarray, vocab_size: int) -> list[np.ndarray]:
    """The expected number of nodes of every symbol, level by level, root first; the last entry counts tokens."""
    expected = [root_probs]
    sizes = [len(rules[0]) for rules, _ in levels[1:]] + [vocab_size]
    for (rules, probs), size in zip(levels, sizes, strict=True):
        below = np.zeros(size)
        for group, p in zip(rules, probs, strict=True):
            weights = np.repeat((expected[-1][:, None] * p)[:, :, None], group.shape[2], axis=2)
            below += np.bincount(group.ravel(), weights.ravel(), minlength=size)
        expected.append(below)
    return expected


def derivation_entropy(levels: Any, root_probs: np.ndarray, vocab_size: int) -> float:
    """The entropy of a derivation in nats: that of the root plus, for every node, that of its choice of a rule."""

    def entropies(p):
        return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)

    total = entropies(root_probs)
    expected = expected_symbols(levels, root_probs, vocab_size)
    for (_, probs), counts in zip(levels, expected[:-1], strict=True):
        total += counts @ entropies(np.concatenate(probs, axis=1))
    return float(total)


def length_bounds(levels: Any, root_probs: np.ndarray, vocab_size: int) -> tuple[int, int]:
    """The shortest and the longest sentence, in tokens."""
    shortest, longest = np.ones(vocab_size, dtype=object), np.ones(vocab_size, dtype=object)
    for rules, probs in reversed(levels):
        low, high = [], []
        for a in range(len(rules[0])):
            chosen = [group[a, p[a] > 0] for group, p in zip(rules, probs, strict=True)]
            low.append(min(shortest[tuples].sum(1).min() for tuples in chosen if len(tuples)))
            high.append(max(longest[tuples].sum(1).max() for tuples in chosen if len(tuples)))
        shortest, longest = np.array(low, dtype=object), np.array(high, dtype=object)
    possible = root_probs > 0
    return int(shortest[possible].min()), int(longest[possible].max())
