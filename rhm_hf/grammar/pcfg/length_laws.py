"""How long sentences and how large derivations are: exact laws and moments, without drawing any."""

import math
from dataclasses import dataclass

import numpy as np

from .binary_rules import BinaryGrammar
from .production_rules import Rules


def length_law(grammar: BinaryGrammar, longest: int) -> np.ndarray:
    """P(a sentence has n tokens), n = 0 .. longest.

    The coefficients of the generating functions f_a(z) = sum_r p_r prod f_child(z): the inside recursion of the chart
    with every token allowed, where cells of one length are alike.

    Returns:
        float64 `(longest + 1,)`; its sum is P(length <= longest).
    """
    laws = np.zeros((longest + 1, grammar.num_symbols))
    parent, left, right = grammar.binary.T
    for n in range(1, longest + 1):
        direct = np.zeros(grammar.num_symbols)
        if n == 1:
            np.add.at(direct, grammar.lexical[:, 0], grammar.lexical_probs)
        else:
            both = (laws[1:n][:, left] * laws[n - 1 : 0 : -1][:, right]).sum(0)
            np.add.at(direct, parent, grammar.binary_probs * both)
        laws[n] = grammar.closure @ direct
    result = laws[:, 0].copy()
    result[0] = grammar.empty[0]
    return result


def mean_and_variance(rules: Rules) -> tuple[float, float]:
    """Mean and variance of the number of tokens: linear systems, by the law of total variance."""
    v, inverse = rules.vocab_size, np.linalg.inv(np.eye(rules.num_symbols) - rules.expected_children)
    mean = inverse @ rules.expected_tokens.sum(1)
    means = np.concatenate([np.ones(v), mean])
    of_rule = np.array([sum(means[c] for c in right) for right in rules.right_sides])
    within = np.zeros(rules.num_symbols)
    np.add.at(within, rules.lefts, rules.probs * (of_rule - mean[rules.lefts]) ** 2)
    return float(mean[0]), float((inverse @ within)[0])


def derivation_entropy(rules: Rules) -> float:
    """The entropy of a derivation in nats: h_a = - sum p log p + sum_b (expected children b) h_b, a linear system."""
    choices = np.zeros(rules.num_symbols)
    np.add.at(choices, rules.lefts, -rules.probs * np.log(rules.probs))
    return float(np.linalg.solve(np.eye(rules.num_symbols) - rules.expected_children, choices)[0])


@dataclass(frozen=True)
class Extent:
    """How many derivations there are and how long sentences get: Python integers, or infinity."""

    num_derivations: int | float
    max_length: int | float
    min_length: int


def extent(rules: Rules) -> Extent:
    """Derivations are infinitely many where a symbol can contain itself; sentences, where it does so with company."""
    v, num = rules.vocab_size, rules.num_symbols
    shortest = _fixed_point(rules, min, math.inf)
    can_write = np.array([n > 0 for n in _fixed_point(rules, max, 0, limit=1)])
    below = np.zeros((num, num), dtype=bool)
    grows = np.zeros((num, num), dtype=bool)
    for left, right in zip(rules.lefts.tolist(), rules.right_sides, strict=True):
        for place, child in enumerate(right):
            if child >= v:
                below[left, child - v] = True
                others = right[:place] + right[place + 1 :]
                grows[left, child - v] |= any(other < v or can_write[other - v] for other in others)
    reach = below.copy()
    for middle in range(num):
        reach |= reach[:, middle, None] & reach[None, middle]
    if (grows & reach.T).any():
        return Extent(math.inf, math.inf, shortest[0])
    longest = _fixed_point(rules, max, 0)
    if np.diag(reach).any():
        return Extent(math.inf, longest[0], shortest[0])
    counts: dict[int, int] = {}
    while 0 not in counts:  # no symbol contains itself: every round knows more of them
        for a in range(num):
            children = [child - v for r in rules.rules_of(a) for child in rules.right_sides[r] if child >= v]
            if a not in counts and all(child in counts for child in children):
                counts[a] = sum(
                    math.prod(counts[child - v] for child in rules.right_sides[r] if child >= v)
                    for r in rules.rules_of(a)
                )
    return Extent(counts[0], longest[0], shortest[0])


def _fixed_point(rules: Rules, best, first, limit: float = math.inf) -> list:
    """The best length of every symbol, up to a limit; ends where no symbol grows by containing itself."""
    v, values, changed = rules.vocab_size, [first] * rules.num_symbols, True
    while changed:
        changed = False
        for left, right in zip(rules.lefts.tolist(), rules.right_sides, strict=True):
            value = best(values[left], min(limit, sum(1 if child < v else values[child - v] for child in right)))
            if value != values[left]:
                values[left], changed = value, True
    return values
