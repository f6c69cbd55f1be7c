"""rhm_hf: the Random Hierarchy Model for Hugging Face.

Importing this package is cheap (no numpy, torch, transformers, datasets or evaluate) and makes `load_dataset("rhm")`,
`AutoModelForCausalLM.from_pretrained(oracle)` and `evaluate.load("rhm_kl")` work, whichever library is imported first.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:  # what type checkers and editors see; `_EXPORTS` says the same to Python
    from . import data, grammar, metrics, models, statistics
    from .data import RHMCollator, RHMDatasetBuilder, export_parquet, grammar_of, resolve_grammar, rhm_tokenizer
    from .grammar import Grammar, GrammarParameters
    from .metrics import load_metric
    from .models.rhm.configuration_rhm import RHMConfig
    from .models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification

    __version__: str

_EXPORTS = {  # public name -> the module that defines it, imported when the name is first used
    "Grammar": "grammar",
    "GrammarParameters": "grammar",
    "RHMCollator": "data",
    "RHMConfig": "models.rhm.configuration_rhm",
    "RHMDatasetBuilder": "data",
    "RHMForCausalLM": "models.rhm.modeling_rhm",
    "RHMForMaskedLM": "models.rhm.modeling_rhm",
    "RHMForSequenceClassification": "models.rhm.modeling_rhm",
    "export_parquet": "data",
    "grammar_of": "data",
    "load_metric": "metrics",
    "resolve_grammar": "data",
    "rhm_tokenizer": "data",
}

__all__ = [  # written out, as type checkers ask for
    "Grammar",
    "GrammarParameters",
    "RHMCollator",
    "RHMConfig",
    "RHMDatasetBuilder",
    "RHMForCausalLM",
    "RHMForMaskedLM",
    "RHMForSequenceClassification",
    "__version__",
    "data",
    "export_parquet",
    "grammar",
    "grammar_of",
    "load_metric",
    "metrics",
    "models",
    "resolve_grammar",
    "rhm_tokenizer",
    "statistics",
]


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        value = version("rhm-hf")
    elif name in _EXPORTS:
        value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    elif name in __all__:  # a subpackage
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


from . import register  # noqa: E402  last: its hooks may run at once and need everything above


register.register_all()
