"""Exact probabilities under a grammar, in torch.

Tensors come out on the input's device; arrays and lists are welcome, and then results are on the CPU. Laws are float64
by default, float32 on request. Tables are built once for every grammar, device and dtype.
"""

from .grammar.chain import chain_laws as chains  # noqa: F401  give the functions below their implementations for these families
from .grammar.layered.laws.beliefs import posteriors, sample_posterior
from .grammar.layered.laws.entropies import node_marginals, plateau, position_entropies
from .grammar.layered.laws.log_probs import log_prob, parse
from .grammar.layered.laws.next_token import next_token_log_probs, next_token_probs, prefix_probs
from .grammar.sparse.laws import register as sparse  # noqa: F401  give the functions below their implementations for these families


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
