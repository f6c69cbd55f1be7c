"""Last-token prediction: the last token of a row from the others, or from the nearest of them alone."""

from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..checks import NonNegativeInt, PositiveInt, check_integer, checked
from ..grammar import NotSupported, Source
from ..inference import log_prob, next_token_probs
from ..judging import Targets, compare, judged_columns
from .task import IGNORED, Task


class LastToken(Task):
    """`x_d` from `x_(d-t) .. x_(d-1)`, one target a row (Cagnetta and Wyart, arXiv 2406.00048).

    A causal model reads `BOS x_(d-t) .. x_(d-1)` and predicts at the last position; one that reads both ways reads
    `x_(d-t) .. x_(d-1) MASK` and predicts at the mask; a classifier reads the same and has v outputs.

    Where sentences differ in length the target is the last token before END, given all tokens before it: as only last
    tokens are asked for, the exact law is that of x_n given x_<n and that the sentence has n tokens. A sentence
    without tokens has no target.

    Args:
        visible_tokens (`int`, *optional*, defaults to d - 1): t, how many tokens before the last the model sees; the
            rows are cut to those.

    Raises:
        [`~rhm_hf.grammar.NotSupported`]: for fewer visible tokens where lengths vary.
    """

    name = "last_token"
    # BERT is both: as a causal model it would have to be configured as a decoder.
    auto_classes: ClassVar[tuple[str, ...]] = (
        "AutoModelForMaskedLM",
        "AutoModelForCausalLM",
        "AutoModelForSequenceClassification",
    )
    options: ClassVar[tuple[str, ...]] = ("kl_sentences", "visible_tokens")

    @checked
    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
        visible_tokens: NonNegativeInt | None = None,
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        visible = length - 1 if visible_tokens is None else visible_tokens
        self.visible_tokens: int = check_integer("visible_tokens", visible, 0, length)
        if self.lengths_vary and self.visible_tokens < length - 1:
            raise NotSupported(
                f"visible_tokens={visible_tokens}",
                grammar,
                "the law of the last token given a few before it is there for sentences of one length",
                "leave visible_tokens out",
            )
        self.context_length: int = self.visible_tokens + 1
        self.tokens_per_row = 1
        self.num_labels: int = num_symbols
        self.levels: tuple[int, ...] = ()
        if grammar is not None and grammar.has_blocks:
            blocks = [grammar.block_length(level) for level in range(grammar.depth + 1)]
            self.levels = tuple(level for level, size in enumerate(blocks) if size - 1 <= self.visible_tokens)
        self._names = tuple(f"kl_level_{level}" for level in self.levels)
        self.columns: tuple[str, ...] = () if grammar is None else judged_columns(self._names)

    @cached_property
    def targets_per_row(self) -> float:
        """1; where lengths vary the share of sentences that have a token."""
        return float((self.drawn_lengths() > 0).double().mean()) if self.lengths_vary else 1.0

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to `input_ids` `(batch, t + 1)` and `labels` `(batch,)`."""
        rows = rows.long()
        if self.lengths_vary:
            return self._padded(rows)
        seen = rows[:, rows.shape[1] - self.context_length : -1]
        if self.auto_class == "AutoModelForCausalLM":
            inputs = F.pad(seen, (1, 0), value=self.bos)
        else:
            inputs = F.pad(seen, (0, 1), value=self.mask)
        return {"input_ids": inputs, "labels": rows[:, -1]}

    def _padded(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same of rows of several lengths, and `last`, where the prediction is made."""
        place, lengths = torch.arange(rows.shape[1], device=rows.device), self.lengths(rows)
        last = (lengths - 1).clamp(min=0)
        labels = torch.where(lengths > 0, rows.gather(1, last[:, None])[:, 0], IGNORED)
        if self.auto_class == "AutoModelForCausalLM":
            inputs = F.pad(rows[:, :-1], (1, 0), value=self.bos)
        else:
            inputs = torch.where(place == last[:, None], self.mask, rows)
        seen = place <= last[:, None]
        inputs = torch.where(seen, inputs, self.pad)
        return {"input_ids": inputs, "labels": labels, "attention_mask": seen.long(), "last": last}

    def predictions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at the last position, or of the classifier."""
        logits = self.logits(model, batch)
        if logits.ndim == 3 and "last" in batch:
            logits = logits[torch.arange(len(logits), device=logits.device), batch["last"]]
        elif logits.ndim == 3:
            logits = logits[:, -1]
        return logits, batch["labels"]

    @cached_property
    def judged(self) -> Targets:
        """The last token of sentences: its exact laws given its own block of every level that the model sees all of,
        and given all that it sees."""
        sentences = self.judged_sentences()
        exists = (sentences.lengths > 0)[:, None]
        return Targets(sentences, lambda rows: self._exact(sentences.tokens[rows]), self._names, exists)

    def _exact(self, tokens: torch.Tensor) -> torch.Tensor:
        if self.lengths_vary:
            return self._last_laws(tokens)[None, :, None]
        grammar, t = self.grammar, self.visible_tokens
        laws = [next_token_probs(grammar, tokens, context_level=level)[:, -1:] for level in self.levels]
        if not laws or grammar.block_length(self.levels[-1]) - 1 < t:
            laws.append(next_token_probs(grammar, tokens, context_length=t)[:, -1:])
        else:
            laws.append(laws[-1])
        return torch.stack(laws)

    def _last_laws(self, tokens: torch.Tensor) -> torch.Tensor:
        """P(x_n = . | x_<n, n tokens), `(rows, v)`: the probabilities of the sentences that each symbol makes."""
        last = (self.lengths(tokens) - 1).clamp(min=0)[:, None]
        logs = []
        for symbol in range(self.num_symbols):
            logs.append(log_prob(self.grammar, tokens.scatter(1, last, symbol)))
        return torch.stack(logs, 1).softmax(1)

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """`kl`, `kl_stderr`, `entropy` (nats), `accuracy` and `bayes_accuracy` of the last token given what the model
        sees, and `kl_level_0`, .., the KL to the best law that knows the token's own block of that level only."""
        if self.grammar is None:
            return {}

        def log_probs(rows, noise):
            logits, _ = self.predictions(model, self.collate(rows))
            return logits.double().log_softmax(-1)[:, None, : self.num_symbols]

        return compare(model, self.judged, log_probs, accelerator, batch_size)
