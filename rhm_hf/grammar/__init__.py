"""The grammar in its families: rules, probabilities, sampling, changes to derivations. numpy and numba only."""

from .chain.filtered import FilteredGrammar
from .chain.hidden_markov import HiddenMarkovSource
from .chain.hidden_markov_parameters import HiddenMarkovParameters
from .layered.convert import grammar_from_tensors
from .layered.grammar import Grammar
from .layered.interventions import exchange_synonyms, redraw_rule, replace_symbol
from .layered.parameters import GrammarParameters
from .layered.uneven import LayeredParameters
from .source import Source
from .sparse.sparse_changes import displace, replace_synonyms
from .sparse.sparse_grammar import SparseGrammar


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
