"""The grammar: rules, probabilities, sampling, changes to derivations. numpy and numba only."""

from .convert import grammar_from_tensors
from .grammar import Grammar
from .interventions import exchange_synonyms, redraw_rule, replace_symbol
from .parameters import GrammarParameters


__all__ = [
    "Grammar",
    "GrammarParameters",
    "exchange_synonyms",
    "grammar_from_tensors",
    "redraw_rule",
    "replace_symbol",
]
