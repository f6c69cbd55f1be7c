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
    from .grammar import (
        PCFG,
        AmbiguousGrammar,
        AmbiguousParameters,
        ColouringParameters,
        Factors,
        FilteredGrammar,
        Grammar,
        GrammarParameters,
        HiddenMarkovParameters,
        HiddenMarkovSource,
        IsingParameters,
        LayeredParameters,
        PCFGParameters,
        RuleList,
        SparseGrammar,
        TreeGrammar,
        TreeParameters,
        grammar_from_tensors,
    )
    from .metrics import load_metric
    from .models.attention_only.configuration_attention_only import AttentionOnlyConfig
    from .models.attention_only.modeling_attention_only import AttentionOnlyForCausalLM, AttentionOnlyForMaskedLM
    from .models.fully_connected.configuration_fully_connected import FullyConnectedConfig
    from .models.fully_connected.modeling_fully_connected import FullyConnectedForSequenceClassification
    from .models.hierarchical_cnn.configuration_hierarchical_cnn import HierarchicalCNNConfig
    from .models.hierarchical_cnn.modeling_hierarchical_cnn import HierarchicalCNNForSequenceClassification
    from .models.hierarchical_unet.configuration_hierarchical_unet import HierarchicalUNetConfig
    from .models.hierarchical_unet.modeling_hierarchical_unet import HierarchicalUNetForMaskedLM
    from .models.locally_connected.configuration_locally_connected import LocallyConnectedConfig
    from .models.locally_connected.modeling_locally_connected import LocallyConnectedForSequenceClassification
    from .models.lstm.configuration_lstm import LSTMConfig
    from .models.lstm.modeling_lstm import LSTMForCausalLM, LSTMForSequenceClassification
    from .models.ngram.configuration_hierarchical_ngram import HierarchicalNGramConfig
    from .models.ngram.configuration_ngram import NGramConfig
    from .models.ngram.modeling_hierarchical_ngram import HierarchicalNGramForCausalLM
    from .models.ngram.modeling_ngram import NGramForCausalLM
    from .models.rhm.configuration_rhm import RHMConfig
    from .models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification

_EXPORTS = {  # public name -> the submodule that defines it; "" where it is a submodule
    "PCFG": "grammar",
    "AmbiguousGrammar": "grammar",
    "AmbiguousParameters": "grammar",
    "AttentionOnlyConfig": "models.attention_only.configuration_attention_only",
    "AttentionOnlyForCausalLM": "models.attention_only.modeling_attention_only",
    "AttentionOnlyForMaskedLM": "models.attention_only.modeling_attention_only",
    "CharCorpus": "data",
    "ColouringParameters": "grammar",
    "Factors": "grammar",
    "FilteredGrammar": "grammar",
    "FullyConnectedConfig": "models.fully_connected.configuration_fully_connected",
    "FullyConnectedForSequenceClassification": "models.fully_connected.modeling_fully_connected",
    "Grammar": "grammar",
    "GrammarParameters": "grammar",
    "HiddenMarkovParameters": "grammar",
    "HiddenMarkovSource": "grammar",
    "HierarchicalCNNConfig": "models.hierarchical_cnn.configuration_hierarchical_cnn",
    "HierarchicalCNNForSequenceClassification": "models.hierarchical_cnn.modeling_hierarchical_cnn",
    "HierarchicalNGramConfig": "models.ngram.configuration_hierarchical_ngram",
    "HierarchicalNGramForCausalLM": "models.ngram.modeling_hierarchical_ngram",
    "HierarchicalUNetConfig": "models.hierarchical_unet.configuration_hierarchical_unet",
    "HierarchicalUNetForMaskedLM": "models.hierarchical_unet.modeling_hierarchical_unet",
    "IsingParameters": "grammar",
    "LSTMConfig": "models.lstm.configuration_lstm",
    "LSTMForCausalLM": "models.lstm.modeling_lstm",
    "LSTMForSequenceClassification": "models.lstm.modeling_lstm",
    "LayeredParameters": "grammar",
    "LocallyConnectedConfig": "models.locally_connected.configuration_locally_connected",
    "LocallyConnectedForSequenceClassification": "models.locally_connected.modeling_locally_connected",
    "NGramConfig": "models.ngram.configuration_ngram",
    "NGramForCausalLM": "models.ngram.modeling_ngram",
    "PCFGParameters": "grammar",
    "RHMCollator": "data",
    "RHMConfig": "models.rhm.configuration_rhm",
    "RHMDatasetBuilder": "data",
    "RHMForCausalLM": "models.rhm.modeling_rhm",
    "RHMForMaskedLM": "models.rhm.modeling_rhm",
    "RHMForSequenceClassification": "models.rhm.modeling_rhm",
    "RuleList": "grammar",
    "SparseGrammar": "grammar",
    "TreeGrammar": "grammar",
    "TreeParameters": "grammar",
    "__version__": "_version",
    "char_corpus": "data",
    "data": "",
    "diffusion": "",
    "export_parquet": "data",
    "grammar": "",
    "grammar_from_tensors": "grammar",
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
    "PCFG",
    "AmbiguousGrammar",
    "AmbiguousParameters",
    "AttentionOnlyConfig",
    "AttentionOnlyForCausalLM",
    "AttentionOnlyForMaskedLM",
    "CharCorpus",
    "ColouringParameters",
    "Factors",
    "FilteredGrammar",
    "FullyConnectedConfig",
    "FullyConnectedForSequenceClassification",
    "Grammar",
    "GrammarParameters",
    "HiddenMarkovParameters",
    "HiddenMarkovSource",
    "HierarchicalCNNConfig",
    "HierarchicalCNNForSequenceClassification",
    "HierarchicalNGramConfig",
    "HierarchicalNGramForCausalLM",
    "HierarchicalUNetConfig",
    "HierarchicalUNetForMaskedLM",
    "IsingParameters",
    "LSTMConfig",
    "LSTMForCausalLM",
    "LSTMForSequenceClassification",
    "LayeredParameters",
    "LocallyConnectedConfig",
    "LocallyConnectedForSequenceClassification",
    "NGramConfig",
    "NGramForCausalLM",
    "PCFGParameters",
    "RHMCollator",
    "RHMConfig",
    "RHMDatasetBuilder",
    "RHMForCausalLM",
    "RHMForMaskedLM",
    "RHMForSequenceClassification",
    "RuleList",
    "SparseGrammar",
    "TreeGrammar",
    "TreeParameters",
    "__version__",
    "char_corpus",
    "data",
    "diffusion",
    "export_parquet",
    "grammar",
    "grammar_from_tensors",
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
if not TYPE_CHECKING:  # to type checkers an unknown name is an error
    __getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)


from . import register  # noqa: E402  last: its hooks may run at once and need everything above


register.register_all()
