"""The grammar: rules, probabilities, sampling, in several families. numpy and numba only."""

from .convert import grammar_from_tensors
from .family_parameters import HiddenMarkovParameters, LayeredParameters
from .filtered import FilteredGrammar
from .grammar import Grammar
from .hidden_markov import HiddenMarkovSource
from .parameters import GrammarParameters
from .source import Source


__all__ = [
    "FilteredGrammar",
    "Grammar",
    "GrammarParameters",
    "HiddenMarkovParameters",
    "HiddenMarkovSource",
    "LayeredParameters",
    "Source",
    "grammar_from_tensors",
]
