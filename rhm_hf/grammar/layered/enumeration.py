"""All sentences of a small grammar at once, in the order of their indices."""

import numpy as np

from ..laws.dispatch import by_family


ENUMERATION_LIMIT = 2**22  # tokens of all sentences together


@by_family
def enumerate_sentences(grammar) -> tuple[np.ndarray, np.ndarray]:
    """Every sentence of positive probability with its probability, row i being `grammar.sentence(i)` in a grammar.

    Returns:
        Tokens of shape `(num_sentences, sentence_length)` and `token_dtype`, and float64 probabilities
        `(num_sentences,)` that sum to 1.

    Raises:
        `ValueError`: if they would be more than 2^22 tokens.
    """
    check_enumerable(grammar)
    trees = subtrees_of(grammar)
    return _concatenate([(t, p * q) for (t, p), q in zip(trees, grammar.root_probs, strict=True) if q > 0])


def check_enumerable(grammar) -> None:
    """Raises a `ValueError` where there are too many sentences to list."""
    if grammar.num_sentences * grammar.sentence_length > ENUMERATION_LIMIT:
        raise ValueError(
            f"grammar {grammar.name} has too many sentences to list ({grammar.num_sentences} of "
            f"{grammar.sentence_length} tokens); draw some with grammar.sample(num, sampling='iid')"
        )


def subtrees_of(grammar) -> list[tuple[np.ndarray, np.ndarray]]:
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
