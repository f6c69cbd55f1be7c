"""A transformers model from scratch, sized for the rows it is to read, and checked before it is trained."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import transformers
from transformers import AutoConfig, GenerationConfig

from ..auto_classes import classes_of
from ..checks import Name, Range, check, did_you_mean
from . import plugins
from .arguments import TrainingArguments


COUNT_LIMIT = 2**16  # of layers, heads, experts: more are a mistake, and would be built one by one
WIDTH_LIMIT = 2**31
SMALL = 512  # of width, layers and vocabulary: .2 GB and less


@dataclass(frozen=True)
class ModelKind:
    """What `model_type` names.

    Attributes:
        model_type (`str`): as given.
        auto_class (`str`): the kind of model, for the task.
        config_class (`type`): of its configurations.
        model_class (`type`, *optional*): given as `module:Name`; else the Auto class picks it.
    """

    model_type: str
    auto_class: str
    config_class: type
    model_class: type | None = None

    @classmethod
    def of(cls, model_type: str, candidates: Sequence[str]) -> "ModelKind":
        """The first of some Auto classes that has a model of this type.

        Raises:
            `ValueError`: for a type that transformers does not know, or none of whose models is of these classes.
        """
        if ":" in model_type:
            model_class = plugins.model_class(model_type)
            return cls(model_type, _served_by(model_class, candidates), model_class.config_class, model_class)
        config_class = type(_plain_config(model_type))
        for name in candidates:
            if classes_of(config_class, name):
                return cls(model_type, name, config_class)
        raise ValueError(
            f"model_type={model_type!r} cannot be trained so: the task needs {' or '.join(candidates)}, and "
            f"{config_class.__name__} has no such model"
        )

    def plain_config(self) -> Any:
        """Its configuration with all values at their defaults."""
        return self.config_class() if self.model_class is not None else _plain_config(self.model_type)

    def build(self, config: Any) -> Any:
        """The model of a configuration, with random weights."""
        if self.model_class is not None:
            return self.model_class(config)
        return getattr(transformers, self.auto_class).from_config(config)


def _served_by(model_class: type, candidates: Sequence[str]) -> str:
    """The Auto class among `candidates` that a class of models is registered with, or says in `auto_class`."""
    for name in candidates:
        if model_class in classes_of(model_class.config_class, name):
            return name
    said = getattr(model_class, "auto_class", None)
    if said in candidates or len(candidates) == 1:
        return said if said in candidates else candidates[0]
    raise ValueError(
        f"model_type={model_class.__module__}:{model_class.__qualname__} does not say which kind of model it is: give "
        f"the class an attribute auto_class = {' or '.join(map(repr, candidates))}, or register it with that class"
    )


def auto_class_for(model_type: str, candidates: Sequence[str]) -> str:
    """The first of some Auto classes that has a model of this type; see [`ModelKind.of`]."""
    return ModelKind.of(model_type, candidates).auto_class


def _plain_config(model_type: str) -> Any:
    try:
        return AutoConfig.for_model(model_type)
    except ValueError as error:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING

        raise ValueError(
            f"model_type={model_type!r} is not known to transformers {transformers.__version__}"
            f"{did_you_mean(model_type, CONFIG_MAPPING.keys()) or ':'} take gpt2, llama, bert, hierarchical_cnn, "
            "another of its model types, or module:Name"
        ) from error


def scratch_config(
    model_type: str | ModelKind,
    overrides: dict[str, Any],
    num_symbols: int,
    context_length: int,
    num_labels: int | None = None,
    sizes: dict[str, int] | None = None,
) -> Any:
    """The config of a model that reads symbols 0 .. v-1.

    It has v + 3 ids (symbols, BOS = EOS = v, PAD = v + 1, MASK = v + 2: the exact oracle's ids, so that the two are
    interchangeable), room for `context_length` ids, and no dropout: the small models of learning curves are stopped
    early instead. `overrides` come last and may change all of it. CLS and SEP, where a model type has them, are BOS.

    Args:
        model_type (`str`): a model type of transformers, such as `gpt2` or `llama`.
        overrides (`dict`): fields of its config, under the names the config or its attribute map gives them.
        num_symbols (`int`): v.
        context_length (`int`): ids of the longest input.
        num_labels (`int`, *optional*): outputs of a classifier.
        sizes (`dict`, *optional*): see [`suited_sizes`]; taken where `overrides` says nothing of sizes.

    Raises:
        `ValueError`: for a model type or a field that does not exist, and for a value that the config does not take.
    """
    kind = model_type if isinstance(model_type, ModelKind) else None
    plain = kind.plain_config() if kind else _plain_config(model_type)
    _check_overrides(plain, overrides)
    v = num_symbols
    dropouts = {key: 0.0 for key, value in plain.to_dict().items() if "drop" in key and isinstance(value, float)}
    ids = {"vocab_size": v + 3, "bos_token_id": v, "eos_token_id": v, "pad_token_id": v + 1}
    ids |= {name: v for name in ("cls_token_id", "sep_token_id") if getattr(plain, name, None) is not None}
    labels = {} if num_labels is None else {"num_labels": num_labels}
    suited = _suited(plain, overrides, sizes or {})
    wanted = {**dropouts, **ids, **labels, **suited, "max_position_embeddings": context_length, **overrides}
    # Under the config's own names: given both max_position_embeddings and n_positions, GPT-2 takes the former.
    own = {plain.attribute_map.get(key, key): value for key, value in wanted.items()}
    try:
        return type(plain)(**own) if kind else AutoConfig.for_model(model_type, **own)
    except Exception as error:
        raise ValueError(
            f"config_overrides={overrides!r} is refused by {type(plain).__name__}: {_line(error)}"
        ) from error


def suited_sizes(num_symbols: int, depth: int) -> dict[str, int]:
    """Sizes of a transformer for a grammar of v symbols and L levels, or for characters."""
    width = 2 ** min(8, max(6, math.ceil(math.log2(8 * num_symbols))))
    layers = min(8, max(2, depth))
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "intermediate_size": 4 * width,
    }


def _suited(plain: Any, overrides: dict[str, Any], sizes: dict[str, int]) -> dict[str, int]:
    """The sizes that a plain transformer takes, where none is given. The small models of this package keep theirs."""
    known = plain.to_dict().keys() | plain.attribute_map.keys()
    given = {plain.attribute_map.get(key, key) for key in overrides}
    own = {plain.attribute_map.get(key, key) for key in sizes if key in known}
    needed = {"hidden_size", "num_hidden_layers", "num_attention_heads"}
    if not sizes or not needed <= known or given & own or type(plain).__module__.startswith("rhm_hf."):
        return {}
    suited = {key: value for key, value in sizes.items() if key in known}
    if "num_key_value_heads" in known:
        suited["num_key_value_heads"] = sizes["num_attention_heads"]
    if getattr(plain, "head_dim", None) is not None and "head_dim" in known:
        suited["head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
    return suited


def _check_overrides(plain: Any, overrides: dict[str, Any]) -> None:
    """That fields exist, and that their values are of the kind of the default: configs check some of theirs only."""
    values = plain.to_dict()
    known = values.keys() | plain.attribute_map.keys() | inspect.signature(type(plain)).parameters.keys()
    known -= {"kwargs", "self", "args"}
    unknown = sorted(overrides.keys() - known)
    if unknown:
        meant = did_you_mean(unknown[0], known) if len(unknown) == 1 else ""
        raise ValueError(
            f"config_overrides has {', '.join(unknown)}, which {type(plain).__name__} does not{meant or ':'} its "
            f"fields are {', '.join(sorted(known))}"
        )
    for key, value in overrides.items():
        _check_value(key, value, values.get(plain.attribute_map.get(key, key)))


def _hint(key: str, default: Any) -> Any:
    """What a field of a config may be, by its default: a type hint, as parameters of functions have."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int):
        is_count = (key.startswith("num_") and key != "num_symbols") or key in COUNTS
        limit = COUNT_LIMIT if is_count else WIDTH_LIMIT
        low = 1 if key in COUNTS or key in SIZES else 0 if default >= 0 else -limit
        return Annotated[int, Range(low, limit - 1)] | None
    if isinstance(default, float):
        bounds = Range(0, below=1) if "drop" in key else Range(0) if "eps" in key else Range()
        return Annotated[float, bounds] | None
    return Name | None if isinstance(default, str) else Any


