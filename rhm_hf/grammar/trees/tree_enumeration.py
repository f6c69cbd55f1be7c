"""All sentences of a small grammar of trees with their probabilities: derivations of the same tokens are added up."""

import itertools

import numpy as np

from ..source import Source


def sentence_law(grammar: Source) -> dict[tuple[int, ...], float]:
    """The probability of every sentence that has any, by its tokens; takes time and memory of all derivations."""
    below: list[dict[tuple[int, ...], float]] = [{(token,): 1.0} for token in range(grammar.vocab_size)]
    for rules, probs in zip(grammar.rules[::-1], grammar.rule_probs[::-1], strict=True):
        above: list[dict[tuple[int, ...], float]] = [{} for _ in rules[0]]
        for group, p in zip(rules, probs, strict=True):
            for a, k in zip(*np.nonzero(p), strict=True):
                for parts in itertools.product(*(below[child].items() for child in group[a, k])):
                    tokens = sum((part for part, _ in parts), ())
                    weight = float(p[a, k])
                    for _, q in parts:
                        weight *= q
                    above[a][tokens] = above[a].get(tokens, 0.0) + weight
        below = above
    law: dict[tuple[int, ...], float] = {}
    for p, sentences in zip(grammar.root_probs, below, strict=True):
        for tokens, q in sentences.items() if p > 0 else ():
            law[tokens] = law.get(tokens, 0.0) + float(p) * q
    return law


def listed(grammar: Source, law: dict[tuple[int, ...], float]) -> tuple[np.ndarray, np.ndarray]:
    """The sentences in lexicographic order as rows padded with PAD, and their probabilities."""
    ordered = sorted(law.items())
    rows = np.full((len(law), max(map(len, law))), grammar.vocab_size + 1, dtype=grammar.token_dtype)
    for row, (tokens, _) in zip(rows, ordered, strict=True):
        row[: len(tokens)] = tokens
    return rows, np.array([p for _, p in ordered])
