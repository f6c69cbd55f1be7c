"""`LayeredLaws`: the exact laws of a [`~rhm_hf.grammar.Grammar`]; the algorithms are in modules beside this one."""

from typing import Any

import numpy as np
import torch

from ...laws.base import Laws
from . import beliefs, beliefs_given_prefix, block_beliefs, entropies, log_probs, pairs, token_laws


class LayeredLaws(Laws):
    """Rules are unambiguous: whatever is observed completely is parsed, and the rest are messages."""

    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int,
        context_level: int | None,
        context_length: int | None,
        dtype: torch.dtype | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass down the tree: see `token_laws`; windows by the spine algorithm: see `sliding`."""
        return token_laws.token_laws(self.source, tokens, positions, context_level, context_length, dtype)

    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The root's plus that of every rule of the parse."""
        return log_probs.log_prob(self.source, tokens, dtype)

    def parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """By table look-up."""
        return log_probs.parse(self.source, tokens)

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
        """Belief propagation: see `messages` and `beliefs`."""
        return beliefs.posteriors(self.source, tokens, mask, evidence, dtype, return_log_evidence)

    def block_posteriors(self, tokens: torch.Tensor, mask: Any, levels: list[int], dtype: torch.dtype) -> torch.Tensor:
        """One pass up for all levels: see `block_beliefs`."""
        return block_beliefs.block_posteriors(self.source, tokens, mask, levels, dtype)

    def sample_posterior(
        self, tokens: torch.Tensor = None, mask: Any = None, evidence: Any = None, generator: Any = None
    ) -> list[torch.Tensor]:
        """From the root down."""
        return beliefs.sample_posterior(self.source, tokens, mask, evidence, generator)

    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
        """In one pass: see `beliefs_given_prefix`."""
        return beliefs_given_prefix.causal_posteriors(self.source, tokens, dtype)

    def node_marginals(self, level: int) -> torch.Tensor:
        """Products of the child laws along the paths."""
        return entropies.node_marginals(self.source, level)

    def plateau(self, level: int) -> float:
        """Exact, from the marginals and the entropies of the rules below."""
        return entropies.plateau(self.source, level)

    def position_entropies(self, level: int) -> torch.Tensor:
        """Exact, by enumeration of the parsed left contexts."""
        return entropies.position_entropies(self.source, level)

    def pair_law(self, first: int, second: int) -> np.ndarray:
        """By way of the lowest common ancestor."""
        return pairs.joint(self.source, first, 0, second)

    def tuple_law(self, node: int, position: int, level: int) -> np.ndarray:
        """By way of the lowest common ancestor."""
        return pairs.tuple_law(self.source, node, position, level)
