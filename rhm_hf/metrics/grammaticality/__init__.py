"""`grammaticality`: which of a grammar's rules generated sentences obey, level by level."""

from .correctness import grammaticality


__all__ = ["grammaticality"]
