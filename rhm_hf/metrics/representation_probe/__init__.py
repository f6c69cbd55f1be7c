"""`representation_probe`: whether a layer holds the symbols of a level, or only the way they are written."""

from .similarity import representation_probe


__all__ = ["representation_probe"]
