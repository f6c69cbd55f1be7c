"""The grammar in its families: rules, probabilities, sampling, changes to derivations. numpy and numba only."""

from .convert import grammar_from_tensors
from .family_parameters import HiddenMarkovParameters, LayeredParameters
from .filtered import FilteredGrammar
from .grammar import Grammar
from .hidden_markov import HiddenMarkovSource
from .interventions import exchange_synonyms, redraw_rule, replace_symbol
from .parameters import GrammarParameters
from .source import Source
from .sparse import SparseGrammar
from .sparse_changes import displace, replace_synonyms


__all__ = [
    "FilteredGrammar",
    "Grammar",
    "GrammarParameters",
    "HiddenMarkovParameters",
    "HiddenMarkovSource",
    "LayeredParameters",
    "Source",
    "SparseGrammar",
    "displace",
    "exchange_synonyms",
    "grammar_from_tensors",
    "redraw_rule",
    "replace_symbol",
    "replace_synonyms",
]
