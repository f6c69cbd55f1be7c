"""Exact probabilities under a grammar, in torch.

Tensors come out on the input's device; arrays and lists are welcome, and then results are on the CPU. Laws are float64
by default, float32 on request. Tables are built once for every grammar, device and dtype.
"""

from . import chains, sparse  # noqa: F401  give the functions below their implementations for these families
from .beliefs import posteriors, sample_posterior
from .entropies import node_marginals, plateau, position_entropies
from .next_token import next_token_log_probs, next_token_probs, prefix_probs
from .parsing import log_prob, parse


__all__ = [
    "log_prob",
    "next_token_log_probs",
    "next_token_probs",
    "node_marginals",
    "parse",
    "plateau",
    "position_entropies",
    "posteriors",
    "prefix_probs",
    "sample_posterior",
]
