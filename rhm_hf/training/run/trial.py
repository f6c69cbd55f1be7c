"""A model is tried on two rows before it is trained: what would fail or lie later is said now, in one line."""

from typing import Any

import torch

from ...judging.bare import evaluating
from ...judging.models import check_reads_as
from ...tasks import Task


@torch.no_grad()
def check_model(model: Any, task: Task, rows: torch.Tensor, noise: torch.Tensor) -> None:
    """Raises a `ValueError` where a model does not do what the task asks of it.

    It must read the task's batches and give a finite loss, and be causal where it is taken for that: a model that
    looks at later tokens would learn to copy what it should predict. All states are left as they were.

    Args:
        model (`PreTrainedModel`): untrained.
        task ([`Task`]): what it will be trained for.
        rows (`torch.Tensor`): two rows on the model's device.
        noise (`torch.Tensor`): their uniform numbers.
    """
    name = type(model).__name__
    try:
        with evaluating(model):
            loss = task.loss(model, task.collate(rows, noise))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(
            f"{name} cannot be trained on task={task.name!r} with these config_overrides: {reason}"
        ) from error
    if not torch.isfinite(loss):
        raise ValueError(f"{name} has the loss {loss.item()} before it is trained: mend its config_overrides")
    if task.auto_class == "AutoModelForCausalLM":
        check_reads_as(model, "causal", task.context_length)
