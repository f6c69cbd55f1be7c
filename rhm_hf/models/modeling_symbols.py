"""What the forward passes of trainable models share: checked ids, the loss, the output."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers.modeling_outputs import ModelOutput

from ..checks import shown


def check_tensor(name: str, value: Any) -> None:
    """Raises a `ValueError` for what is no tensor of integers."""
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name}={shown(value)} has the wrong type: it must be a tensor of ids")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} has dtype {value.dtype}: ids are integers")


def check_tensors(**values: Any) -> None:
    """Raises a `ValueError` for arguments of a forward pass that are neither left out nor tensors."""
    for name, value in values.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise ValueError(f"{name}={shown(value)} has the wrong type: it must be a tensor")


def checked_ids(input_ids: torch.Tensor, config: Any, shortest: int) -> torch.Tensor:
    """Ids `(batch, length)` as int64, or a `ValueError` that says what is wrong with them.

    Values are looked at on the CPU only: elsewhere the host would have to wait for the device at every call, and the
    device's own assertion stops an id that is out of range.
    """
    check_tensor("input_ids", input_ids)
    longest = config.max_position_embeddings
    if input_ids.ndim != 2 or not shortest <= input_ids.shape[1] <= longest:
        lengths = longest if shortest == longest else f"from {shortest} to {longest}"
        raise ValueError(
            f"input_ids has shape {tuple(input_ids.shape)}: it must be (batch, length) with length {lengths}, as "
            f"max_position_embeddings={longest} of this model's configuration says; build the model for another length"
        )
    if input_ids.numel() and input_ids.device.type == "cpu":
        lowest, highest = torch.stack(input_ids.aminmax()).tolist()
        if lowest < 0 or highest >= config.vocab_size:
            raise ValueError(
                f"input_ids holds {lowest if lowest < 0 else highest}, out of range: this model has ids 0 to "
                f"{config.vocab_size - 1}"
            )
    return input_ids.long()


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats per label, in float32 or better; -100 is left out."""
    check_tensors(labels=labels)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten().long(), ignore_index=-100)


def as_output(kind: type[ModelOutput], return_dict: bool, **values: Any) -> ModelOutput | tuple[Any, ...]:
    """The output as transformers' models give it: an object, or a tuple of what there is."""
    return kind(**values) if return_dict else tuple(value for value in values.values() if value is not None)
