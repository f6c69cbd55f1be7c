"""All subtrees of a layered grammar: tokens and probabilities, in the order of their ranks."""

import numpy as np

from ..fixed_tree import FixedTree


def layered_sentences(grammar: FixedTree) -> tuple[np.ndarray, np.ndarray]:
    """See [`~rhm_hf.grammar.enumeration.enumerate_sentences`]."""
    trees = subtrees_of(grammar)
    return _concatenate([(t, p * q) for (t, p), q in zip(trees, grammar.root_probs, strict=True) if q > 0])


def subtrees_of(grammar: FixedTree) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every root symbol, the tokens of all trees below it and their probabilities, in the order of their ranks."""
    # Bottom up: all subtrees of every symbol of a level, as (tokens, probabilities) in the order of their ranks.
    leaves = np.arange(grammar.vocab_size, dtype=grammar.token_dtype)
    subtrees = [(leaves[a : a + 1, None], np.ones(1)) for a in range(grammar.vocab_size)]
    for level in range(1, grammar.depth + 1):
        rules, probs = grammar.rules_at(level), grammar.rule_probs_at(level)
        subtrees = [_expand(subtrees, rules[a], probs[a]) for a in range(len(rules))]
    return subtrees


def _expand(below: list, rules: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The subtrees of one symbol: for every rule, the product of its children's subtrees, last child fastest."""
    parts = []
    for rule, prob in zip(rules.tolist(), probs.tolist(), strict=True):
        if prob == 0:
            continue
        tokens, weights = below[rule[0]]
        weights = weights * prob
        for child in rule[1:]:
            right, right_weights = below[child]
            tokens = np.concatenate([np.repeat(tokens, len(right), 0), np.tile(right, (len(tokens), 1))], axis=1)
            weights = np.outer(weights, right_weights).ravel()
        parts.append((tokens, weights))
    return _concatenate(parts)


def _concatenate(parts: list) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([tokens for tokens, _ in parts]), np.concatenate([weights for _, weights in parts])
