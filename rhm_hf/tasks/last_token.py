"""Last-token prediction: the last token of a row from the others, or from the nearest of them alone."""

from functools import cached_property

import torch
import torch.nn.functional as F

from ..checks import check_integer
from ..inference import next_token_probs
from .judging import Judged, compare, judged_sentences
from .task import Task


class LastToken(Task):
    """`x_d` from `x_(d-t) .. x_(d-1)`, one target a row (Cagnetta and Wyart, arXiv 2406.00048).

    A causal model reads `BOS x_(d-t) .. x_(d-1)` and predicts at the last position; one that reads both ways reads
    `x_(d-t) .. x_(d-1) MASK` and predicts at the mask; a classifier reads the same and has v outputs.

    Args:
        visible_tokens (`int`, *optional*, defaults to d - 1): t, how many tokens before the last the model sees; the
            rows are cut to those.
    """

    name = "last_token"
    # BERT is both: as a causal model it would have to be configured as a decoder.
    auto_classes = ("AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    options = ("kl_sentences", "visible_tokens")

    def __init__(
        self, num_symbols, length, grammar=None, auto_class=None, kl_sentences=2048, visible_tokens: int | None = None
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        visible = length - 1 if visible_tokens is None else visible_tokens
        self.visible_tokens = check_integer("visible_tokens", visible, 0, length)
        self.context_length = self.visible_tokens + 1
        self.tokens_per_row = 1
        self.num_labels = num_symbols
        self.columns = () if grammar is None else self.judged.columns

    def collate(self, rows, noise=None) -> dict[str, torch.Tensor]:
        """`(batch, d)` symbols to `input_ids` `(batch, t + 1)` and `labels` `(batch,)`."""
        rows = rows.long()
        seen = rows[:, rows.shape[1] - self.context_length : -1]
        if self.auto_class == "AutoModelForCausalLM":
            inputs = F.pad(seen, (1, 0), value=self.bos)
        else:
            inputs = F.pad(seen, (0, 1), value=self.mask)
        return {"input_ids": inputs, "labels": rows[:, -1]}

    def predictions(self, model, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits at the last position, or of the classifier."""
        logits = self.logits(model, batch["input_ids"])
        return logits[:, -1] if logits.ndim == 3 else logits, batch["labels"]

    @cached_property
    def judged(self) -> Judged:
        """The exact laws of the last token given its own block of every level that the model sees all of, and given
        all that it sees."""
        grammar, t = self.grammar, self.visible_tokens
        tokens, weights = judged_sentences(grammar, self.kl_sentences)
        levels = [level for level in range(grammar.depth + 1) if grammar.block_length(level) - 1 <= t]
        laws = [next_token_probs(grammar, tokens, context_level=level)[:, -1:] for level in levels]
        if grammar.block_length(levels[-1]) - 1 < t:
            laws.append(next_token_probs(grammar, tokens, context_length=t)[:, -1:])
        else:
            laws.append(laws[-1])
        counted = torch.ones(len(tokens), 1, dtype=torch.bool)
        names = tuple(f"kl_level_{level}" for level in levels)
        return Judged(tokens, weights, None, torch.stack(laws), counted, names)

    def judge(self, model, accelerator=None, batch_size: int | None = None) -> dict[str, float]:
        """`kl`, `kl_stderr`, `entropy` (nats), `accuracy` and `bayes_accuracy` of the last token given what the model
        sees, and `kl_level_0`, .., the KL to the best law that knows the token's own block of that level only."""
        if self.grammar is None:
            return {}

        def log_probs(rows, noise):
            logits, _ = self.predictions(model, self.collate(rows))
            return logits.double().log_softmax(-1)[:, None, : self.num_symbols]

        return compare(model, self.judged, log_probs, accelerator, batch_size)
