"""`belief_probe`: how much of the exact posterior of hidden symbols, given the prefix, each layer holds linearly."""

from .belief_maps import belief_probe


__all__ = ["belief_probe"]
