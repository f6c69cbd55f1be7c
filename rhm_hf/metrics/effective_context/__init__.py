"""`effective_context`: how far the correlations of text that a model generates agree with those of a corpus."""

from .agree import effective_context
from .generation import generate


__all__ = ["effective_context", "generate"]
