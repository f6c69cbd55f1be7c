"""Exact inference under general grammars, in torch."""

from .pcfg_laws import PCFGLaws
from .span_posteriors import Posteriors, Spans


__all__ = ["PCFGLaws", "Posteriors", "Spans"]
