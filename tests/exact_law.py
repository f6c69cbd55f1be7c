"""Independent checks for the tests of this folder: enumeration of a grammar's law, and chi-squared tests."""

import itertools
import math

import numpy as np


def enumerated_law(grammar) -> dict[tuple[int, ...], float]:
    """Every sentence of positive probability with its probability, straight from the definition."""

    def below(symbol, generation):
        if generation == grammar.depth:
            return {(symbol,): 1.0}
        law = {}
        for rule, p in zip(grammar.rules[generation][symbol], grammar.rule_probs[generation][symbol], strict=True):
            if p > 0:
                parts = [below(int(child), generation + 1).items() for child in rule]
                for choice in itertools.product(*parts):
                    tokens = tuple(t for block, _ in choice for t in block)
                    assert tokens not in law, "ambiguous"
                    law[tokens] = p * math.prod(q for _, q in choice)
        return law

    law = {}
    for symbol, p in enumerate(grammar.root_probs):
        if p > 0:
            law |= {tokens: p * q for tokens, q in below(symbol, 0).items()}
    return law


def chi_squared_z(counts, expected) -> float:
    """Pearson's statistic as a standard normal (Wilson-Hilferty); 0 with a single cell.

    Cells of expectation 0 must be empty; those of less than 5 are put together.
    """
    counts, expected = np.asarray(counts, dtype=float).ravel(), np.asarray(expected, dtype=float).ravel()
    assert (counts[expected == 0] == 0).all(), "something impossible was drawn"
    order = np.argsort(-expected)
    counts, expected = counts[order], expected[order]
    common = max(int((expected >= 5).sum()), 1)
    if common < len(expected) and expected[common:].sum() < 5:
        common = max(common - 1, 1)
    if common < len(expected) and expected[common:].sum() > 0:
        counts, expected = (np.append(cells[:common], cells[common:].sum()) for cells in (counts, expected))
    else:
        counts, expected = counts[:common], expected[:common]
    if len(counts) == 1:
        return 0.0
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))


def assert_uniform(values, size: int) -> None:
    """Values of [0, size) are uniform: neither too uneven nor too even."""
    counts = np.bincount(np.asarray(values, dtype=np.int64), minlength=size)
    assert len(counts) == size
    assert abs(chi_squared_z(counts, np.full(size, counts.sum() / size))) < 4.5
