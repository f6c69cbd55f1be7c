"""Masked tokens: hidden tokens of a row from the visible ones, judged against their exact posterior."""

from functools import cached_property

import torch
import torch.nn.functional as F

from ..inference import posteriors
from .judging import Judged, compare, judged_sentences
from .task import IGNORED, Task


EVALUATION_SEED = 0  # of the masks that a model is judged by: the same for every model


class Masked(Task):
    """BOS, then the row, each token replaced by MASK with a fixed probability, at least one a row.

    Every hidden token counts the same.

    Args:
        mask_probability (`float`, *optional*, defaults to 0.15): of a token to be hidden.
    """

    name = "masked"
    auto_classes = ("AutoModelForMaskedLM",)
    options = ("kl_sentences", "mask_probability")

    def __init__(
        self, num_symbols, length, grammar=None, auto_class=None, kl_sentences=2048, mask_probability: float = 0.15
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        if not 0 < mask_probability <= 1:
            raise ValueError(f"mask_probability={mask_probability} must be above 0 and at most 1")
        self.mask_probability = mask_probability
        self.context_length = length + 1
        self.noise_per_row = length
        # One is hidden where the numbers hide none.
        self.targets_per_row = length * mask_probability + (1 - mask_probability) ** length
        self.columns = () if grammar is None else self.judged.columns

    def hidden(self, noise: torch.Tensor) -> torch.Tensor:
        """Which tokens uniform numbers `(batch, d)` hide: bool of the same shape."""
        return (noise < self.mask_probability) | (noise == noise.amin(1, keepdim=True))

    def collate(self, rows, noise=None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to `input_ids` and `labels`, `(batch, d + 1)` with BOS first; labels are -100 where
        nothing is hidden."""
        rows, hidden = rows.long(), self.hidden(noise)
        inputs = F.pad(torch.where(hidden, self.mask, rows), (1, 0), value=self.bos)
        return {"input_ids": inputs, "labels": F.pad(torch.where(hidden, rows, IGNORED), (1, 0), value=IGNORED)}

    def predictions(self, model, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at every position."""
        return self.logits(model, batch["input_ids"]).flatten(0, 1), batch["labels"].flatten()

    @cached_property
    def judged(self) -> Judged:
        """The exact laws of hidden tokens given the visible ones in their own block of each level."""
        grammar = self.grammar
        tokens, weights = judged_sentences(grammar, self.kl_sentences)
        generator = torch.Generator().manual_seed(EVALUATION_SEED)
        noise = torch.rand(tokens.shape, generator=generator, dtype=torch.float64)
        hidden = self.hidden(noise)
        laws = [block_posteriors(grammar, tokens, hidden, level) for level in range(grammar.depth + 1)]
        names = tuple(f"kl_level_{level}" for level in range(grammar.depth))
        return Judged(tokens, weights, noise, torch.stack(laws), hidden, names)

    def judge(self, model, accelerator=None, batch_size: int | None = None) -> dict[str, float]:
        """`kl`, `kl_stderr`, `entropy` (nats per hidden token), `accuracy` and `bayes_accuracy`, and `kl_level_0`, ..,
        the KL to the best law that sees the token's own block of that level only."""
        if self.grammar is None:
            return {}

        def log_probs(rows, noise):
            logits = self.logits(model, self.collate(rows, noise)["input_ids"])[:, 1:]
            return logits.double().log_softmax(-1)[..., : self.num_symbols]

        return compare(model, self.judged, log_probs, accelerator, batch_size)


def block_posteriors(grammar, tokens: torch.Tensor, hidden: torch.Tensor, level: int) -> torch.Tensor:
    """P(x_i | the visible tokens of its own block of a level), float64 `(n, d, v)`.

    Args:
        grammar (`Grammar`): the grammar.
        tokens (`torch.Tensor`): `(n, d)`.
        hidden (`torch.Tensor`): bool `(n, d)`.
        level (`int`): 0 (nothing but the position is known) .. L (all visible tokens of the sentence).
    """
    size = grammar.block_length(level)
    laws = tokens.new_zeros((*tokens.shape, grammar.vocab_size), dtype=torch.float64)
    for start in range(0, grammar.sentence_length, size):
        block = slice(start, start + size)
        mask = torch.ones_like(hidden)
        if level > 0:
            mask[:, block] = hidden[:, block]
        laws[:, block] = posteriors(grammar, tokens=tokens, mask=mask)[0][:, block]
    return laws
