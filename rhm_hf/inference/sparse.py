"""Sparse grammars behind the functions that all families share; each has its algorithm in a `sparse_*` module."""

import torch

from ..grammar.sparse import SparseGrammar
from .beliefs import posteriors, sample_posterior
from .entropies import node_marginals, plateau, position_entropies
from .next_token import token_laws
from .parsing import log_prob, parse
from .sparse_beliefs import sparse_posteriors
from .sparse_draws import sparse_sample_posterior
from .sparse_entropies import sparse_node_marginals, sparse_plateau
from .sparse_next_token import sparse_token_laws
from .sparse_parsing import sparse_log_prob, sparse_parse


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
