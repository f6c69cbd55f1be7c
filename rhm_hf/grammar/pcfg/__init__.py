"""General probabilistic context-free grammars: any rules, recursive or not, read from text."""

from ..registry import register
from .derivation_tree import Tree
from .parameters import PCFGParameters
from .pcfg_grammar import PCFG


register(PCFG, PCFGParameters)

__all__ = ["PCFG", "PCFGParameters", "Tree"]
