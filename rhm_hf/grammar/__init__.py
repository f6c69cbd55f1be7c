"""The grammar: rules, probabilities, sampling. numpy and numba only."""

from .grammar import Grammar
from .parameters import GrammarParameters


__all__ = ["Grammar", "GrammarParameters"]
