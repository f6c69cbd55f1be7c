"""`token_correlations`: C~(t) of any dataset or text, its noise, its decay and the effective context."""

from .measure import measure_correlations


__all__ = ["measure_correlations"]
