"""Exact laws beside a model's: KL to each of several laws of the same targets, and the accuracy they allow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..grammar import Grammar
from ..grammar.enumeration import enumerate_sentences
from ..metrics.loading import evaluating, share_of_process
from ..statistics import Accumulator


ALL_SENTENCES_LIMIT = 2**13  # at most so many sentences are all judged, weighted, instead of a sample


@dataclass(frozen=True)
class Judged:
    """Targets and their exact laws, on the CPU.

    Attributes:
        rows (`torch.Tensor`): `(rows, length)`, what `collate` takes.
        weights (`torch.Tensor`): float64 `(rows,)`.
        noise (`torch.Tensor`, *optional*): `(rows, noise_per_row)`.
        laws (`torch.Tensor`): float64 `(laws, rows, targets, symbols)`, the last of the laws the whole truth.
        counted (`torch.Tensor`): bool `(rows, targets)`, which targets are judged.
        names (`tuple[str, ...]`): of all laws but the last.
    """

    rows: torch.Tensor
    weights: torch.Tensor
    noise: torch.Tensor | None
    laws: torch.Tensor
    counted: torch.Tensor
    names: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of [`compare`]'s result."""
        return ("kl", "kl_stderr", "entropy", "accuracy", "bayes_accuracy", *self.names)


def judged_sentences(grammar: Grammar, num_sentences: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences `(n, d)`, int64, that no run trains on, and their weights; all of them where there are few."""
    if grammar.num_sentences <= ALL_SENTENCES_LIMIT:
        tokens, probs = enumerate_sentences(grammar)
        return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(probs)
    tokens = grammar.sample(num_sentences, split="evaluation", sampling="iid").astype(np.int64)
    return torch.from_numpy(tokens), torch.ones(num_sentences, dtype=torch.float64)


@torch.no_grad()
def compare(
    model,
    judged: Judged,
    log_probs: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    accelerator=None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """KL, in nats per judged target, from exact laws to a model's.

    Args:
        model: in any mode; given back in the same.
        judged ([`Judged`]): what is judged.
        log_probs (`Callable`): rows and noise on the model's device to the model's log probabilities `(rows, targets,
            symbols)` of the symbols.
        accelerator (`accelerate.Accelerator`, *optional*): splits the rows over its processes.
        batch_size (`int`, *optional*, defaults to 512): rows a call of the model.

    Returns:
        `dict`: `kl` to the last law and `kl_stderr` (rows independent, 0 where all sentences were judged), its
        `entropy` over the judged targets, `accuracy`, the probability under the law of the model's first guess, and
        `bayes_accuracy`, that of the law's; and the KL to each of the other laws, by name.
    """
    device, mine = model.device, share_of_process(len(judged.rows), accelerator)
    batch_size = batch_size or 512
    sums = Accumulator((len(judged.laws),), device)
    others = Accumulator((3,), device)
    with evaluating(model):
        for start in range(mine.start, mine.stop, batch_size):
            part = slice(start, min(start + batch_size, mine.stop))
            noise = None if judged.noise is None else judged.noise[part].to(device)
            log_q = log_probs(judged.rows[part].to(device), noise).double()
            laws, counted = judged.laws[:, part].to(device), judged.counted[part].to(device)
            weight, counts = judged.weights[part].to(device), counted.sum(1, dtype=torch.float64)[:, None]
            # Terms with p = 0 are 0, whatever the model says there.
            kl = torch.where(laws > 0, torch.xlogy(laws, laws) - laws * log_q, 0.0).sum(-1)
            sums.add(torch.where(counted, kl, 0.0).sum(-1).T, counts, weight)
            truth = laws[-1]
            guess = truth.gather(-1, log_q.argmax(-1, keepdim=True))[..., 0]
            values = torch.stack([-torch.xlogy(truth, truth).sum(-1), guess, truth.amax(-1)], -1)
            others.add(torch.where(counted[..., None], values, 0.0).sum(1), counts, weight)
    for accumulator in (sums, others):
        accumulator.reduce(accelerator)
    exhaustive = bool((judged.weights != 1).any()) and judged.noise is None
    kl, (entropy, accuracy, best) = sums.mean.tolist(), others.mean.tolist()
    found = {"kl": kl[-1], "kl_stderr": 0.0 if exhaustive else sums.stderr[-1].item(), "entropy": entropy}
    found |= {"accuracy": accuracy, "bayes_accuracy": best}
    return found | dict(zip(judged.names, kl, strict=False))
