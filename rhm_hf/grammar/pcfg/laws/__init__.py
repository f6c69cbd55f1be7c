"""Exact inference under general grammars, in torch."""

from .pcfg_laws import PCFGLaws
from .constituents import Posteriors, Spans


__all__ = ["PCFGLaws", "Posteriors", "Spans"]
