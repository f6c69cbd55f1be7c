"""What a zygote imports before it forks: modules only. Nothing here may start a thread or draw a number."""

import contextlib
import functools
import importlib
from typing import Any


# What a run imports beside `rhm_hf.training.loop`, most of it in functions of libraries.
MODULES = (
    "rhm_hf.training.commands",
    "rhm_hf.training.loop",
    "rhm_hf.training.sweep.executors",
    "rhm_hf.data.rhm",
    "rhm_hf.metrics.rhm_kl",
    "rhm_hf.inference",
    "torch._dynamo",
    "torch.utils._sympy.functions",
    "transformers.modeling_utils",
    "transformers.generation",
    "transformers.loss.loss_utils",
)


def import_libraries() -> None:
    """Imports what every run needs; a module that this version of a library lacks is left to the run."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from .. import results

    results.versions()  # of the code that is imported here


def import_for(config: str) -> None:
    """Imports what a run needs beside that: the module of its model. Whatever fails is said by the run itself."""
    with contextlib.suppress(Exception):
        from ..arguments import read_yaml

        _import_model(read_yaml(config).get("model_type"))


@functools.cache
def _import_model(model_type: Any) -> None:
    """Builds the class of a model of `transformers` or of this package; plug-ins are the run's own."""
    if not isinstance(model_type, str) or ":" in model_type:
        return
    import transformers
    from transformers import AutoConfig

    config_class = type(AutoConfig.for_model(model_type))
    for name in ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"):
        mapping = getattr(transformers, name)._model_mapping
        if config_class in mapping.keys():  # noqa: SIM118  it is no dict
            mapping[config_class]
