"""Grammars that tests of several parts share."""

import numpy as np
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.enumeration import enumerate_sentences


def skewed_grammar(seed: int = 0) -> Grammar:
    """A small grammar with nothing uniform: sizes, rule laws and the root law differ, and one rule is impossible."""
    rng = np.random.default_rng(seed)
    low = rng.permutation(3**2)[:8].reshape(4, 2)  # level 1: 4 symbols, 2 rules, pairs of 3 tokens
    high = rng.permutation(4**3)[:9].reshape(3, 3)  # level 2: 3 symbols, 3 rules, triples of 4 symbols
    low = np.stack(np.unravel_index(low, (3, 3)), axis=-1)
    high = np.stack(np.unravel_index(high, (4, 4, 4)), axis=-1)
    low_probs, high_probs = rng.dirichlet(np.ones(2), 4), rng.dirichlet(np.ones(3), 3)
    high_probs[1] = [0.25, 0.75, 0.0]
    return Grammar.from_rules([high, low], [high_probs, low_probs], rng.dirichlet(np.ones(3)), vocab_size=3)


def all_sentences(grammar) -> tuple[torch.Tensor, torch.Tensor]:
    """All sentences, int64, and their probabilities."""
    tokens, probs = enumerate_sentences(grammar)
    return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(probs)
