"""General probabilistic context-free grammars: any rules, recursive or not, read from text."""

from ..registry import register, register_reader
from .derivation_tree import Tree
from .parameters import PCFGParameters
from .pcfg_grammar import PCFG


register(PCFG, PCFGParameters)
register_reader(PCFG, ".cfg", ".pcfg", ".json")

__all__ = ["PCFG", "PCFGParameters", "Tree"]
