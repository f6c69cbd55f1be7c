"""Makes our names known to datasets, transformers and evaluate, without importing them.

None of the three has a plug-in mechanism that is found by name, so post-import hooks do it: each runs when its module
is imported, at once where it has been. A host library that changed underneath costs a warning that names the direct
class to use instead, never an error in somebody else's import.
"""

import functools
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from wrapt import when_imported


DATASETS = {"rhm": "rhm_hf.data.rhm"}  # name for load_dataset -> module with the builder and source_hash()


class ModelFamily(NamedTuple):
    """One model type: where its classes are, and which Auto class each of them serves."""

    model_type: str
    package: str  # holds configuration_<model_type>.py and modeling_<model_type>.py
    config: str
    models: dict[str, str]

    @property
    def configuration_module(self) -> str:
        return f"{self.package}.configuration_{self.model_type}"

    @property
    def modeling_module(self) -> str:
        return f"{self.package}.modeling_{self.model_type}"


MODELS = (
    ModelFamily(
        "rhm",
        "rhm_hf.models.rhm",
        "RHMConfig",
        {
            "AutoModelForCausalLM": "RHMForCausalLM",
            "AutoModelForMaskedLM": "RHMForMaskedLM",
            "AutoModelForSequenceClassification": "RHMForSequenceClassification",
        },
    ),
    ModelFamily("ngram", "rhm_hf.models.ngram", "NGramConfig", {"AutoModelForCausalLM": "NGramForCausalLM"}),
    ModelFamily(
        "hierarchical_ngram",
        "rhm_hf.models.ngram",
        "HierarchicalNGramConfig",
        {"AutoModelForCausalLM": "HierarchicalNGramForCausalLM"},
    ),
    ModelFamily(
        "attention_only",
        "rhm_hf.models.attention_only",
        "AttentionOnlyConfig",
        {"AutoModelForCausalLM": "AttentionOnlyForCausalLM", "AutoModelForMaskedLM": "AttentionOnlyForMaskedLM"},
    ),
    ModelFamily(
        "lstm",
        "rhm_hf.models.lstm",
        "LSTMConfig",
        {
            "AutoModelForCausalLM": "LSTMForCausalLM",
            "AutoModelForSequenceClassification": "LSTMForSequenceClassification",
        },
    ),
    ModelFamily(
        "fully_connected",
        "rhm_hf.models.fully_connected",
        "FullyConnectedConfig",
        {"AutoModelForSequenceClassification": "FullyConnectedForSequenceClassification"},
    ),
    ModelFamily(
        "hierarchical_cnn",
        "rhm_hf.models.hierarchical_cnn",
        "HierarchicalCNNConfig",
        {"AutoModelForSequenceClassification": "HierarchicalCNNForSequenceClassification"},
    ),
    ModelFamily(
        "locally_connected",
        "rhm_hf.models.locally_connected",
        "LocallyConnectedConfig",
        {"AutoModelForSequenceClassification": "LocallyConnectedForSequenceClassification"},
    ),
    ModelFamily(
        "hierarchical_unet",
        "rhm_hf.models.hierarchical_unet",
        "HierarchicalUNetConfig",
        {"AutoModelForMaskedLM": "HierarchicalUNetForMaskedLM"},
    ),
)


def register_all() -> None:
    """Sets all hooks; called once, when `rhm_hf` is imported."""
    register_datasets()
    register_transformers()
    register_evaluate()


def register_datasets() -> None:
    """`load_dataset("rhm", ..)` and the `get_dataset_*` helpers. A local folder of that name is `"./rhm"`."""
    for module in ("datasets.load", "datasets.inspect"):  # the second holds its own reference to the function
        when_imported(module)(_wrap_dataset_module_factory)


def register_transformers() -> None:
    """`AutoConfig` and `AutoModelFor..` on directories and Hub ids that hold our models.

    Our modules import transformers and transformers' Auto modules call for ours, in either order, so each import
    triggers the other one, and the mapping is filled when ours is complete.
    """
    for family in MODELS:
        when_imported(family.configuration_module)(functools.partial(_register_config, family))
        when_imported(family.modeling_module)(functools.partial(_register_models, family))
        for auto, ours in (
            ("configuration_auto", family.configuration_module),
            ("modeling_auto", family.modeling_module),
        ):
            when_imported(f"transformers.models.auto.{auto}")(functools.partial(_import_ours, ours))


def register_evaluate() -> None:
    """`evaluate.load("rhm_kl")` and our other metrics, from their folders instead of the Hub."""
    for module in ("evaluate.loading", "evaluate.inspect", "evaluate.evaluation_suite"):
        when_imported(module)(_wrap_evaluation_module_factory)


def _guarded(library: str, fallback: str) -> Callable:
    """Turns an exception of a hook into a warning that says what does not work and what does."""

    def decorate(hook: Callable) -> Callable:
        @functools.wraps(hook)
        def guarded_hook(*args):
            try:
                hook(*args)
            except Exception as error:
                version = getattr(import_module(library), "__version__", "of unknown version")
                warnings.warn(
                    f"rhm_hf could not register with {library} {version}: {type(error).__name__}: {error}. Its names "
                    f"are unknown to {library}; use {fallback} instead. The hook to mend is {hook.__name__} in "
                    "rhm_hf/register.py",
                    RuntimeWarning,
                    stacklevel=2,
                )

        return guarded_hook

    return decorate


@_guarded("datasets", "rhm_hf.data.RHMDatasetBuilder(..).download_and_prepare() and .as_dataset()")
def _wrap_dataset_module_factory(module: ModuleType) -> None:
    original = module.dataset_module_factory
    if hasattr(original, "__rhm_hf__"):
        return
    # Loaded before any of its names is used: a datasets without DatasetModule is noticed here, not by a user.
    dataset_module_class = import_module("datasets.load").DatasetModule

    @functools.wraps(original)
    def dataset_module_factory(path, *args, **kwargs):
        if path not in DATASETS:
            return original(path, *args, **kwargs)
        code_version = import_module(DATASETS[path]).source_hash()
        return dataset_module_class(DATASETS[path], code_version, {"dataset_name": path})

    dataset_module_factory.__rhm_hf__ = True
    module.dataset_module_factory = dataset_module_factory


@_guarded("transformers", "the classes of rhm_hf.models")
def _import_ours(name: str, _: ModuleType) -> None:
    import_module(name)


@_guarded("transformers", "the classes of rhm_hf.models")
def _register_config(family: ModelFamily, ours: ModuleType) -> None:
    auto = import_module("transformers.models.auto.configuration_auto")
    auto.AutoConfig.register(family.model_type, getattr(ours, family.config), exist_ok=True)


@_guarded("transformers", "the classes of rhm_hf.models")
def _register_models(family: ModelFamily, ours: ModuleType) -> None:
    auto = import_module("transformers.models.auto.modeling_auto")
    config = getattr(import_module(family.configuration_module), family.config)
    for auto_class, model in family.models.items():
        getattr(auto, auto_class).register(config, getattr(ours, model), exist_ok=True)


@_guarded("evaluate", "rhm_hf.load_metric")
def _wrap_evaluation_module_factory(module: ModuleType) -> None:
    original = module.evaluation_module_factory
    if hasattr(original, "__rhm_hf__"):
        return

    @functools.wraps(original)
    def evaluation_module_factory(path, *args, **kwargs):
        from .metrics import metric_folders

        return original(str(metric_folders().get(path, path)), *args, **kwargs)

    evaluation_module_factory.__rhm_hf__ = True
    module.evaluation_module_factory = evaluation_module_factory
