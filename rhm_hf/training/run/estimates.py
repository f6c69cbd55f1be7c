"""Sizes that cannot be: estimated from below, and refused before anything is built."""

import os

import torch

from ...grammar import registry
from ..arguments import Arguments


def check_sizes(arguments: Arguments) -> None:
    """Raises a `ValueError` for rows or a step that need more memory than there is, by a bound from below.

    A batch needs at least its ids and, of every target, logits with their gradient; the rows of a grammar are held as
    they are stored.
    """
    data, t = arguments.data, arguments.training
    length, num_symbols = _shape(arguments)
    rows = data.num_train + data.num_validation + data.num_test
    if data.text is None:
        _refuse_above(rows * length, memory(), f"num_train={data.num_train}: {rows} sentences of {length} tokens")
    micro = t.batch_size // t.gradient_accumulation_steps // int(os.environ.get("WORLD_SIZE", 1))
    _refuse_above(
        micro * (16 * length + 8 * num_symbols),
        max(memory(), device_memory()),
        f"batch_size={t.batch_size}: a micro-batch of {micro} rows",
    )
    if data.text is None:
        _refuse_above(
            t.kl_sentences * length * 8, memory(), f"kl_sentences={t.kl_sentences}: sentences of {length} tokens"
        )


def check_model(num_parameters: int, model_type: str) -> None:
    """Raises a `ValueError` for a model that no device here can train: weights, gradients, the optimizer's state."""
    _refuse_above(
        12 * num_parameters,
        max(memory(), device_memory()),
        f"model_type={model_type!r} with these config_overrides: {num_parameters} parameters",
    )


def memory() -> int:
    """Bytes of this machine's main memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def device_memory() -> int:
    """Bytes of the GPU's memory, 0 without one."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def _shape(arguments: Arguments) -> tuple[int, int]:
    """Tokens of a row and the number of symbols, both from below."""
    data = arguments.data
    if data.text is not None:
        return data.context_length + 1, 2
    try:
        parameters = registry.parameters_from_name(data.grammar, data.rules_seed)
    except ValueError:  # a directory, or a mistake that the data set says better
        return 1, 1
    # A grammar of a gallery has a title alone: None.
    return getattr(parameters, "sentence_length", None) or 1, getattr(parameters, "vocab_size", None) or 1


def _refuse_above(needed: int, available: int, what: str) -> None:
    if needed > available:
        raise ValueError(
            f"{what} need at least {needed / 1e9:.3g} GB, and this machine has {available / 1e9:.3g} GB: choose less"
        )
