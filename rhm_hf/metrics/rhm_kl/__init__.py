"""`rhm_kl`: the exact Kullback-Leibler divergence from a grammar's law to any causal or masked Hugging Face model."""

from .kl import kl_divergence


__all__ = ["kl_divergence"]
