"""Configuration of the attention-only stacks."""

from typing import Any

from ...checks import NonNegative, checked
from ..configuration_symbols import SymbolsConfig
from ..sizes import NumParts, check_weights


class AttentionOnlyConfig(SymbolsConfig):
    """Configuration of [`AttentionOnlyForCausalLM`] and [`AttentionOnlyForMaskedLM`].

    Args:
        num_attention_heads (`int`, *optional*, defaults to 8): heads of every layer; must divide `hidden_size`.
        initializer_range (`float`, *optional*, defaults to 1.0): standard deviation of all weights at the start. The
            forward pass scales them by 1/sqrt(fan-in), so that 1 is right at every width.
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS = EOS, PAD, MASK.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the longest input, BOS included.
        hidden_size (`int`, *optional*, defaults to 256): width.
        num_hidden_layers (`int`, *optional*, defaults to 3): layers of attention.
    """

    model_type = "attention_only"

    @checked
    def __init__(self, num_attention_heads: NumParts = 8, initializer_range: NonNegative = 1.0, **kwargs: Any):
        self.num_attention_heads: int = num_attention_heads
        self.initializer_range = initializer_range
        super().__init__(**kwargs)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} does not divide hidden_size={self.hidden_size}: each "
                "head takes an equal share of the channels"
            )
        width = self.hidden_size
        num_weights = width * (2 * self.vocab_size + self.max_position_embeddings + 4 * self.num_hidden_layers * width)
        check_weights(self, num_weights, "vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers")
