"""Next-token prediction: every token of a row from those before it, judged against its exact law if it has one."""

from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..checks import NonNegativeInt, PositiveInt, checked
from ..grammar import Source
from ..judging import ModelIds, ModelReader, Sentences, compare_tokens
from ..judging.bare import bare_model
from ..judging.limits import stated_limit
from ..judging.sentences import ALL_SENTENCES_LIMIT
from .task import IGNORED, Task, takes


class NextToken(Task):
    """BOS, then the row, a sentence or a window of text: a model sees `BOS x_1 .. x_(d-1)`, predicts `x_1 .. x_d`.

    Where sentences differ in length it sees `BOS x_1 .. x_n` and predicts `x_1 .. x_n END`.
    """

    name = "next_token"
    auto_classes: ClassVar[tuple[str, ...]] = ("AutoModelForCausalLM",)

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
        self.context_length: int = length + 1
        last = "kl_end" if self.lengths_vary else "kl_last"
        self.columns: tuple[str, ...] = (
            () if grammar is None else ("kl", "kl_stderr", "entropy", last, f"{last}_stderr")
        )

    @cached_property
    def targets_per_row(self) -> float:
        """d; where lengths vary the mean number of tokens and END."""
        return float(self.drawn_lengths().mean()) + 1 if self.lengths_vary else float(self.length)

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to int64 `input_ids` and `labels`, `(batch, d)`; where lengths vary `(batch, n + 1)`, n
        the tokens of the longest row, with the `attention_mask`."""
        labels = rows.long()
        if not self.lengths_vary:
            return {"input_ids": F.pad(labels[:, :-1], (1, 0), value=self.bos), "labels": labels}
        lengths = self.lengths(labels)[:, None]
        labels = labels[:, : int(lengths.max())]  # a batch is as long as its longest row, not as that of all rows
        place = torch.arange(labels.shape[1] + 1, device=rows.device)
        labels = F.pad(labels, (0, 1), value=self.pad)
        inputs = torch.where(place <= lengths, F.pad(labels[:, :-1], (1, 0), value=self.bos), self.pad)
        labels = torch.where(place < lengths, labels, torch.where(place == lengths, self.end, IGNORED))
        return {"input_ids": inputs, "labels": labels, "attention_mask": (place <= lengths).long()}

    def predictions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at every position."""
        return self.logits(model, batch).flatten(0, 1), batch["labels"].flatten()

    @cached_property
    def judged(self) -> Sentences:
        """The sentences that a model is judged at; their laws are taken as it is judged."""
        return self.judged_sentences(ALL_SENTENCES_LIMIT)

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """`kl` and `kl_stderr` (nats per token), `entropy` (of the law, exact, nats per token), `kl_last` and
        `kl_last_stderr`, the KL of the last token alone. Where lengths vary END counts as a token, `entropy` is that
        of the judged laws, and `kl_end` that at the end of the sentences."""
        if self.grammar is None:
            return {}
        model = bare_model(model)
        ids = ModelIds.of(model, self.grammar, masked=False)
        limit, cache = stated_limit(model), {"use_cache": False}
        reader = ModelReader(model, "causal", ids.num_ids, cache, takes(model, "attention_mask"), limit)
        result = compare_tokens(reader, self.grammar, self.judged, ids, None, batch_size, accelerator)
        found = {"kl": result["kl"], "kl_stderr": result["kl_stderr"]}
        if self.lengths_vary:
            return found | {name: result[name] for name in ("entropy", "kl_end", "kl_end_stderr")}
        return found | {
            "entropy": self.grammar.entropy / self.grammar.sentence_length,
            "kl_last": result["kl_per_position"][-1],
            "kl_last_stderr": result["kl_stderr_per_position"][-1],
        }
