"""What the configurations of feed-forward networks share."""

from typing import Any

from .configuration_symbols import SymbolsConfig
from .sizes import check_weights


class FeedForwardConfig(SymbolsConfig):
    """Configuration of a feed-forward network whose layers read adjacent patches, without overlap.

    `max_position_embeddings` is the length of the input: these networks read no other. Subclasses give
    [`FeedForwardConfig.patch_sizes`]. The other arguments are those of [`SymbolsConfig`], and transformers' own
    `num_labels` (2 by default, as everywhere in transformers).
    """

    shared_filters = True  # one filter for all positions of a layer
    lazy = False  # whether the network is linearised around its initialisation
    flat_readout = False  # whether the readout tells the last layer's positions apart, rather than averaging them

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        positions, width, channels = self.num_positions[1:], self.hidden_size, self.num_symbols
        num_weights = width * self.num_labels
        for patch, filters in zip(self.patch_sizes, positions, strict=True):
            num_weights += (1 if self.shared_filters else filters) * width * patch * channels
            channels = width
        check_weights(self, num_weights, "num_symbols", "max_position_embeddings", "hidden_size", "num_hidden_layers")

    @property
    def patch_sizes(self) -> list[int]:
        """How many positions of the layer below one position reads, first layer first."""
        raise NotImplementedError

    @property
    def strides(self) -> list[int]:
        """Positions from one patch to the next, first layer first; by default patches do not overlap."""
        return self.patch_sizes

    @property
    def num_positions(self) -> list[int]:
        """Positions of the input, with the empty ones that are added at its end where patches overlap, and of every
        layer."""
        if self.strides != self.patch_sizes:
            return self._overlapping()
        positions = [self.max_position_embeddings]
        for layer, patch in enumerate(self.patch_sizes, start=1):
            if positions[-1] % patch:
                raise ValueError(
                    f"max_position_embeddings={self.max_position_embeddings} does not fit filter_size={patch} with "
                    f"num_hidden_layers={self.num_hidden_layers}: layer {layer} would read {positions[-1]} positions. "
                    "The input length must be a multiple of filter_size ** num_hidden_layers"
                )
            positions.append(positions[-1] // patch)
        return positions

    def _overlapping(self) -> list[int]:
        """Of the fewest positions that hold the input and that the patches of all layers fit without a rest."""
        left = 0
        while True:
            left += 1
            positions = [left]
            for patch, stride in zip(self.patch_sizes[::-1], self.strides[::-1], strict=True):
                positions.append((positions[-1] - 1) * stride + patch)
            if positions[-1] >= self.max_position_embeddings:
                return positions[::-1]
