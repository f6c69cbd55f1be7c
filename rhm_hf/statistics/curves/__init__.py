"""Curves of losses against P: intervals, steps, exponents, collapses."""
