"""An LSTM (Hochreiter and Schmidhuber 1997) as a language model and as a classifier.

Token embeddings, n layers of torch's LSTM, a linear readout; no positions, dropout or tied weights. What it knows of
a prefix is a state of fixed size, so that nothing in it ends where the training sentences do.
"""

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput

from ..modeling_symbols import as_output, check_tensors, checked_ids, cross_entropy
from ..readable import ReadableWeights
from ..whole_prefix import WholePrefixGenerationMixin, own_law
from .configuration_lstm import LSTMConfig


class LSTMPreTrainedModel(ReadableWeights, PreTrainedModel):
    """The layers, and a readout of `num_outputs`."""

    config_class = LSTMConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: LSTMConfig, num_outputs: int):
        super().__init__(config)
        width = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(config.num_hidden_layers))
        self.readout = nn.Linear(width, num_outputs)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As torch does: uniform within 1/sqrt(width), embeddings normal."""
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        if isinstance(module, nn.LSTM | nn.Linear):
            bound = self.config.hidden_size**-0.5
            for parameter in module.parameters():
                init.uniform_(parameter, -bound, bound)

    def _run(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The logits of every position `(batch, length, num_outputs)`, and the embedding and all layers' states.

        Padding is read after everything else, wherever it stands: it changes no state that counts.
        """
        check_tensors(attention_mask=attention_mask)
        ids = checked_ids(input_ids, self.config, shortest=1)
        place = None
        if attention_mask is not None and not bool(attention_mask.all()):
            order = (attention_mask == 0).long().argsort(dim=1, stable=True)
            ids, place = ids.gather(1, order), order.argsort(1)
        x = self.embed_tokens(ids)
        states = [x]
        for layer in self.layers:
            x, _ = layer(x)
            states.append(x)
        if place is not None:
            states = [state.gather(1, place[..., None].expand_as(state)) for state in states]
        return self.readout(states[-1]), tuple(states)


class LSTMForCausalLM(LSTMPreTrainedModel, WholePrefixGenerationMixin):
    """An LSTM language model. It keeps no state between calls: each reads the whole prefix. See [`LSTMConfig`]."""

    def __init__(self, config: LSTMConfig):
        super().__init__(config, config.vocab_size)
        longest = max(1, config.max_position_embeddings - 1)  # after BOS
        self.generation_config: GenerationConfig = own_law(config, longest)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> CausalLMOutput:
        """Logits of the next token.

        Args:
            input_ids (`torch.Tensor`): integer ids `(batch, length)`, at most `max_position_embeddings`.
            attention_mask (`torch.Tensor`, *optional*): `(batch, length)`, 0 where padding is hidden.
            labels (`torch.Tensor`, *optional*): ids `(batch, length)`, shifted inside, -100 left out.
            output_hidden_states (`bool`, *optional*, defaults to `False`): whether to return all activations.

        Returns:
            `CausalLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label; `hidden_states`,
            the embedding and the states of every layer, `(batch, length, hidden_size)` each.

        Raises:
            `ValueError`: for ids out of range (looked for on the CPU) or an input that is too long.
        """
        check_tensors(labels=labels)
        logits, states = self._run(input_ids, attention_mask)
        return as_output(
            CausalLMOutput,
            return_dict,
            loss=None if labels is None else cross_entropy(logits[:, :-1], labels[:, 1:]),
            logits=logits,
            hidden_states=states if output_hidden_states else None,
        )


class LSTMForSequenceClassification(LSTMPreTrainedModel):
    """An LSTM that says the class after the last token. See [`LSTMConfig`]."""

    def __init__(self, config: LSTMConfig):
        super().__init__(config, config.num_labels)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Logits of the classes.

        Args:
            input_ids, attention_mask, output_hidden_states: as in [`LSTMForCausalLM`].
            labels (`torch.Tensor`, *optional*): classes `(batch,)`.

        Returns:
            `SequenceClassifierOutput` with `logits` `(batch, num_labels)`, read after the last token that no padding
            is; `loss` in nats per sentence; `hidden_states` as in [`LSTMForCausalLM`].
        """
        logits, states = self._run(input_ids, attention_mask)
        last = torch.full((len(logits),), logits.shape[1] - 1, device=logits.device)
        if attention_mask is not None:
            place = torch.arange(logits.shape[1], device=logits.device)
            last = (place * (attention_mask != 0)).amax(1)
        logits = logits[torch.arange(len(logits), device=logits.device), last]
        return as_output(
            SequenceClassifierOutput,
            return_dict,
            loss=None if labels is None else cross_entropy(logits, labels),
            logits=logits,
            hidden_states=states if output_hidden_states else None,
        )
