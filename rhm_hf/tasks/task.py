"""What every task shares: how it is made, its loss and its accuracy."""

import inspect
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from ..checks import NonNegativeInt, PositiveInt
from ..grammar import Source
from ..judging.sentences import KEPT_SENTENCES_LIMIT, Sentences, fresh_sentences, judged_sentences, row_lengths


IGNORED = -100  # the label of what is not predicted
LENGTH_SENTENCES = 4096  # from which the mean length is taken, where lengths vary


class Task:
    """What a model is asked: a task is made for one kind of rows and one kind of model.

    The training loop asks it for what is here and nothing else: which kind of model and context it needs, a batch from
    rows, the loss and the scores of a batch, and [`Task.judge`], whose keys are the `columns` it adds to the results.
    A subclass gives `collate`, `predictions` (or `loss` and `scores`) and `judge`. Making a task computes nothing:
    exact laws are taken when a model is first judged.

    Where sentences of the grammar differ in length, rows are padded with PAD = v + 1 up to d, the longest, and END = v
    is an outcome. Padding is neither seen (attention masks) nor predicted (labels -100).

    Args:
        num_symbols (`int`): v; BOS and END have id v, PAD v + 1, MASK v + 2.
        length (`int`): d, tokens of a row.
        grammar ([`~rhm_hf.grammar.Source`], *optional*): the law of the rows, where they have one: without it `judge`
            says nothing.
        auto_class (`str`, *optional*): the kind of model, one of `auto_classes`; the first of them by default.
        kl_sentences (`int`, *optional*, defaults to 2048): fresh sentences of the exact comparison; all there are,
            weighted, where they are few.
    """

    name: str
    auto_classes: tuple[str, ...]  # kinds of model that can be trained so, the preferred one first
    options: tuple[str, ...] = ("kl_sentences",)  # arguments of a run that the task takes beside those above
    reads_classes = False  # whether rows end with the class of the sentence
    noise_per_row = 0  # uniform random numbers that `collate` needs for a row
    targets_per_row: ClassVar[float] = 1.0  # predicted tokens of a row, in expectation
    num_labels: int | None = None  # outputs of a classifier
    columns: tuple[str, ...] = ()

    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
    ):
        self.grammar: Source | None = grammar
        self.kl_sentences: int = kl_sentences
        self.num_symbols: int = num_symbols
        self.length: int = length
        self.auto_class: str = auto_class or self.auto_classes[0]
        self.bos: int = num_symbols
        self.pad: int = num_symbols + 1
        self.mask: int = num_symbols + 2
        self.end: int = self.bos
        self.context_length = length
        self.tokens_per_row = length
        self.lengths_vary: bool = grammar is not None and grammar.lengths_vary

    @property
    def num_outcomes(self) -> int:
        """v, or v + 1 with END, the last, where lengths vary."""
        return self.num_symbols + self.lengths_vary

    def lengths(self, rows: torch.Tensor) -> torch.Tensor:
        """The tokens of each row before its padding, int64 `(batch,)`."""
        if self.lengths_vary:
            return row_lengths(rows, self.pad)
        return torch.full((len(rows),), rows.shape[1], device=rows.device)

    def drawn_lengths(self) -> torch.Tensor:
        """Lengths of fresh sentences, float64 `(n,)`, for expectations over them where lengths vary."""
        return fresh_sentences(self.grammar, LENGTH_SENTENCES).lengths.double()

    def judged_sentences(self, limit: int = KEPT_SENTENCES_LIMIT) -> Sentences:
        """The sentences that a model is judged at, padded to rows of d; all there are, if at most `limit`."""
        sentences = judged_sentences(self.grammar, self.kl_sentences, limit=limit, length=self.length)
        if sentences.tokens.shape[1] > self.length:
            raise ValueError(
                f"length={self.length}: sentences of {self.grammar.name} that a model is judged at have up to "
                f"{sentences.tokens.shape[1]} tokens; make the rows longer, and the model's context"
            )
        return sentences

    def prepare_noise(self, noise: torch.Tensor) -> torch.Tensor:
        """What [`Task.collate`] is given: the uniform numbers of a whole batch, before it is shared out."""
        return noise

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """A batch from rows of any integer type, where they are.

        Args:
            rows (`torch.Tensor`): `(batch, d)` symbols, and the class in one more column where `reads_classes`.
            noise (`torch.Tensor`, *optional*): `(batch, noise_per_row)` uniform numbers in [0, 1): all that is random
                in a batch, so that a batch is a pure function of the seed and the step for any number of processes.

        Returns:
            `dict`: int64 `input_ids` and `labels`; where lengths vary also `attention_mask`.
        """
        raise NotImplementedError

    def training_batch(
        self, rows: torch.Tensor, noise: torch.Tensor | None = None, progress: float = 0.0
    ) -> dict[str, torch.Tensor]:
        """The batch of a training step: [`Task.collate`]'s. A curriculum overrides it.

        Args:
            rows, noise: see [`Task.collate`].
            progress (`float`, *optional*, defaults to 0.0): the share of the run's steps that is done, in [0, 1).
        """
        return self.collate(rows, noise)

    def predictions(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `(targets, outputs)` and the ids they should predict `(targets,)`, -100 where none is judged."""
        raise NotImplementedError

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy in nats per target, in float32 or better: a scalar on the device.

        Divided by the expected number of targets, which does not depend on how a batch is shared out: the mean over
        processes and micro-batches is the loss of the whole.
        """
        logits, targets = self.predictions(model, batch)
        total = F.cross_entropy(_precise(logits), targets, ignore_index=IGNORED, reduction="sum")
        return total / (len(batch["input_ids"]) * self.targets_per_row)

    def scores(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sums over the targets of a batch, float64 `(3,)`: cross-entropy, right first guesses, and their number."""
        logits, targets = self.predictions(model, batch)
        total = F.cross_entropy(_precise(logits), targets, ignore_index=IGNORED, reduction="sum")
        right = (logits.argmax(-1) == targets).sum()
        return torch.stack([total.double(), right.double(), (targets != IGNORED).sum().double()])

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """The exact comparison of a model with the law of the rows, over fresh sentences that no run trains on.

        Args:
            model: in any mode; given back in the same.
            accelerator (`accelerate.Accelerator`, *optional*): splits the sentences over its processes; each takes
                the exact laws of its own share.
            batch_size (`int`, *optional*): sentences a call of the model.

        Returns:
            `dict`: a number for each of `columns`; nothing without a grammar.

        Raises:
            `ValueError`: where the model's logits are NaN or infinite.
        """
        raise NotImplementedError

    def logits(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The model's logits; a causal model would make a cache if it were not told not to."""
        options = {"use_cache": False} if self.auto_class == "AutoModelForCausalLM" else {}
        if "attention_mask" in batch and takes(model, "attention_mask"):
            options["attention_mask"] = batch["attention_mask"]
        return model(input_ids=batch["input_ids"], **options).logits


def takes(model: torch.nn.Module, argument: str) -> bool:
    """Whether a model's `forward` has an argument; around it may be what shares a model out to processes."""
    return argument in inspect.signature(getattr(model, "module", model).forward).parameters


def _precise(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
