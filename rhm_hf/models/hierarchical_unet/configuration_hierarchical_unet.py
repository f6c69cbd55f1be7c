"""Configuration of the hierarchical U-Net: as many levels as the grammar, filters as wide as its rules."""

import math
from typing import Annotated, Any

from transformers import PretrainedConfig

from ...checks import MAX_VOCAB_SIZE, NonNegative, Range, checked
from ..sizes import NumParts, Width, check_labels, check_weights


class HierarchicalUNetConfig(PretrainedConfig):
    """Configuration of [`HierarchicalUNetForMaskedLM`].

    Args:
        vocab_size (`int`, *optional*, defaults to 19): v + 3 ids: symbols, BOS, PAD, MASK. A sentence is read as it
            is, without BOS; PAD = v + 1 and MASK = v + 2 are ids like the others, each with a vector of its own.
        hidden_size (`int`, *optional*, defaults to 256): channels at every level.
        num_hidden_layers (`int`, *optional*, defaults to 3): levels of the down path, and of the up path; L.
        filter_size (`int`, *optional*, defaults to 2): filter and stride of the convolutions; s.
        max_position_embeddings (`int`, *optional*): d, the length of the sentences, a multiple of s^L; by default s^L.
        time_embedding (`bool`, *optional*, defaults to `False`): whether the model is told the diffusion time.
        initializer_range (`float`, *optional*, defaults to 1.0): initial weights are normal with this standard
            deviation times sqrt(2 / fan-in), which keeps activations of order 1 at any depth and width.

    Raises:
        `ValueError`: for sizes that do not fit together.
    """

    model_type = "hierarchical_unet"

    @checked
    def __init__(
        self,
        vocab_size: Annotated[int, Range(5, MAX_VOCAB_SIZE + 3)] = 19,
        hidden_size: Annotated[int, Range(2, 2**31)] = 256,
        num_hidden_layers: NumParts = 3,
        filter_size: Annotated[int, Range(2, 2**31)] = 2,
        max_position_embeddings: Width | None = None,
        time_embedding: bool = False,
        initializer_range: NonNegative = 1.0,
        **kwargs: Any,
    ):
        check_labels(kwargs)
        if num_hidden_layers * math.log2(filter_size) > 31:
            raise ValueError(
                f"num_hidden_layers={num_hidden_layers} is too large: with filter_size={filter_size} the model would "
                f"read {filter_size}^{num_hidden_layers} tokens; at most 2^31 are supported"
            )
        block = filter_size**num_hidden_layers
        length = block if max_position_embeddings is None else max_position_embeddings
        if length % block:
            raise ValueError(
                f"max_position_embeddings={length} must be a multiple of filter_size^num_hidden_layers = {block}, so "
                "that every level divides evenly: for a grammar take filter_size=s and num_hidden_layers=L"
            )
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.filter_size = filter_size
        self.max_position_embeddings = length
        self.time_embedding = time_embedding
        self.initializer_range = initializer_range
        num_weights = hidden_size * (3 * vocab_size + 3 * num_hidden_layers * filter_size * hidden_size)
        check_weights(self, num_weights, "vocab_size", "hidden_size", "num_hidden_layers", "filter_size")
        self.mask_token_id: int = vocab_size - 1
        # There is no room for BOS before a sentence, whatever others give: metrics put one where a model has it.
        given = ("bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id")
        super().__init__(
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=vocab_size - 2,
            **{name: value for name, value in kwargs.items() if name not in given},
        )
