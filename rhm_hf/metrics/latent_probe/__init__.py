"""`latent_probe`: which latent symbols of a sentence can be read off each layer of a model by a linear map."""

from .probe import latent_probe, ridge


__all__ = ["latent_probe", "ridge"]
