"""The convolutional U-Net of the Random Hierarchy Model's papers on diffusion, as a masked language model.

Sclocchi et al. 2402.16991, Favero et al. 2502.12089: filters and strides are as wide as the rules, so a down path of L
levels ends where the grammar's tree does, and the up path goes back down the tree. Each level joins the features of
its own resolution to those that come from above, as belief propagation joins messages from below and from above. The
ids go in as one-hot channels: MASK, BOS and PAD have channels of their own.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import MaskedLMOutput

from ..modeling_symbols import check_tensor, check_tensors
from ..readable import ReadableWeights
from .configuration_hierarchical_unet import HierarchicalUNetConfig


TIME_SCALE = 1000.0  # times in [0, 1] are spread over the range that sinusoidal features resolve


class TimeEmbedding(nn.Module):
    """Sinusoidal features of a time in [0, 1], then two layers (DDPM 2006.11239): `(batch,)` to `(batch, width)`."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.layers: nn.Sequential = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) / max(1, half) * torch.arange(half, device=t.device))
        angles = TIME_SCALE * t.float()[:, None] * rates
        features = F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, self.width % 2))
        return self.layers(features.to(self.layers[0].weight.dtype))


class HierarchicalUNetForMaskedLM(ReadableWeights, PreTrainedModel):
    """A U-Net whose down path climbs the tree of a grammar and whose up path descends it.

    Level ℓ has its own convolution with filter = stride = s going up the tree and a transposed one going down it, with
    GELUs; the skip of a level is concatenated. Every output sees the whole block of s^L tokens.
    """

    config_class: type[HierarchicalUNetConfig] = HierarchicalUNetConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: HierarchicalUNetConfig):
        super().__init__(config)
        width, s = config.hidden_size, config.filter_size
        self.embeddings = nn.Embedding(config.vocab_size, width)
        self.down: nn.ModuleList = nn.ModuleList(
            nn.Conv1d(width, width, s, s) for _ in range(config.num_hidden_layers)
        )
        self.up: nn.ModuleList = nn.ModuleList(  # up[0] leads to the tokens; only the top level has no skip
            nn.ConvTranspose1d(width * (1 if level == config.num_hidden_layers else 2), width, s, s)
            for level in range(1, config.num_hidden_layers + 1)
        )
        self.head: nn.Linear = nn.Linear(2 * width, config.vocab_size)
        self.time: TimeEmbedding | None = TimeEmbedding(width) if config.time_embedding else None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
            # A transposed convolution with stride = filter sums its input channels once: no filter in its fan-in.
            transposed = isinstance(module, nn.ConvTranspose1d)
            fan_in = module.weight.shape[0] if transposed else module.weight[0].numel()
            gain = 1.0 if module is self.head else 2.0
            init.normal_(module.weight, std=self.config.initializer_range * math.sqrt(gain / fan_in))
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embeddings: nn.Embedding = value

    def get_output_embeddings(self) -> nn.Linear:
        return self.head

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        timesteps: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Logits of every token.

        Args:
            input_ids (`torch.Tensor`): ids `(batch, d)`, MASK or noise where tokens are hidden.
            attention_mask (`torch.Tensor`, *optional*): ignored: sentences have one length.
            timesteps (`torch.Tensor`, *optional*): times in [0, 1], `(batch,)`; needed with `config.time_embedding`.
            labels (`torch.Tensor`, *optional*): ids of the shape of `input_ids`, -100 left out.

        Returns:
            `MaskedLMOutput` with `logits` `(batch, d, vocab_size)`; `loss` in nats per label.

        Raises:
            `ValueError`: for another length, and where times are missing or not wanted.
        """
        check_tensor("input_ids", input_ids)
        check_tensors(attention_mask=attention_mask, timesteps=timesteps, labels=labels)
        length = self.config.max_position_embeddings
        if input_ids.ndim != 2 or input_ids.shape[1] != length:
            raise ValueError(f"input_ids has shape {tuple(input_ids.shape)}: this model reads (batch, {length}) ids")
        if (timesteps is None) != (self.time is None):
            raise ValueError(
                "timesteps=None: config.time_embedding is set, so pass times in [0, 1], (batch,)"
                if timesteps is None
                else "timesteps was given to a model without config.time_embedding"
            )
        hidden = self.embeddings(input_ids)
        if self.time is not None:
            hidden = hidden + self.time(timesteps)[:, None]
        logits = self.head(self._features(hidden.transpose(1, 2)).transpose(1, 2))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten().long(), ignore_index=-100)
        return MaskedLMOutput(loss, logits) if return_dict else tuple(x for x in (loss, logits) if x is not None)

    def _features(self, hidden: torch.Tensor) -> torch.Tensor:
        """Channels `(batch, width, d)` to `(batch, 2 width, d)`: up the tree, down again, skips beside."""
        skips = []
        for convolution in self.down:
            skips.append(hidden)
            hidden = F.gelu(convolution(hidden))
        for convolution, skip in zip(reversed(self.up), reversed(skips), strict=True):
            hidden = torch.cat([F.gelu(convolution(hidden)), skip], 1)
        return hidden
