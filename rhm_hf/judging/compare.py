"""The one loop of exact comparison: rows of a process, batch by batch, sums merged over processes at the end."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..checks import NonNegativeInt, PositiveInt, checked
from ..statistics.accumulator import Accumulator
from .bare import evaluating, share_of_process
from .divergence import divergence, entropy
from .sentences import Sentences


BATCH_SIZE = 512  # rows a call of the model
ACCURACIES = ("entropy", "accuracy", "bayes_accuracy")

Sums = tuple[torch.Tensor, torch.Tensor | float, torch.Tensor | float]


@torch.no_grad()
@checked
def accumulate(
    num: NonNegativeInt,
    shapes: dict[str, tuple[int, ...]],
    measure: Callable[[slice], dict[str, Sums]],
    *,
    device: torch.device | str = "cpu",
    model: torch.nn.Module | None = None,
    accelerator: Any = None,
    batch_size: PositiveInt | None = None,
) -> dict[str, Accumulator]:
    """Measures rows 0 .. num - 1 in batches, each process of an accelerator its share, and merges what it found.

    Args:
        num (`int`): rows.
        shapes (`dict[str, tuple[int, ...]]`): the names of what is measured and the shape of one row's sums.
        measure (`Callable`): from a slice of rows to what [`~rhm_hf.statistics.Accumulator.add`] takes, by name: sums
            `(rows, *shape)`, counts, weights. It is called for the rows of this process alone.
        device (`torch.device`, *optional*, defaults to the CPU): of the sums.
        model (*optional*): put into evaluation mode meanwhile.
        accelerator (`accelerate.Accelerator`, *optional*): its processes share the rows; every one gets the result.
        batch_size (`int`, *optional*, defaults to 512).

    Returns:
        `dict[str, Accumulator]`.
    """
    found = {name: Accumulator(shape, device) for name, shape in shapes.items()}
    mine, step = share_of_process(num, accelerator), batch_size or BATCH_SIZE
    with contextlib.nullcontext() if model is None else evaluating(model):
        for start in range(mine.start, mine.stop, step):
            for name, sums in measure(slice(start, min(start + step, mine.stop))).items():
                found[name].add(*sums)
    for accumulator in found.values():
        accumulator.reduce(accelerator)
    return found


@dataclass
class Targets:
    """What a task asks at given sentences, with the exact laws of the answers, which are computed when first needed.

    Args:
        sentences ([`Sentences`]): where a model is judged.
        exact (`Callable`): from a slice of the sentences to their laws, float64 `(laws, rows, targets, outcomes)`, the
            last of the laws the whole truth.
        names (`tuple[str, ...]`): of all laws but the last.
        counted (`torch.Tensor`): bool `(n, targets)`, which targets are judged.
        noise (`torch.Tensor`, *optional*): `(n, noise_per_row)`.
    """

    sentences: Sentences
    exact: Callable[[slice], torch.Tensor]
    names: tuple[str, ...]
    counted: torch.Tensor
    noise: torch.Tensor | None = None
    _kept: dict[range, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> torch.Tensor:
        """The sentences, `(n, d)`: what `collate` takes."""
        return self.sentences.tokens

    @property
    def weights(self) -> torch.Tensor:
        """The weights of the sentences, float64 `(n,)`."""
        return self.sentences.weights

    @property
    def laws(self) -> torch.Tensor:
        """The laws of all sentences."""
        return self.laws_of(range(len(self.sentences)))

    def laws_of(self, rows: range) -> torch.Tensor:
        """The laws of the sentences of one process, kept for the next evaluation."""
        if rows not in self._kept:
            self._kept = {rows: self.exact(slice(rows.start, rows.stop))}
        return self._kept[rows]


@checked
def judged_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The keys of [`compare`]'s result for laws of these names."""
    return ("kl", "kl_stderr", *ACCURACIES, *names)


@checked
def compare(
    model: torch.nn.Module,
    targets: Targets,
    log_probs: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    accelerator: Any = None,
    batch_size: PositiveInt | None = None,
) -> dict[str, float]:
    """KL, in nats per judged target, from exact laws to a model's.

    Args:
        model: in any mode; given back in the same.
        targets ([`Targets`]): what is judged.
        log_probs (`Callable`): rows and noise on the model's device to the model's log probabilities `(rows, targets,
            outcomes)`.
        accelerator (`accelerate.Accelerator`, *optional*): splits the rows over its processes; each computes the
            exact laws of its own rows.
        batch_size (`int`, *optional*, defaults to 512): rows a call of the model.

    Returns:
        `dict`: `kl` to the last law and `kl_stderr` (rows independent, 0 where all sentences were judged and no noise
        was drawn), its `entropy` over the judged targets, `accuracy`, the probability under the law of the model's
        first guess, and `bayes_accuracy`, that of the law's; and the KL to each of the other laws, by name.

    Raises:
        `ValueError`: where the model's log probabilities are NaN or +inf at a judged target.
    """
    device, mine = model.device, share_of_process(len(targets.sentences), accelerator)
    exact = targets.laws_of(mine)

    def measure(part: slice) -> dict[str, Sums]:
        noise = None if targets.noise is None else targets.noise[part].to(device)
        log_q = log_probs(targets.rows[part].to(device), noise).double()
        laws = exact[:, part.start - mine.start : part.stop - mine.start].to(device)
        counted, weight = targets.counted[part].to(device), targets.weights[part].to(device)
        counts, truth = counted.sum(1, dtype=torch.float64)[:, None], laws[-1]
        guess = truth.gather(-1, log_q.argmax(-1, keepdim=True))[..., 0]
        values = torch.stack([entropy(truth), guess, truth.amax(-1)], -1)
        return {
            "kl": (torch.where(counted, divergence(laws, log_q), 0.0).sum(-1).T, counts, weight),
            "others": (torch.where(counted[..., None], values, 0.0).sum(1), counts, weight),
            "broken": ((counted & is_broken(log_q)).sum(1), 1.0, 1.0),
        }

    shapes = {"kl": (len(targets.names) + 1,), "others": (len(ACCURACIES),), "broken": ()}
    options = {"device": device, "model": model, "accelerator": accelerator, "batch_size": batch_size}
    found = accumulate(len(targets.sentences), shapes, measure, **options)
    refuse_broken(found["broken"], model)
    kl, others = found["kl"].mean.tolist(), found["others"].mean.tolist()
    certain = targets.sentences.exhaustive and targets.noise is None
    result = {"kl": kl[-1], "kl_stderr": 0.0 if certain else found["kl"].stderr[-1].item()}
    return result | dict(zip(ACCURACIES, others, strict=True)) | dict(zip(targets.names, kl, strict=False))


def is_broken(log_q: torch.Tensor) -> torch.Tensor:
    """Where log probabilities `(.., outcomes)` are none: NaN, or +inf."""
    return (log_q.isnan() | (log_q == torch.inf)).any(-1)


def refuse_broken(broken: Accumulator, model: Any) -> None:
    """Raises the `ValueError` of a model without a law; after the merge, so that all processes raise it."""
    if broken.mean > 0:
        raise ValueError(
            f"the model ({type(model).__name__}) has no law at judged tokens: its logits are NaN or infinite, or all "
            "-inf at one of them; its weights are broken (training diverged?), or too large for their dtype"
        )
