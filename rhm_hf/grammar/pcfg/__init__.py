"""General probabilistic context-free grammars: any rules, recursive or not, read from text."""

from ..registry import register
from .parameters import PCFGParameters
from .pcfg import PCFG
from .tree import Tree


register(PCFG, PCFGParameters)

__all__ = ["PCFG", "PCFGParameters", "Tree"]
