"""General probabilistic context-free grammars: any rules, recursive or not, read from text."""

from .parameters import PCFGParameters
from .pcfg import PCFG
from .tree import Tree


__all__ = ["PCFG", "PCFGParameters", "Tree"]
