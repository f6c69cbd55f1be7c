"""`synonym_sensitivity`: how much each layer of a model changes when synonyms are exchanged at a level."""

from .sensitivity import synonym_sensitivity


__all__ = ["synonym_sensitivity"]
