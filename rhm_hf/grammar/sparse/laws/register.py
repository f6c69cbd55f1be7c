"""Sparse grammars behind the functions that all families share; each has its algorithm in a `sparse_*` module."""

import torch

from ...layered.laws.beliefs import posteriors, sample_posterior
from ...layered.laws.entropies import node_marginals, plateau, position_entropies
from ...layered.laws.log_probs import log_prob, parse
from ...layered.laws.next_token import token_laws
from ..sparse_grammar import SparseGrammar
from .slot_beliefs import sparse_posteriors
from .slot_draws import sparse_sample_posterior
from .slot_entropies import sparse_node_marginals, sparse_plateau
from .slot_next_token import sparse_token_laws
from .slot_parsing import sparse_log_prob, sparse_parse


def _position_entropies(grammar: SparseGrammar, level: int) -> torch.Tensor:
    return position_entropies(grammar.to_grammar(), level)  # few contexts can be enumerated, in whatever form


for _function, _implementation in (
    (token_laws, sparse_token_laws),
    (parse, sparse_parse),
    (log_prob, sparse_log_prob),
    (posteriors, sparse_posteriors),
    (sample_posterior, sparse_sample_posterior),
    (node_marginals, sparse_node_marginals),
    (plateau, sparse_plateau),
    (position_entropies, _position_entropies),
):
    _function.register(SparseGrammar, _implementation)
