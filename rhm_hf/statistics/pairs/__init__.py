"""Pairs of tokens at a distance: counts, laws, correlations, what is read off them, and two texts compared."""
