"""The exact grammar as Hugging Face models: logits are exact log probabilities, in nats.

Notable choices: rules and probabilities are buffers that no dtype conversion rounds; tables are derived from them at
the first call; a call reads the whole prefix (there is no key-value cache); the generation defaults that are saved
reproduce the law (sampling, no top-k).
"""

import math

import torch
from torch.nn import functional as F
from transformers.modeling_outputs import MaskedLMOutput, SequenceClassifierOutput

from ...grammar import Source
from ...grammar.registry import rebuilt
from ...inference import posteriors, prefix_probs
from ..modeling_law import LawForCausalLM, LawPreTrainedModel
from .configuration_rhm import RHMConfig


class RHMPreTrainedModel(LawPreTrainedModel):
    """What the three oracles share: the grammar as buffers, and saving it beside the weights."""

    config_class = RHMConfig

    def __init__(self, config: RHMConfig):
        super().__init__(config)
        for name, (dtype, shape) in config.buffer_shapes.items():
            self.register_buffer(name.replace(".", "_"), torch.zeros(shape, dtype=getattr(torch, dtype)))
        self._grammar = None
        self.post_init()

    @classmethod
    def from_grammar(cls, grammar: Source, **config_kwargs) -> "RHMPreTrainedModel":
        """The oracle of a grammar.

        Args:
            grammar ([`Grammar`] or a source of another family): whose law the model is.
            config_kwargs: further fields of [`RHMConfig`]: `context_level=` or `context_length=` for a causal model
                with a shorter context, `dtype=torch.float32` to compute in single precision (float64 by default).
        """
        return cls(cls.config_class.from_grammar(grammar, **config_kwargs))._hold(grammar).eval()

    def _hold(self, grammar: Source) -> "RHMPreTrainedModel":
        """Copies the grammar of the configuration's shapes into the buffers."""
        for name, array in grammar.arrays().items():
            getattr(self, name.replace(".", "_")).copy_(torch.tensor(array))
        return self

    @property
    def grammar(self) -> Source:
        """The grammar that the buffers hold, built at the first use."""
        if self._grammar is None:
            config = self.config
            arrays = {name: self._buffers[name.replace(".", "_")].cpu().numpy() for name in config.buffer_shapes}
            record = (
                {"family": "layered", "settings": {"vocab_size": config.num_symbols}}
                if config.source is None
                else config.source
            )
            self._grammar = rebuilt({**record, "parameters": config.grammar_parameters}, arrays)
        return self._grammar

    def save_pretrained(self, save_directory, **kwargs):
        """Saves the model, and the grammar in its folder `grammar/` for [`Grammar.from_pretrained`]."""
        super().save_pretrained(save_directory, **kwargs)
        self.grammar.save_pretrained(f"{save_directory}/grammar")


class RHMForCausalLM(RHMPreTrainedModel, LawForCausalLM):
    """The exact next-token law as a causal language model: the best possible one, or the best with a shorter context.

    Logits are log P(x_i = . | x_<i) over the symbols, -inf elsewhere. After a complete sentence all mass is on EOS.
    After an impossible prefix, or one with a special id in it, there is no law: the row is uniform over the symbols.
    """

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor) -> torch.Tensor:
        config = self.config
        probs, possible = prefix_probs(
            self.grammar,
            symbols,
            context_level=config.context_level,
            context_length=config.context_length,
            dtype=self.dtype,
        )
        read = is_symbol.long().cumprod(1).bool()[:, : probs.shape[1] - 1]  # nothing special among the ids read
        possible = possible & F.pad(read, (1, 0), value=True)
        return torch.where(possible[..., None], probs, 1 / config.num_symbols)


class _RHMBidirectional(RHMPreTrainedModel):
    """Oracles that read a whole sentence; every id that is no symbol (MASK above all) hides its token."""

    def __init__(self, config: RHMConfig):
        if config.context_level is not None or config.context_length is not None:
            raise ValueError(
                f"context_level={config.context_level}, context_length={config.context_length}: {type(self).__name__} "
                "reads whole sentences; only RHMForCausalLM has a shorter context"
            )
        super().__init__(config)

    def _posterior(self, input_ids, evidence, level) -> torch.Tensor:
        """The exact posterior of the nodes of a level, uniform where the evidence is impossible."""
        given = {"evidence": evidence}
        if evidence is None:
            length = self.config.sentence_length
            if input_ids.shape[1] not in (length, length + 1):
                raise ValueError(
                    f"input_ids has shape {tuple(input_ids.shape)}: sentences of this grammar have {length} tokens, "
                    f"{length + 1} with BOS"
                )
            tokens = self._align(input_ids)[0][:, :length]
            hidden = tokens >= self.config.num_symbols
            given = {"tokens": torch.where(hidden, 0, tokens), "mask": hidden}
        laws, _ = posteriors(self.grammar, **given, dtype=self.dtype, return_log_evidence=True)
        return laws[level]  # without return_log_evidence, impossible evidence would be an error


class RHMForMaskedLM(_RHMBidirectional):
    """The exact posterior of every token given the visible ones: the best possible masked language model and denoiser.

    Logits are log P(x_i = . | visible tokens) over the symbols, -inf elsewhere; a visible token's row has all mass on
    it. Where the visible tokens are impossible together there is no law and the rows are uniform.
    """

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        evidence: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs,
    ) -> MaskedLMOutput:
        """Exact log posteriors of the tokens.

        Args:
            input_ids (`torch.Tensor`): ids `(batch, d)` or `(batch, d + 1)` with BOS first; MASK hides a token.
            attention_mask (`torch.Tensor`, *optional*): ignored; what is no symbol is hidden.
            labels (`torch.Tensor`, *optional*): ids of the shape of `input_ids`, -100 left out.
            evidence (`torch.Tensor`, *optional*): instead of `input_ids`, non-negative soft evidence `(batch, d, v)`,
                such as the likelihood of every symbol under a noise process.

        Returns:
            `MaskedLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label. BOS is
            its own law.
        """
        logits = self._log_probs(self._posterior(input_ids, evidence, 0), self.config.vocab_size)
        if input_ids is not None and input_ids.shape[1] > self.config.sentence_length:
            start = torch.full_like(logits[:, :1], -math.inf)
            start[..., self.config.bos_token_id] = 0
            logits = torch.cat([start, logits], 1)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten().long(), ignore_index=-100)
        return MaskedLMOutput(loss, logits) if return_dict else tuple(x for x in (loss, logits) if x is not None)


class RHMForSequenceClassification(_RHMBidirectional):
    """The exact posterior of the root given the tokens (those not hidden by MASK): the best possible classifier."""

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        evidence: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Exact log posteriors of the class.

        Args:
            input_ids, attention_mask, evidence: as in [`RHMForMaskedLM`].
            labels (`torch.Tensor`, *optional*): classes `(batch,)`.

        Returns:
            `SequenceClassifierOutput` with `logits` `(batch, num_classes)`; `loss` in nats per sentence.
        """
        logits = self._posterior(input_ids, evidence, -1)[:, 0].log()
        loss = None if labels is None else F.cross_entropy(logits, labels.long())
        if return_dict:
            return SequenceClassifierOutput(loss, logits)
        return tuple(x for x in (loss, logits) if x is not None)
