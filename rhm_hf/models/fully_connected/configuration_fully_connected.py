"""Configuration of the fully connected network."""

from typing import Any

from ...checks import checked
from ..configuration_feedforward import FeedForwardConfig


class FullyConnectedConfig(FeedForwardConfig):
    """Configuration of [`FullyConnectedForSequenceClassification`].

    Args:
        lazy (`bool`, *optional*, defaults to `False`): whether to train the network's linearisation around its
            initialisation, the neural tangent kernel of that width.
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS = EOS, PAD, MASK.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the length of the input.
        hidden_size (`int`, *optional*, defaults to 256): width of every layer.
        num_hidden_layers (`int`, *optional*, defaults to 3): 1 is the shallow baseline.
        num_labels (`int`, *optional*, defaults to 2): classes.
    """

    model_type = "fully_connected"

    @checked
    def __init__(self, lazy: bool = False, **kwargs: Any):
        self.lazy = lazy
        super().__init__(**kwargs)

    @property
    def patch_sizes(self) -> list[int]:
        """The first layer reads everything, so that each layer has one position."""
        return [self.max_position_embeddings] + [1] * (self.num_hidden_layers - 1)
