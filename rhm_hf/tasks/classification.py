"""Classification: the root of a sentence, judged against its exact posterior."""

from functools import cached_property
from typing import Any, ClassVar

import torch

from ..checks import NonNegativeInt, PositiveInt, checked
from ..grammar import NotSupported, Source
from ..inference import posteriors
from ..judging import Targets, compare, judged_columns
from .task import Task


class Classification(Task):
    """The class of a sentence from all of its tokens (Cagnetta et al., arXiv 2307.02129); no special ids.

    Where sentences differ in length rows are padded with PAD, which attention masks hide from models that take one;
    the networks of the papers read it as empty positions.
    """

    name = "classification"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForSequenceClassification",)
    reads_classes = True

    @checked
    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        if grammar is None:
            raise ValueError("task='classification' needs a grammar: windows of a text have no class; leave text out")
        if grammar.num_classes < 2:
            raise NotSupported("task='classification'", grammar, "its sentences have no classes", "take next_token")
        self.num_labels: int = grammar.num_classes
        self.columns: tuple[str, ...] = (*judged_columns(()), "error_gap")

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`(batch, d + 1)`, the class last, to `input_ids` `(batch, d)` and `labels` `(batch,)`."""
        rows = rows.long()
        return self._inputs(rows[:, : self.length]) | {"labels": rows[:, -1]}

    def _inputs(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        batch = {"input_ids": tokens}
        return batch | {"attention_mask": (tokens != self.pad).long()} if self.lengths_vary else batch

    def predictions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The classifier's logits."""
        return self.logits(model, batch), batch["labels"]

    @cached_property
    def judged(self) -> Targets:
        """The exact posterior of the root; a whole sentence of unambiguous rules leaves no doubt."""
        sentences = self.judged_sentences()
        counted = torch.ones(len(sentences), 1, dtype=torch.bool)
        return Targets(sentences, lambda rows: self._exact(sentences.tokens[rows]), (), counted)

    def _exact(self, tokens: torch.Tensor) -> torch.Tensor:
        return posteriors(self.grammar, tokens=tokens, mask=torch.zeros_like(tokens, dtype=torch.bool))[-1][None]

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """`kl`, `kl_stderr`, `entropy` (nats per sentence), `accuracy` and `bayes_accuracy`, and `error_gap`, how much
        more often than the exact posterior the model's first guess is wrong."""

        def log_probs(rows, noise):
            return self.logits(model, self._inputs(rows[:, : self.length])).double().log_softmax(-1)[:, None]

        found = compare(model, self.judged, log_probs, accelerator, batch_size)
        return found | {"error_gap": found["bayes_accuracy"] - found["accuracy"]}
