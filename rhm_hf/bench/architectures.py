"""What is benched: a model type, a config.json, a class, or a learner that only counts."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import checked
from ..data.provenance import named_grammar
from ..training.model_building import ModelKind
from .suite import BenchTask, Suite


COUNTERS = ("ngram", "hierarchical_ngram", "correlation_learner")
# What a bench decides for every model alike, or that says nothing of its shape.
DECIDED = (
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "label2id",
    "mask_token_id",
    "model_type",
    "num_labels",
    "num_symbols",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "vocab_size",
    "_name_or_path",
)
ANY_KIND = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification")


@dataclass(frozen=True)
class Architecture:
    """What is benched.

    Attributes:
        given (`str`): as it was named on the command line.
        name (`str`): of its row and its folder.
        model_type (`str`): a model type, `module:Class`, or one of `COUNTERS`.
        fields (`dict`): of its configuration that were given.
    """

    given: str
    name: str
    model_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether it is a learner that counts, and nothing is trained."""
        return self.model_type in COUNTERS


@checked
def read_architecture(given: str) -> Architecture:
    """The architecture that a word of the command line names.

    Args:
        given (`str`): a model type of transformers or of this package, the path of a `config.json` with its
            `model_type`, a class as `module:Class`, or one of `ngram`, `hierarchical_ngram`, `correlation_learner`.

    Raises:
        `ValueError`: for a type or class that is not there, none of whose models is of a kind that can be benched, or
            a file that is no configuration.
    """
    if given in COUNTERS:
        return Architecture(given, given, given)
    if given.endswith(".json"):
        return _from_file(given)
    kind_of(given, ANY_KIND)
    return Architecture(given, re.sub(r"[^\w.-]+", "-", given), given)


def kind_of(model_type: str, candidates: tuple[str, ...]) -> ModelKind:
    """The kind of model that an architecture offers, the first that it has of some; see [`ModelKind.of`]."""
    return ModelKind.of(model_type, candidates)


def config_fields(architecture: Architecture, suite: Suite, task: BenchTask) -> dict[str, Any]:
    """The fields of an architecture's configuration for a task: those given, and the suite's sizes where none are.

    A network with a layer a level (`filter_size`) gets the shape of the task's tree, unless its own is given.
    """
    plain = kind_of(architecture.model_type, ANY_KIND).plain_config()
    known = plain.to_dict().keys() | plain.attribute_map.keys()
    names = {plain.attribute_map.get(name, name) for name in architecture.fields}
    found = dict(architecture.fields)

    def suggest(values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name in known and plain.attribute_map.get(name, name) not in names:
                found[name] = value

    if not names & {plain.attribute_map.get(name, name) for name in suite.sizes}:
        width, heads = suite.sizes["hidden_size"], suite.sizes["num_attention_heads"]
        suggest(suite.sizes)
        if "num_attention_heads" in known and isinstance(getattr(plain, "intermediate_size", None), int):
            suggest({"intermediate_size": 4 * width})
        suggest({"num_key_value_heads": heads})
        if getattr(plain, "head_dim", None) is not None:
            suggest({"head_dim": width // heads})
    if "filter_size" in known:
        suggest(_tree_shape(task))
    return found


def _tree_shape(task: BenchTask) -> dict[str, int]:
    source = named_grammar(task.grammar, task.seeds[0] if task.varied == "rules_seed" else None)
    if not source.has_blocks:
        return {}
    return {
        "filter_size": round(math.exp(math.log(source.sentence_length) / source.depth)),
        "num_hidden_layers": source.depth,
    }


def _from_file(given: str) -> Architecture:
    path = Path(given)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{given} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{given} is not JSON: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise ValueError(f"{given} is no configuration: a config.json is a mapping with a model_type")
    model_type = values["model_type"]
    plain = kind_of(model_type, ANY_KIND).plain_config().to_dict()
    fields = {
        name: value
        for name, value in values.items()
        if name not in DECIDED and not (name in plain and plain[name] == value)
    }
    name = path.stem if path.stem != "config" else (path.parent.resolve().name or model_type)
    return Architecture(given, re.sub(r"[^\w.-]+", "-", name), model_type, fields)
