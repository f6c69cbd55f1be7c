"""Statistics of any token stream."""

from .accumulator import Accumulator


__all__ = ["Accumulator"]
