"""A model is tried on two rows before it is trained: what would fail or lie later is said now, in one line."""

from typing import Any

import torch

from ..tasks import Task


TOLERANCE = 1e-3  # of logits that should not move; rounding moves them by 1e-6


@torch.no_grad()
def check_model(model: Any, task: Task, rows: torch.Tensor, noise: torch.Tensor) -> None:
    """Raises a `ValueError` where a model does not do what the task asks of it.

    It must read the task's batches and give a finite loss; a causal model's logits must not depend on later tokens, or
    it would be trained to copy what it should predict. Buffers, random numbers and the mode are left as they were.

    Args:
        model (`PreTrainedModel`): untrained.
        task ([`Task`]): what it will be trained for.
        rows (`torch.Tensor`): two rows on the model's device.
        noise (`torch.Tensor`): their uniform numbers.
    """
    name, training = type(model).__name__, model.training
    model.eval()
    try:
        with torch.random.fork_rng([] if model.device.type != "cuda" else [model.device]):
            batch = task.collate(rows, noise)
            loss = task.loss(model, batch)
            leak = _leak(model, task, batch["input_ids"]) if task.auto_class == "AutoModelForCausalLM" else 0.0
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"{name} cannot be trained on task={task.name!r} with these config_overrides: {reason}") from error
    finally:
        model.train(training)
    if not torch.isfinite(loss):
        raise ValueError(f"{name} has the loss {loss.item()} before it is trained: mend its config_overrides")
    if leak > TOLERANCE:
        raise ValueError(
            f"{name} looks at later tokens (its logits move by {leak:.3g} when the last token changes), so it would "
            "learn to copy what it should predict: take a causal model, or for BERT-likes set is_decoder in "
            "config_overrides"
        )


def _leak(model: Any, task: Task, input_ids: torch.Tensor) -> float:
    """By how much the logits before the last token move when it is another one, relative to their size."""
    if input_ids.shape[1] < 2:
        return 0.0
    other = input_ids.clone()
    other[:, -1] = (other[:, -1] + 1) % task.num_symbols
    first, second = (task.logits(model, ids)[:, :-1].double() for ids in (input_ids, other))
    return ((first - second).abs().amax() / first.abs().amax().clamp(min=1e-6)).item()
