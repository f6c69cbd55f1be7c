"""Configuration of the LSTM."""

from typing import Any

from ...checks import checked
from ..configuration_symbols import SymbolsConfig
from ..sizes import check_weights


class LSTMConfig(SymbolsConfig):
    """Configuration of [`LSTMForCausalLM`] and [`LSTMForSequenceClassification`].

    Args:
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS = EOS, PAD, MASK.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the longest input, BOS included. No weight depends
            on it.
        hidden_size (`int`, *optional*, defaults to 256): width of the embedding and of every layer's state.
        num_hidden_layers (`int`, *optional*, defaults to 3): layers.
        num_labels (`int`, *optional*, defaults to 2): classes.
    """

    model_type = "lstm"

    @checked
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        width = self.hidden_size
        num_weights = width * (2 * self.vocab_size + 8 * self.num_hidden_layers * width)
        check_weights(self, num_weights, "vocab_size", "hidden_size", "num_hidden_layers")
