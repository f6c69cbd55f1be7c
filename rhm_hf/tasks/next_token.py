"""Next-token prediction: every token of a row from those before it, judged against its exact law if it has one."""

import torch
import torch.nn.functional as F

from .task import Task


class NextToken(Task):
    """BOS, then the row, a sentence or a window of text: a model sees `BOS x_1 .. x_(d-1)`, predicts `x_1 .. x_d`."""

    name = "next_token"
    auto_classes = ("AutoModelForCausalLM",)

    def __init__(self, num_symbols, length, grammar=None, auto_class=None, kl_sentences=2048):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        self.context_length = length + 1
        self.targets_per_row = float(length)
        self.columns = () if grammar is None else ("kl", "kl_stderr", "entropy", "kl_last", "kl_last_stderr")

    def collate(self, rows, noise=None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to int64 `input_ids` and `labels`, `(batch, d)`."""
        labels = rows.long()
        return {"input_ids": F.pad(labels[:, :-1], (1, 0), value=self.bos), "labels": labels}

    def predictions(self, model, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at every position."""
        return self.logits(model, batch["input_ids"]).flatten(0, 1), batch["labels"].flatten()

    def judge(self, model, accelerator=None, batch_size: int | None = None) -> dict[str, float]:
        """`kl` and `kl_stderr` (nats per token), `entropy` (of the law, exact, nats per token), `kl_last` and
        `kl_last_stderr`, the KL of the last token alone."""
        if self.grammar is None:
            return {}
        from ..metrics.rhm_kl import kl_divergence

        result = kl_divergence(
            model, self.grammar, num_sentences=self.kl_sentences, batch_size=batch_size, accelerator=accelerator
        )
        return {
            "kl": result["kl"],
            "kl_stderr": result["kl_stderr"],
            "entropy": self.grammar.entropy / self.grammar.sentence_length,
            "kl_last": result["kl_per_position"][-1],
            "kl_last_stderr": result["kl_stderr_per_position"][-1],
        }
