"""Exact inference under general grammars, in torch."""

from .laws import PCFGLaws
from .spans import Posteriors, Spans


__all__ = ["PCFGLaws", "Posteriors", "Spans"]
