"""A transformers model from scratch, sized for the rows it is to read."""

import inspect
from collections.abc import Sequence

import torch
import transformers
from transformers import AutoConfig, GenerationConfig

from .arguments import TrainingArguments


def auto_class_for(model_type: str, candidates: Sequence[str]) -> str:
    """The first of some Auto classes that has a model of this type.

    Raises:
        `ValueError`: for a type that transformers does not know, or none of whose models is of these classes.
    """
    config_class = type(_plain_config(model_type))
    for name in candidates:
        if config_class in getattr(transformers, name)._model_mapping.keys():  # noqa: SIM118  it is no dict
            return name
    raise ValueError(
        f"model_type={model_type!r} cannot be trained so: the task needs {' or '.join(candidates)}, and "
        f"{config_class.__name__} has no such model"
    )


def _plain_config(model_type: str):
    try:
        return AutoConfig.for_model(model_type)
    except ValueError as error:
        raise ValueError(
            f"model_type={model_type!r} is not known to transformers {transformers.__version__}: take gpt2, llama, "
            "bert, hierarchical_cnn or another of its model types"
        ) from error


def scratch_config(
    model_type: str, overrides: dict, num_symbols: int, context_length: int, num_labels: int | None = None
):
    """The config of a model that reads symbols 0 .. v-1.

    It has v + 3 ids (symbols, BOS = EOS = v, PAD = v + 1, MASK = v + 2: the exact oracle's ids, so that the two are
    interchangeable), room for `context_length` ids, and no dropout: the small models of learning curves are stopped
    early instead. `overrides` come last and may change all of it. CLS and SEP, where a model type has them, are BOS.

    Args:
        model_type (`str`): a model type of transformers, such as `gpt2` or `llama`.
        overrides (`dict`): fields of its config, under the names the config or its attribute map gives them.
        num_labels (`int`, *optional*): outputs of a classifier.

    Raises:
        `ValueError`: for a model type or a field that does not exist.
    """
    plain = _plain_config(model_type)
    known = plain.to_dict().keys() | plain.attribute_map.keys() | inspect.signature(type(plain)).parameters.keys()
    unknown = sorted(overrides.keys() - known)
    if unknown:
        raise ValueError(
            f"config_overrides has {', '.join(unknown)}, which {type(plain).__name__} does not: its fields are "
            f"{', '.join(sorted(known))}"
        )
    v = num_symbols
    dropouts = {key: 0.0 for key, value in plain.to_dict().items() if "drop" in key and isinstance(value, float)}
    ids = {"vocab_size": v + 3, "bos_token_id": v, "eos_token_id": v, "pad_token_id": v + 1}
    ids |= {name: v for name in ("cls_token_id", "sep_token_id") if getattr(plain, name, None) is not None}
    labels = {} if num_labels is None else {"num_labels": num_labels}
    wanted = {**dropouts, **ids, **labels, "max_position_embeddings": context_length, **overrides}
    # Under the config's own names: given both max_position_embeddings and n_positions, GPT-2 takes the former.
    own = {}
    for key, value in wanted.items():
        own[plain.attribute_map.get(key, key)] = value
    return AutoConfig.for_model(model_type, **own)


def scratch_model(config, auto_class: str, seed: int, length: int):
    """A model with the weights that `seed` picks: drawn on the CPU in float32, so the same on every device.

    Its generation defaults sample the model's own law (all symbols, no top-k) up to `length` tokens, a
    whole sentence.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, auto_class).from_config(config)
    if model.can_generate():
        model.generation_config = GenerationConfig(
            do_sample=True,
            top_k=0,
            max_new_tokens=length,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )
    return model


def make_optimizer(model, arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimizer that a run asks for, fused: one kernel for all parameters."""
    common = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay, "fused": True}
    if arguments.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=arguments.momentum, **common)
    return torch.optim.AdamW(model.parameters(), betas=(0.9, arguments.adam_beta2), **common)
