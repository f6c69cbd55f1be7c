"""`Laws`: the exact laws of a source, in torch; what every family offers behind `rhm_hf.inference`.

A family overrides what it can compute. What it leaves out follows from the rest, or is refused by
[`~rhm_hf.grammar.NotSupported`].
"""

import math
from typing import Any

import numpy as np
import torch

from ..refusal import NotSupported
from ..source import Source
from .block_laws import block_posteriors_by_hiding
from .inputs import checked_tokens


ENTROPY_SENTENCES = 4096  # of the estimate where sentences are too many to list


class Laws:
    """The exact laws of one source; arguments are checked by whoever calls, see [`~rhm_hf.inference`].

    Args:
        source ([`~rhm_hf.grammar.Source`]): whose laws these are.
    """

    def __init__(self, source: Source):
        self.source = source

    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int,
        context_level: int | None,
        context_length: int | None,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Next-token laws of checked tokens.

        Args:
            tokens (`torch.Tensor`): int64 `(n, t)`, padded with PAD where lengths vary.
            positions (`int`): laws of the tokens 0 .. positions - 1 are wanted; all but the last are given.
            context_level, context_length (`int`, *optional*): shorter contexts, see `next_token_probs`.
            dtype (`torch.dtype`): of the computation.

        Returns:
            `(n, positions, num_outcomes)`, uniform after an impossible context, and bool `(n, positions)`: whether the
            context is possible. Where lengths vary, a context that holds PAD is not.
        """
        raise self._lacks("next-token laws")

    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Log probability of whole sentences, END included; by the chain rule unless the family knows better."""
        vary, v = self.source.lengths_vary, self.source.vocab_size
        lengths = (tokens != v + 1).long().cumprod(1).sum(1) if vary else None
        probs, valid = self.token_laws(tokens, tokens.shape[1] + vary, None, None, torch.float64)
        targets = tokens
        if vary:
            place = torch.arange(tokens.shape[1] + 1, device=tokens.device)
            targets = torch.nn.functional.pad(tokens, (0, 1), value=v)
            targets = torch.where(place < lengths[:, None], targets, v)
        logs = torch.where(valid, probs.gather(2, targets[..., None])[..., 0], 0.0).log()
        if vary:
            logs = torch.where(place <= lengths[:, None], logs, 0.0)
        return logs.sum(1).to(dtype)

    def sampled_entropy(self) -> tuple[float, float]:
        """The mean of exact -log P, in nats, over 4096 sentences of the evaluation split, seed 0, and its error."""
        tokens = self.source.sample(ENTROPY_SENTENCES, split="evaluation")
        nats = -self.log_prob(self.checked(tokens), torch.float64).numpy()
        return float(nats.mean()), float(nats.std(ddof=1) / math.sqrt(len(nats)))

    def parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The levels that tokens determine, -1 where no rule derives a node's children."""
        raise self._lacks("a parse by levels")

    def most_probable_parse(self, tokens: torch.Tensor) -> Any:
        """The likeliest derivation of every sentence."""
        raise self._lacks("the most probable parse")

    def num_derivations(self, tokens: Any) -> Any:
        """How many derivations every sentence has: one or none where tokens determine all hidden symbols."""
        source = self.source
        if not source.has_blocks or source.parsed_depth < source.depth:
            raise self._lacks("the number of derivations of a sentence")
        return (self.log_prob(tokens, torch.float64) > -math.inf).long()

    def posteriors(
        self,
        tokens: Any = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
    ) -> Any:
        """The laws of all nodes given evidence on the tokens."""
        raise self._lacks("posteriors")

    def block_posteriors(self, tokens: Any, mask: Any, levels: list[int], dtype: torch.dtype) -> torch.Tensor:
        """The laws of tokens given the visible ones of their own block of several levels; by hiding the others."""
        if not self.source.has_blocks:
            raise NotSupported("posteriors given one's own block", self.source, "it has no blocks")
        return block_posteriors_by_hiding(self, tokens, mask, levels, dtype)

    def sample_posterior(
        self, tokens: Any = None, mask: Any = None, evidence: Any = None, generator: torch.Generator | None = None
    ) -> Any:
        """A derivation for every row of evidence."""
        raise self._lacks("draws from the posterior")

    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype) -> Any:
        """The laws of all ancestors of every token given the tokens up to it: on fixed trees by one posterior a token,
        unless the family knows better."""
        if not self.source.has_blocks:
            raise self._lacks("posteriors given every prefix")
        from .masked_beliefs import causal_posteriors_by_masks

        return causal_posteriors_by_masks(self.source, tokens, dtype)

    def opened_symbols(self, tokens: Any, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What begins with the next token, given the tokens before it: general grammars know it."""
        raise self._lacks("the symbols that tokens begin")

    def node_marginals(self, level: int) -> torch.Tensor:
        """The law of every node of a level given nothing."""
        raise self._lacks("the marginal laws of nodes")

    def plateau(self, level: int) -> float:
        """Entropy per token given the tokens before in one's own block of a level."""
        raise self._lacks("a plateau")

    def position_entropies(self, level: int) -> torch.Tensor:
        """The same for every position."""
        raise self._lacks("entropies by position")

    def pair_law(self, first: int, second: int) -> np.ndarray:
        """P(x_first = a, x_second = b) of two positions, float64 `(v, v)`."""
        raise self._lacks("the law of two tokens")

    def tuple_law(self, node: int, position: int, level: int) -> np.ndarray:
        """P(a node of a level uses rule r, x_position = b), float64 `(rules, v)`."""
        raise self._lacks("the law of a tuple and a token")

    def checked(self, tokens: Any, whole: bool = True) -> torch.Tensor:
        """Tokens of any type as int64, see [`checked_tokens`]."""
        return checked_tokens(self.source, tokens, whole)

    def require(self, law: str, what: str) -> None:
        """Raises the [`NotSupported`] of `what`, which needs a law that the family does not compute."""
        if getattr(type(self), law) is getattr(Laws, law):
            raise NotSupported(what, self.source, f"this family does not compute {law}")

    def _lacks(self, what: str) -> NotSupported:
        return NotSupported(what, self.source, "this family does not compute it")
