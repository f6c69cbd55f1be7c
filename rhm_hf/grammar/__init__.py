"""The grammar: rules, probabilities, sampling. numpy and numba only."""

from .convert import grammar_from_tensors
from .grammar import Grammar
from .parameters import GrammarParameters


__all__ = ["Grammar", "GrammarParameters", "grammar_from_tensors"]
