"""Exact inference under general grammars, in torch."""

from .constituents import Posteriors, Spans
from .pcfg_laws import PCFGLaws


__all__ = ["PCFGLaws", "Posteriors", "Spans"]
