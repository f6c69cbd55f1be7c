"""Pieces of short names."""

FLOAT = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"  # as repr prints a float >= 0
