"""Feed-forward classifiers of symbols in the mean-field parametrisation: convolutional, locally or fully connected.

Notable choices, those of Cagnetta et al., arXiv 2307.02129:

- Weights are N(0, 1) at the start and the forward pass scales them: a hidden layer by 1/sqrt(fan-in), so that
  pre-activations are of order 1 at every width, the readout by 1/width, so that the output starts near 0 and the
  network learns features at every width. With SGD the learning rate is then of order width.
- The input is one-hot and of mean square 1; an id that is no symbol is an empty position, all zero. There are no
  biases, so that what is empty stays so: a patch of empty positions has the activation 0.
- A patch of p positions and c channels is read as p c numbers, and each layer is one matrix product.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_feedforward import FeedForwardConfig
from .modeling_symbols import as_output, check_tensors, checked_ids, cross_entropy
from .readable import ReadableWeights


class PatchLayer(nn.Module):
    """A linear map of patches, one for all of them or one for each.

    Args:
        patch_size (`int`): positions of a patch.
        in_channels (`int`), out_channels (`int`): channels of a position, below and here.
        num_filters (`int`): 1 where all positions share the filter, otherwise the number of positions.
        scale (`float`): factor of the output.
        lazy (`bool`): whether `weight` is the distance from a fixed `initial_weight`, and starts at 0.
        stride (`int`, *optional*, defaults to `patch_size`): from one patch to the next; smaller ones overlap.
    """

    def __init__(
        self,
        patch_size: int,
        in_channels: int,
        out_channels: int,
        num_filters: int,
        scale: float,
        lazy: bool,
        stride: int | None = None,
    ):
        super().__init__()
        self.patch_size: int = patch_size
        self.scale: float = scale
        self.stride: int = stride or patch_size
        shape = (num_filters, out_channels, patch_size * in_channels)
        self.weight: nn.Parameter = nn.Parameter(torch.empty(shape))
        self.register_buffer("initial_weight", torch.empty(shape) if lazy else None)

    def forward(self, x: torch.Tensor, initial: bool = False) -> torch.Tensor:
        """`(batch, positions, in_channels)` to `(batch, patches, out_channels)`."""
        weight = self.initial_weight if initial else self.weight
        if self.stride == self.patch_size:
            patches = x.reshape(len(x), x.shape[1] // self.patch_size, weight.shape[-1])
        else:
            patches = x.unfold(1, self.patch_size, self.stride).transpose(2, 3).flatten(2)
        if len(weight) == 1:
            return F.linear(patches, weight[0]) * self.scale
        return torch.einsum("bpi,poi->bpo", patches, weight) * self.scale


class FeedForwardForSequenceClassification(ReadableWeights, PreTrainedModel):
    """A feed-forward classifier; a family is its configuration's `patch_sizes`, `shared_filters` and `lazy`.

    The logits are W a / width, where a is the last layer averaged over the positions it has left, or, with
    `flat_readout`, W a / (width positions), where a is the last layer as one vector.
    """

    config_class: type[FeedForwardConfig] = FeedForwardConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: FeedForwardConfig):
        super().__init__(config)
        width, channels, layers = config.hidden_size, config.num_symbols, []
        for patch, stride, positions in zip(config.patch_sizes, config.strides, config.num_positions[1:], strict=True):
            filters, scale = 1 if config.shared_filters else positions, (patch * channels) ** -0.5
            layers.append(PatchLayer(patch, channels, width, filters, scale, config.lazy, stride))
            channels = width
        self.layers: nn.ModuleList = nn.ModuleList(layers)
        if config.flat_readout:  # of all positions that are left, as one patch
            width *= config.num_positions[-1]
        # Lazy training is the limit of large widths at 1/sqrt(width), where the tangent kernel is of order 1.
        scale = width**-0.5 if config.lazy else 1 / width
        self.classifier: PatchLayer = PatchLayer(1, width, config.num_labels, 1, scale, config.lazy)
        self.empty_positions: int = config.num_positions[0] - config.max_position_embeddings
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PatchLayer):
            if module.initial_weight is None:
                init.normal_(module.weight)
            else:
                init.normal_(module.initial_weight)
                init.zeros_(module.weight)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Logits of the classes.

        Args:
            input_ids (`torch.Tensor`): integer ids `(batch, max_position_embeddings)`; MASK, or any other id that is
                no symbol, leaves its position empty.
            attention_mask (`torch.Tensor`, *optional*): `(batch, length)`; a position with 0 is empty as well.
            labels (`torch.Tensor`, *optional*): classes `(batch,)`.
            output_hidden_states (`bool`, *optional*, defaults to `False`): whether to return all activations.

        Returns:
            `SequenceClassifierOutput` with `logits` `(batch, num_labels)`; `loss` in nats per sentence;
            `hidden_states`, the input and the activations of every layer, `(batch, positions, channels)` each. Those
            of a lazy network are the ones at its initialisation: they do not move.

        Raises:
            `ValueError`: for ids out of range (looked for on the CPU) or an input of another length.
        """
        x = self._one_hot(input_ids, attention_mask)
        hidden_states, logits = self._linearised(x) if self.config.lazy else self._ordinary(x)
        return as_output(
            SequenceClassifierOutput,
            return_dict,
            loss=None if labels is None else cross_entropy(logits, labels),
            logits=logits,
            hidden_states=hidden_states if output_hidden_states else None,
        )

    def _one_hot(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        config = self.config
        check_tensors(attention_mask=attention_mask)
        ids = checked_ids(input_ids, config, shortest=config.max_position_embeddings)
        # Of mean square 1 over the channels of a symbol. Special ids have channels of their own, which are cut off.
        x = F.one_hot(ids, config.vocab_size)[..., : config.num_symbols].to(self.classifier.weight.dtype)
        x = x * config.num_symbols**0.5
        x = x if attention_mask is None else x * attention_mask[..., None].to(x.dtype)
        return F.pad(x, (0, 0, 0, self.empty_positions)) if self.empty_positions else x

    def _left(self, x: torch.Tensor) -> torch.Tensor:
        """What the readout reads of the last layer, `(batch, 1, channels)`."""
        return x.flatten(1)[:, None] if self.config.flat_readout else x.mean(1, keepdim=True)

    def _ordinary(self, x: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        hidden_states = [x]
        for layer in self.layers:
            x = F.relu(layer(x))
            hidden_states.append(x)
        return tuple(hidden_states), self.classifier(self._left(x))[:, 0]

    def _linearised(self, x: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """J(x) δ with the Jacobian J at the initial weights and δ = the trainable ones, by forward differentiation.

        Beside the activation x of the initial network goes its change dx, to first order in δ.
        """
        hidden_states, dx = [x], None
        for layer in self.layers:
            change = layer(x) if dx is None else layer(x) + layer(dx, initial=True)
            before = layer(x, initial=True)
            x, dx = F.relu(before), change * (before > 0)
            hidden_states.append(x)
        x, dx = self._left(x), self._left(dx)
        return tuple(hidden_states), (self.classifier(x) + self.classifier(dx, initial=True))[:, 0]
