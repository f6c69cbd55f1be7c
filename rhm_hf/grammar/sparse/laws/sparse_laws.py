"""`SparseLaws`: the exact laws of a [`~rhm_hf.grammar.SparseGrammar`]; each has its algorithm in a `slot_*` module."""

from typing import Any

import numpy as np
import torch

from ...laws.base import Laws
from ...layered.laws import entropies, pairs
from ...layered.laws.beliefs_given_prefix import causal_posteriors
from .slot_beliefs import sparse_posteriors
from .slot_draws import sparse_sample_posterior
from .slot_entropies import sparse_node_marginals, sparse_plateau
from .slot_next_token import sparse_token_laws
from .slot_parsing import sparse_log_prob, sparse_parse


class SparseLaws(Laws):
    """Placements are summed over; a complete sentence determines its own."""

    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int,
        context_level: int | None,
        context_length: int | None,
        dtype: torch.dtype | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass down the tree; windows cost a posterior a position."""
        return sparse_token_laws(self.source, tokens, positions, context_level, context_length, dtype)

    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The base sentence's minus the logarithm of all placements' number."""
        return sparse_log_prob(self.source, tokens, dtype)

    def parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Symbols, empty nodes included."""
        return sparse_parse(self.source, tokens)

    def most_probable_parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The only one."""
        return self.parse(tokens)

    def posteriors(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
    ) -> Any:
        """Messages up, and derivatives of log Z down."""
        return sparse_posteriors(self.source, tokens, mask, evidence, dtype, return_log_evidence)

    def sample_posterior(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        generator: torch.Generator | None = None,
    ) -> list[torch.Tensor]:
        """From the root down: rules, then placements."""
        return sparse_sample_posterior(self.source, tokens, mask, evidence, generator)

    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
        """One pass with the rules of `to_grammar`; one posterior a token where these are too many."""
        try:
            ordinary = self.source.to_grammar()
        except ValueError:  # a level would hold more than 2^26 symbols
            return super().causal_posteriors(tokens, dtype)
        return causal_posteriors(ordinary, tokens, dtype)

    def node_marginals(self, level: int) -> torch.Tensor:
        """The law of every node of a level given nothing."""
        return sparse_node_marginals(self.source, level)

    def plateau(self, level: int) -> float:
        """Exact, with the placements' entropy."""
        return sparse_plateau(self.source, level)

    def position_entropies(self, level: int) -> torch.Tensor:
        """Exact; few contexts can be enumerated, in whatever form."""
        return entropies.position_entropies(self.source.to_grammar(), level)

    def pair_law(self, first: int, second: int) -> np.ndarray:
        """By way of the lowest common ancestor, with the rules of `to_grammar`."""
        return pairs.joint(self.source, first, 0, second)

    def tuple_law(self, node: int, position: int, level: int) -> np.ndarray:
        """Likewise."""
        return pairs.tuple_law(self.source, node, position, level)
