"""Configuration of the hierarchical convolutional network."""

from typing import Any

from ...checks import check_integer, checked
from ..configuration_feedforward import FeedForwardConfig
from ..sizes import Width


class HierarchicalCNNConfig(FeedForwardConfig):
    """Configuration of [`HierarchicalCNNForSequenceClassification`].

    With `filter_size` = s and `num_hidden_layers` = L the network has the shape of the tree behind sentences of s^L
    tokens: one position is left at the top. Of longer inputs the positions that are left are averaged.

    For trees of varying shape, binary and ternary, arXiv 2602.06065 takes `filter_size` 4, `stride` 2 and
    `flat_readout`. Where filters overlap, empty positions are added at the end of the input until they fit: 9 tokens
    (L = 2) become 10, 27 (L = 3) become 30.

    Args:
        filter_size (`int`, *optional*, defaults to 2): s, the filter of every layer.
        stride (`int`, *optional*, defaults to `filter_size`): positions from one filter to the next, 1..`filter_size`.
        flat_readout (`bool`, *optional*, defaults to `False`): whether every position that is left has readout weights
            of its own, instead of their average.
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS = EOS, PAD, MASK.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the length of the input, a multiple of s^L where
            filters do not overlap.
        hidden_size (`int`, *optional*, defaults to 256): channels of every layer.
        num_hidden_layers (`int`, *optional*, defaults to 3): L.
        num_labels (`int`, *optional*, defaults to 2): classes.
    """

    model_type = "hierarchical_cnn"

    @checked
    def __init__(self, filter_size: Width = 2, stride: Width | None = None, flat_readout: bool = False, **kwargs: Any):
        self.filter_size: int = filter_size
        self.stride: int | None = None if stride is None else check_integer("stride", stride, 1, self.filter_size + 1)
        self.flat_readout: bool = flat_readout
        super().__init__(**kwargs)

    @property
    def patch_sizes(self) -> list[int]:
        return [self.filter_size] * self.num_hidden_layers

    @property
    def strides(self) -> list[int]:
        return [self.stride or self.filter_size] * self.num_hidden_layers
