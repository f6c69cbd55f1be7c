"""What the configurations of feed-forward networks share."""

from typing import Any

from .configuration_symbols import SymbolsConfig


class FeedForwardConfig(SymbolsConfig):
    """Configuration of a feed-forward network whose layers read adjacent patches, without overlap.

    `max_position_embeddings` is the length of the input: these networks read no other. Subclasses give
    [`FeedForwardConfig.patch_sizes`]. The other arguments are those of [`SymbolsConfig`], and transformers' own
    `num_labels` (2 by default, as everywhere in transformers).
    """

    shared_filters = True  # one filter for all positions of a layer
    lazy = False  # whether the network is linearised around its initialisation

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_positions  # noqa: B018  raises where the layers do not fit

    @property
    def patch_sizes(self) -> list[int]:
        """How many positions of the layer below one position reads, first layer first."""
        raise NotImplementedError

    @property
    def num_positions(self) -> list[int]:
        """Positions of the input and of every layer."""
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
