"""The model inside what other libraries put around it, and the caller's state left as it was found."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..checks import NonNegativeInt, checked


if TYPE_CHECKING:
    from accelerate import Accelerator


def bare_model(model: torch.nn.Module) -> torch.nn.Module:
    """The model without `torch.compile`, `DistributedDataParallel`, `DataParallel`, what accelerate prepared it with
    for several processes, and PEFT, whose adapters stay in its layers.

    A PEFT model whose prompt is learnt stays as it is: without it the law is another one.

    Args:
        model (`torch.nn.Module`): as a user has it.

    Raises:
        `ValueError`: for what is no model of PyTorch, or has no configuration of transformers.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"model is a {type(model).__name__}: pass a model, a directory or a Hub id")
    *_, model = unwrapping(model)
    name, inner = type(model).__name__, _model_inside(model)
    if not hasattr(getattr(model, "config", None), "get_text_config"):
        raise ValueError(
            f"model is a {name} without a configuration of transformers (model.config): its ids and special ids "
            f"cannot be told; pass {inner or 'a PreTrainedModel'}"
        )
    if not hasattr(model, "device"):
        raise ValueError(f"model is a {name}, no model of transformers: pass {inner or 'a PreTrainedModel'}")
    return model


def _model_inside(model: torch.nn.Module) -> str | None:
    """What a home-made wrapper holds, for messages."""
    from transformers import PreTrainedModel

    held = ((name, module) for name, module in model.named_modules() if name and isinstance(module, PreTrainedModel))
    return next((f"what is in it, the {type(module).__name__} .{name}" for name, module in held), None)


def unwrapping(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The model as it is given, then without what is around it, layer by layer."""
    yield model
    while (inner := _inside(model)) is not model:
        model = inner
        yield model


def has_adapters(model: torch.nn.Module) -> bool:
    """Whether this is PEFT's wrapper."""
    return "base_model" in model._modules and hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def is_home_made(model: torch.nn.Module) -> bool:
    """Whether this is a wrapper of no library that is known: a model at `.module`, as DDP has it, and no `config`."""
    has_module = isinstance(getattr(model, "module", None), torch.nn.Module) and not hasattr(model, "config")
    return has_module and _extracted(model) is model


def _inside(model: torch.nn.Module) -> torch.nn.Module:
    if is_home_made(model):
        return model.module
    model = _extracted(model)
    if not has_adapters(model):
        return model
    learns_prompt = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    return model if learns_prompt else model.get_base_model()


def _extracted(model: torch.nn.Module) -> torch.nn.Module:
    from accelerate.utils import extract_model_from_parallel

    return extract_model_from_parallel(model, keep_torch_compile=False)


@checked
@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every part of it, and all random states, are as they were.

    Some models draw random numbers even then, or set numpy's seed (Reformer, BigBird).
    """
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  the global state of others, not ours
    devices = [model.device] if getattr(model, "device", torch.device("cpu")).type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for module, training in modes:
            module.training = training
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@checked
def share_of_process(num: NonNegativeInt, accelerator: "Accelerator | None" = None) -> range:
    """Which of `num` rows this process of an `accelerate.Accelerator` handles; all of them without one."""
    if accelerator is None:
        return range(num)
    index, of = accelerator.process_index, accelerator.num_processes
    return range(num * index // of, num * (index + 1) // of)
