"""rhm_hf: the Random Hierarchy Model for Hugging Face.

Importing this package is cheap (no numpy, torch, transformers, datasets or evaluate) and makes `load_dataset("rhm")`,
`AutoModelForCausalLM.from_pretrained(oracle)` and `evaluate.load("rhm_kl")` work, whichever library is imported first.
"""

from typing import TYPE_CHECKING

from ._lazy import lazy_attributes


if TYPE_CHECKING:  # what type checkers and editors see; `_EXPORTS` says the same to Python
    from . import data, diffusion, grammar, inference, metrics, models, plots, statistics, tasks, theory, training
    from ._version import __version__
    from .data import (
        CharCorpus,
        RHMCollator,
        RHMDatasetBuilder,
        char_corpus,
        export_parquet,
        grammar_of,
        resolve_grammar,
        rhm_tokenizer,
    )
    from .grammar import Grammar, GrammarParameters
    from .metrics import load_metric
    from .models.hierarchical_unet.configuration_hierarchical_unet import HierarchicalUNetConfig
    from .models.hierarchical_unet.modeling_hierarchical_unet import HierarchicalUNetForMaskedLM
    from .models.ngram.configuration_hierarchical_ngram import HierarchicalNGramConfig
    from .models.ngram.configuration_ngram import NGramConfig
    from .models.ngram.modeling_hierarchical_ngram import HierarchicalNGramForCausalLM
    from .models.ngram.modeling_ngram import NGramForCausalLM
    from .models.rhm.configuration_rhm import RHMConfig
    from .models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification

_EXPORTS = {  # public name -> the submodule that defines it; "" where it is a submodule
    "CharCorpus": "data",
    "Grammar": "grammar",
    "GrammarParameters": "grammar",
    "HierarchicalNGramConfig": "models.ngram.configuration_hierarchical_ngram",
    "HierarchicalNGramForCausalLM": "models.ngram.modeling_hierarchical_ngram",
    "HierarchicalUNetConfig": "models.hierarchical_unet.configuration_hierarchical_unet",
    "HierarchicalUNetForMaskedLM": "models.hierarchical_unet.modeling_hierarchical_unet",
    "NGramConfig": "models.ngram.configuration_ngram",
    "NGramForCausalLM": "models.ngram.modeling_ngram",
    "RHMCollator": "data",
    "RHMConfig": "models.rhm.configuration_rhm",
    "RHMDatasetBuilder": "data",
    "RHMForCausalLM": "models.rhm.modeling_rhm",
    "RHMForMaskedLM": "models.rhm.modeling_rhm",
    "RHMForSequenceClassification": "models.rhm.modeling_rhm",
    "__version__": "_version",
    "char_corpus": "data",
    "data": "",
    "diffusion": "",
    "export_parquet": "data",
    "grammar": "",
    "grammar_of": "data",
    "inference": "",
    "load_metric": "metrics",
    "metrics": "",
    "models": "",
    "plots": "",
    "resolve_grammar": "data",
    "rhm_tokenizer": "data",
    "statistics": "",
    "tasks": "",
    "theory": "",
    "training": "",
}

__all__ = [  # written out, as type checkers ask for
    "CharCorpus",
    "Grammar",
    "GrammarParameters",
    "HierarchicalNGramConfig",
    "HierarchicalNGramForCausalLM",
    "HierarchicalUNetConfig",
    "HierarchicalUNetForMaskedLM",
    "NGramConfig",
    "NGramForCausalLM",
    "RHMCollator",
    "RHMConfig",
    "RHMDatasetBuilder",
    "RHMForCausalLM",
    "RHMForMaskedLM",
    "RHMForSequenceClassification",
    "__version__",
    "char_corpus",
    "data",
    "diffusion",
    "export_parquet",
    "grammar",
    "grammar_of",
    "inference",
    "load_metric",
    "metrics",
    "models",
    "plots",
    "resolve_grammar",
    "rhm_tokenizer",
    "statistics",
    "tasks",
    "theory",
    "training",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)


from . import register  # noqa: E402  last: its hooks may run at once and need everything above


register.register_all()
