"""Stacks of multi-head attention and nothing else: no residual connections, norms or MLPs.

The transformers of Cagnetta & Wyart, arXiv 2406.00048: token and learned position embeddings, n layers of attention,
a linear readout. All weights are N(0, 1) at the start and the forward pass scales each product by 1/sqrt(fan-in).
Without residual connections or norms nothing else holds the scale of the signal: with a fixed standard deviation such
as 0.02 each layer would multiply it by (0.02 sqrt(width))^2, 3 percent at width 64. Scaled so, the products keep it at
every width and depth. What is lost is lost to averaging, in the first two layers: they mix independent vectors, so
that the mean square falls, at worst as 1/length; later layers mix vectors that are alike and lose no more.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutput, MaskedLMOutput

from ..modeling_symbols import as_output, check_tensors, checked_ids, cross_entropy
from ..readable import ReadableWeights
from ..whole_prefix import WholePrefixGenerationMixin, own_law
from .configuration_attention_only import AttentionOnlyConfig


class ScaledLinear(nn.Module):
    """x W^T / sqrt(fan-in), without bias; W `(out_channels, in_channels)` is of order 1."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.empty(out_channels, in_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight) * self.weight.shape[1] ** -0.5


class AttentionLayer(nn.Module):
    """Multi-head attention: what it returns replaces what it reads."""

    def __init__(self, config: AttentionOnlyConfig):
        super().__init__()
        self.num_heads: int = config.num_attention_heads
        self.query_key_value: ScaledLinear = ScaledLinear(config.hidden_size, 3 * config.hidden_size)
        self.output: ScaledLinear = ScaledLinear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor, visible: torch.Tensor | None, is_causal: bool) -> torch.Tensor:
        """`(batch, length, hidden_size)` to the same; `visible` `(batch, 1, length, length)`, where not all is."""
        heads = self.query_key_value(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)  # (batch, heads, length, channels of a head) each
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, is_causal=is_causal)
        return self.output(mixed.transpose(1, 2).flatten(2))


class AttentionOnlyPreTrainedModel(ReadableWeights, PreTrainedModel):
    """The stack with its readout; subclasses say what a position sees."""

    config_class: type[AttentionOnlyConfig] = AttentionOnlyConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    causal = False

    def __init__(self, config: AttentionOnlyConfig):
        super().__init__(config)
        self.embed_tokens: nn.Embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions: nn.Embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layers: nn.ModuleList = nn.ModuleList(AttentionLayer(config) for _ in range(config.num_hidden_layers))
        self.lm_head: ScaledLinear = ScaledLinear(config.hidden_size, config.vocab_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding | ScaledLinear):
            init.normal_(module.weight, std=self.config.initializer_range)

    def _run(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Logits `(batch, length, vocab_size)`, and the embedding and the output of every layer."""
        check_tensors(attention_mask=attention_mask, position_ids=position_ids)
        ids = checked_ids(input_ids, self.config, shortest=1)
        if position_ids is None:
            position_ids = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed_tokens(ids) + self.embed_positions(position_ids)
        visible = self._visible(attention_mask)
        hidden_states = [x]
        for layer in self.layers:
            x = layer(x, visible, is_causal=self.causal and visible is None)
            hidden_states.append(x)
        return self.lm_head(x), tuple(hidden_states)

    def _visible(self, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which position sees which, where padding hides some; each sees itself, so that no softmax is empty."""
        if attention_mask is None:
            return None
        length = attention_mask.shape[1]
        visible = attention_mask.bool()[:, None, None, :].expand(-1, 1, length, length)
        visible = visible.tril() if self.causal else visible
        return visible | torch.eye(length, dtype=torch.bool, device=visible.device)


class AttentionOnlyForCausalLM(AttentionOnlyPreTrainedModel, WholePrefixGenerationMixin):
    """An attention-only language model: a position sees itself and those before it.

    It has no key-value cache: each call reads the whole prefix. See [`AttentionOnlyConfig`].
    """

    causal = True

    def __init__(self, config: AttentionOnlyConfig):
        super().__init__(config)
        longest = max(1, config.max_position_embeddings - 1)  # after BOS
        self.generation_config: GenerationConfig = own_law(config, longest)

    def prepare_inputs_for_generation(
        self, input_ids: Any, attention_mask: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The whole prefix, whatever is said of a cache; positions count from the first token that is no padding."""
        if attention_mask is None:
            return {"input_ids": input_ids}
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Logits of the next token.

        Args:
            input_ids (`torch.Tensor`): integer ids `(batch, length)`, at most `max_position_embeddings`.
            attention_mask (`torch.Tensor`, *optional*): `(batch, length)`, 0 where padding is hidden.
            position_ids (`torch.Tensor`, *optional*, defaults to 0, 1, ..): `(batch, length)`.
            labels (`torch.Tensor`, *optional*): ids `(batch, length)`, shifted inside, -100 left out.
            output_hidden_states (`bool`, *optional*, defaults to `False`): whether to return all activations.

        Returns:
            `CausalLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label; `hidden_states`,
            the embedding and the output of every layer, `(batch, length, hidden_size)` each.

        Raises:
            `ValueError`: for ids out of range (looked for on the CPU) or an input that is too long.
        """
        check_tensors(labels=labels)
        logits, hidden_states = self._run(input_ids, attention_mask, position_ids)
        return as_output(
            CausalLMOutput,
            return_dict,
            loss=None if labels is None else cross_entropy(logits[:, :-1], labels[:, 1:]),
            logits=logits,
            hidden_states=hidden_states if output_hidden_states else None,
        )


class AttentionOnlyForMaskedLM(AttentionOnlyPreTrainedModel):
    """An attention-only masked language model: a position sees all others. See [`AttentionOnlyConfig`]."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Logits of the tokens.

        Args:
            input_ids, attention_mask, position_ids, output_hidden_states: as in [`AttentionOnlyForCausalLM`]; MASK
                hides a token.
            labels (`torch.Tensor`, *optional*): ids of the shape of `input_ids`, -100 left out.

        Returns:
            `MaskedLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label; `hidden_states` as
            in [`AttentionOnlyForCausalLM`].
        """
        check_tensors(labels=labels)
        logits, hidden_states = self._run(input_ids, attention_mask, position_ids)
        return as_output(
            MaskedLMOutput,
            return_dict,
            loss=None if labels is None else cross_entropy(logits, labels),
            logits=logits,
            hidden_states=hidden_states if output_hidden_states else None,
        )
