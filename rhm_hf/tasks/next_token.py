"""Next-token prediction: every token of a row from those before it, judged against its exact law if it has one."""

import torch
import torch.nn.functional as F

from ..grammar import Grammar


class NextToken:
    """BOS, then the row, a sentence or a window of text: the model sees `BOS x_1 .. x_(d-1)`, predicts `x_1 .. x_d`.

    A task is made for one kind of rows. The training loop asks it for nothing but what is here: which class and
    context a model needs, a batch from rows, the mean loss of a batch (each row weighs the same), and `judge`, whose
    keys are the `columns` it adds to the results.

    Args:
        num_symbols (`int`): v; BOS has id v.
        length (`int`): d, tokens of a row.
        grammar ([`Grammar`], *optional*): the law of the rows, where they have one: without it `judge` says nothing.
        kl_sentences (`int`, *optional*, defaults to 2048): fresh sentences of the exact KL; all of them, weighted,
            where the grammar has at most 2^16.
    """

    name = "next_token"
    auto_class = "AutoModelForCausalLM"

    def __init__(self, num_symbols: int, length: int, grammar: Grammar | None = None, kl_sentences: int = 2048):
        self.grammar, self.kl_sentences = grammar, kl_sentences
        self.bos = num_symbols
        self.context_length = length + 1
        self.tokens_per_row = length
        self.columns = () if grammar is None else ("kl", "kl_stderr", "entropy", "kl_last", "kl_last_stderr")

    def collate(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols of any integer type to int64 `input_ids` and `labels`, `(batch, d)`, where they are."""
        labels = rows.long()
        return {"input_ids": F.pad(labels[:, :-1], (1, 0), value=self.bos), "labels": labels}

    def loss(self, model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy in nats per token, in float32 or better: a scalar on the device."""
        logits = model(input_ids=batch["input_ids"], use_cache=False).logits
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    def judge(self, model, accelerator=None, batch_size: int | None = None) -> dict[str, float]:
        """The exact KL of the model, over fresh sentences that no run trains on.

        Args:
            model: in any mode; given back in the same.
            accelerator (`accelerate.Accelerator`, *optional*): splits the sentences over its processes.
            batch_size (`int`, *optional*): sentences a call of the model.

        Returns:
            `dict`: `kl` and `kl_stderr` (nats per token), `entropy` (of the law, exact, nats per token), `kl_last` and
            `kl_last_stderr`, the KL of the last token alone. Nothing without a grammar.
        """
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