def _check_value(key: str, value: Any, default: Any) -> None:
    hint = _hint(key, default)
    if hint is Any and isinstance(value, float):  # of a field that has no default to go by
        hint = float
    check(f"config_overrides: {key}", value, hint)


COUNTS = ("n_layer", "n_head", "n_layers", "n_heads", "num_hidden_layers", "num_attention_heads", "num_layers")
SIZES = ("n_embd", "hidden_size", "d_model", "intermediate_size", "vocab_size")


def scratch_model(config: Any, auto_class: str | ModelKind, seed: int, length: int) -> Any:
    """A model with the weights that `seed` picks: drawn on the CPU in float32, so the same on every device.

    Its generation defaults sample the model's own law (all symbols, no top-k) up to `length` tokens, a
    whole sentence.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if isinstance(auto_class, ModelKind):
                model = auto_class.build(config)
            else:
                model = getattr(transformers, auto_class).from_config(config)
        except Exception as error:
            raise ValueError(f"{type(config).__name__} with these values makes no model: {_line(error)}") from error
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


def num_parameters_of(config: Any, kind: ModelKind) -> int:
    """The size of the model of a configuration, without its weights: it is built on torch's meta device.

    Returns:
        `int`: 0 where it is small, or cannot be built without weights.

    Raises:
        `ValueError`: in a line, where the model refuses its configuration.
    """
    sizes = [getattr(config, name, None) for name in ("hidden_size", "num_hidden_layers", "vocab_size")]
    if all(isinstance(size, int) and size <= SMALL for size in sizes):
        return 0  # not worth building it twice
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return kind.build(config).num_parameters()
    except NotImplementedError:
        return 0  # a model that cannot be built without weights
    except Exception as error:
        raise ValueError(
            f"model_type={kind.model_type!r} with these config_overrides cannot be built: {_line(error)}"
        ) from error


def make_optimizer(model: torch.nn.Module, arguments: TrainingArguments) -> torch.optim.Optimizer:
    """The optimizer that a run asks for, fused where torch has it: one kernel for all parameters.

    Raises:
        `ValueError`: where an optimizer given as `module:Name` does not take its arguments.
    """
    common = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
    if arguments.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=arguments.momentum, fused=True, **common)
    if arguments.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), betas=(0.9, arguments.adam_beta2), fused=True, **common)
    kind, options = plugins.optimizer_class(arguments.optimizer), arguments.optimizer_options or {}
    parameters = inspect.signature(kind).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        common = {name: value for name, value in common.items() if name in parameters}
    try:
        return kind(model.parameters(), **(common | options))
    except Exception as error:
        raise ValueError(
            f"optimizer={arguments.optimizer!r} cannot be made with {common | options}: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
