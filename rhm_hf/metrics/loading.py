"""Moved to [`rhm_hf.judging`]; this name stays until everything imports from there."""

from rhm_hf.judging.bare import evaluating, share_of_process
from rhm_hf.judging.loading import ModelCache, load_model, load_tokenizer


__all__ = ["ModelCache", "evaluating", "load_model", "load_tokenizer", "share_of_process"]
