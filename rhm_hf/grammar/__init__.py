"""The grammar in its families: rules, probabilities, sampling, changes to derivations. numpy and numba only.

Each family is a folder and registers itself with `registry` when it is imported here.
"""

from .ambiguous.ambiguous_grammar import AmbiguousGrammar
from .ambiguous.broadcast_parameters import AmbiguousParameters, ColouringParameters, IsingParameters
from .ambiguous.expansions import Factors, RuleList
from .chain.filtered import FilteredGrammar, FilteredParameters
from .chain.hidden_markov import HiddenMarkovParameters, HiddenMarkovSource
from .enumeration import enumerate_sentences
from .fixed_tree import FixedTree
from .layered.convert import grammar_from_tensors
from .layered.grammar import Grammar
from .layered.interventions import exchange_synonyms, redraw_rule, replace_symbol
from .layered.parameters import GrammarParameters
from .layered.uneven import LayeredParameters
from .pcfg import PCFG, PCFGParameters
from .refusal import NotSupported
from .registry import register
from .source import Source
from .sparse.parameters import SparseParameters
from .sparse.sparse_changes import displace, replace_synonyms
from .sparse.sparse_grammar import SparseGrammar
from .trees.tree_grammar import TreeGrammar
from .trees.tree_parameters import TreeParameters


__all__ = [
    "PCFG",
    "AmbiguousGrammar",
    "AmbiguousParameters",
    "ColouringParameters",
    "Factors",
    "FilteredGrammar",
    "FilteredParameters",
    "FixedTree",
    "Grammar",
    "GrammarParameters",
    "HiddenMarkovParameters",
    "HiddenMarkovSource",
    "IsingParameters",
    "LayeredParameters",
    "NotSupported",
    "PCFGParameters",
    "RuleList",
    "Source",
    "SparseGrammar",
    "SparseParameters",
    "TreeGrammar",
    "TreeParameters",
    "displace",
    "enumerate_sentences",
    "exchange_synonyms",
    "grammar_from_tensors",
    "redraw_rule",
    "register",
    "replace_symbol",
    "replace_synonyms",
]
