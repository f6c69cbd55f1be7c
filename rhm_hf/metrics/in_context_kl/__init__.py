"""`in_context_kl`: exact KL of the next sentence after n sentences of a fresh grammar in the prompt."""

from .next_sentence import in_context_kl


__all__ = ["in_context_kl"]
