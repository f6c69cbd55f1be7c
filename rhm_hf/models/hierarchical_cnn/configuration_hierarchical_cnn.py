"""Configuration of the hierarchical convolutional network."""

from typing import Any

from ...checks import check_integer, checked
from ..configuration_feedforward import FeedForwardConfig


class HierarchicalCNNConfig(FeedForwardConfig):
    """Configuration of [`HierarchicalCNNForSequenceClassification`].

    With `filter_size` = s and `num_hidden_layers` = L the network has the shape of the tree behind sentences of s^L
    tokens: one position is left at the top. Of longer inputs the positions that are left are averaged.

    Args:
        filter_size (`int`, *optional*, defaults to 2): s, filter and stride of every layer.
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS = EOS, PAD, MASK.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the length of the input, a multiple of s^L.
        hidden_size (`int`, *optional*, defaults to 256): channels of every layer.
        num_hidden_layers (`int`, *optional*, defaults to 3): L.
        num_labels (`int`, *optional*, defaults to 2): classes.
    """

    model_type = "hierarchical_cnn"

    @checked
    def __init__(self, filter_size: int = 2, **kwargs: Any):
        self.filter_size: int = check_integer("filter_size", filter_size, 1)
        super().__init__(**kwargs)

    @property
    def patch_sizes(self) -> list[int]:
        return [self.filter_size] * self.num_hidden_layers
