"""Statistics of any token stream."""

from .accumulator import Accumulator
from .learner import LearnedLatents, learn_latents, synonym_agreement


__all__ = ["Accumulator", "LearnedLatents", "learn_latents", "synonym_agreement"]
