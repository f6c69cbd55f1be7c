"""Masked tokens: hidden tokens of a row from the visible ones, judged against their exact posterior."""

from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..checks import NonNegativeInt, PositiveInt, checked
from ..grammar import Source
from ..inference import block_posteriors, posteriors
from ..judging import Targets, compare, judged_columns
from .task import IGNORED, Task


EVALUATION_SEED = 0  # of the masks that a model is judged by: the same for every model


class Masked(Task):
    """BOS, then the row, each token replaced by MASK with a fixed probability, at least one a row.

    Every hidden token counts the same. Where sentences differ in length the model sees how long they are, and padding
    is never hidden.

    Args:
        mask_probability (`float`, *optional*, defaults to 0.15): of a token to be hidden.
    """

    name = "masked"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForMaskedLM",)
    options: ClassVar[tuple[str, ...]] = ("kl_sentences", "mask_probability")

    @checked
    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
        mask_probability: float = 0.15,
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        if not 0 < mask_probability <= 1:
            raise ValueError(f"mask_probability={mask_probability} must be above 0 and at most 1")
        if grammar is not None:
            grammar.laws.require("posteriors", "task='masked'")
        self.mask_probability = mask_probability
        self.context_length: int = length + 1
        self.noise_per_row = length
        self._levels = tuple(range(grammar.depth)) if grammar is not None and grammar.has_blocks else ()
        self._names = tuple(f"kl_level_{level}" for level in self._levels)
        self.columns: tuple[str, ...] = () if grammar is None else judged_columns(self._names)

    @cached_property
    def targets_per_row(self) -> float:
        """The expected number of hidden tokens; one is hidden where the numbers hide none."""
        p = self.mask_probability
        if not self.lengths_vary:
            return self.length * p + (1 - p) ** self.length
        n = self.drawn_lengths()
        return float(torch.where(n > 0, n * p + (1 - p) ** n, 0).mean())

    def hidden(self, noise: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Which tokens uniform numbers `(batch, d)` hide: bool of the same shape; of rows with `lengths` `(batch,)`
        none beyond."""
        if lengths is not None:
            inside = torch.arange(noise.shape[1], device=noise.device) < lengths[:, None]
            noise = torch.where(inside, noise, torch.inf)
            return inside & ((noise < self.mask_probability) | (noise == noise.amin(1, keepdim=True)))
        return (noise < self.mask_probability) | (noise == noise.amin(1, keepdim=True))

    def _hidden(self, rows: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return self.hidden(noise, self.lengths(rows) if self.lengths_vary else None)

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to `input_ids` and `labels`, `(batch, d + 1)` with BOS first; labels are -100 where
        nothing is hidden."""
        rows = rows.long()
        hidden = self._hidden(rows, noise)
        inputs = F.pad(torch.where(hidden, self.mask, rows), (1, 0), value=self.bos)
        batch = {"input_ids": inputs, "labels": F.pad(torch.where(hidden, rows, IGNORED), (1, 0), value=IGNORED)}
        return batch | {"attention_mask": (inputs != self.pad).long()} if self.lengths_vary else batch

    def predictions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at every position."""
        return self.logits(model, batch).flatten(0, 1), batch["labels"].flatten()

    @cached_property
    def judged(self) -> Targets:
        """Hidden tokens of sentences: their exact laws given the visible ones in their own block of each level."""
        sentences = self.judged_sentences()
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        noise = torch.rand(sentences.tokens.shape, generator=generator, dtype=torch.float64)
        hidden = self._hidden(sentences.tokens, noise)

        def exact(rows: slice) -> torch.Tensor:
            return self._exact(sentences.tokens[rows], hidden[rows])

        return Targets(sentences, exact, self._names, hidden, noise)

    def _exact(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        whole = posteriors(self.grammar, tokens=tokens, mask=hidden)[0][None]
        if not self._levels:
            return whole
        return torch.cat([block_posteriors(self.grammar, tokens, hidden, self._levels), whole])

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """`kl`, `kl_stderr`, `entropy` (nats per hidden token), `accuracy` and `bayes_accuracy`, and `kl_level_0`, ..,
        the KL to the best law that sees the token's own block of that level only."""
        if self.grammar is None:
            return {}

        def log_probs(rows, noise):
            logits = self.logits(model, self.collate(rows, noise))[:, 1:]
            return logits.double().log_softmax(-1)[..., : self.num_symbols]

        return compare(model, self.judged, log_probs, accelerator, batch_size)
