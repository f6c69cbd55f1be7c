"""`memorisation`: how much of what a model generates is copied from its training set."""

from .copies import memorisation


__all__ = ["memorisation"]
