"""Laws over sequences of symbols as Hugging Face models without parameters: their logits are log probabilities.

What the oracles and the n-gram models share: buffers that no dtype conversion rounds, BOS and padding, the rows after
a complete sentence, generation defaults that reproduce the law (sampling, no top-k, no key-value cache).
"""

import math
from typing import Any

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_law import LawConfig
from .modeling_symbols import check_tensor, check_tensors
from .readable import ReadableWeights
from .whole_prefix import WholePrefixGenerationMixin, own_law


UNBOUNDED = 1024  # tokens that are generated at most where sentences have no longest


class LawPreTrainedModel(ReadableWeights, PreTrainedModel):
    """A model whose numbers are buffers, integer or float64, and never rounded."""

    config_class: type[LawConfig] = LawConfig
    base_model_prefix = ""
    main_input_name = "input_ids"

    def _apply(self, fn, *args, **kwargs):
        # model.half() and its kin move the probabilities but never round them: the law stays exact.
        exact = {name: buffer for name, buffer in self._buffers.items() if buffer.dtype == torch.float64}
        super()._apply(fn, *args, **kwargs)
        for name, buffer in exact.items():
            self._buffers[name] = buffer.to(self._buffers[name].device)
        return self

    def _init_weights(self, module):
        pass  # there are none

    @property
    def device(self) -> torch.device:
        # PreTrainedModel asks the first Parameter, and there is none.
        return next(self.buffers()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the logits: float64 unless the configuration asks for less."""
        asked = str(self.config.dtype).removeprefix("torch.")  # transformers keeps a dtype, or its name
        return torch.float64 if asked in ("None", "float64") else torch.float32

    def _log_probs(self, probs: torch.Tensor, width: int) -> torch.Tensor:
        """Logs of laws over the symbols, padded with -inf to all `width` ids."""
        return F.pad(probs.log(), (0, width - probs.shape[-1]), value=-math.inf)

    def _checked(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids `(batch, length)` of the vocabulary as int64, from any integers (rows of `datasets` may be uint16)."""
        check_tensor("input_ids", input_ids)
        input_ids = input_ids.long()
        if input_ids.ndim != 2 or input_ids.shape[1] == 0:
            raise ValueError(
                f"input_ids has shape {tuple(input_ids.shape)}: it must be (batch, length) with at least one id, such "
                "as BOS for the law of the first token"
            )
        if input_ids.numel():
            lowest, highest = torch.stack(input_ids.aminmax()).tolist()
            if lowest < 0 or highest >= self.config.vocab_size:
                raise ValueError(
                    f"input_ids holds {lowest if lowest < 0 else highest}, out of range: this model has ids 0 to "
                    f"{self.config.vocab_size - 1}"
                )
        return input_ids

    def _visible(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Which ids the mask shows, bool `(batch, length)`; all of them without one."""
        if attention_mask is None:
            return torch.ones_like(input_ids, dtype=torch.bool)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {tuple(attention_mask.shape)}: it must be that of input_ids, "
                f"{tuple(input_ids.shape)}, 0 where an id is hidden"
            )
        return attention_mask.to(input_ids.device).bool()

    def _skipped(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """How many ids stand before every sentence, `(batch,)`: padding on the left, then BOS.

        Padding is what the mask hides; without a mask PAD, and all but the last of several BOS = EOS.
        """
        config, width = self.config, input_ids.shape[1]
        is_bos = input_ids == config.bos_token_id
        if attention_mask is None:
            return (is_bos | (input_ids == config.pad_token_id)).long().cumprod(1).sum(1)
        hidden = ~self._visible(input_ids, attention_mask) | (input_ids == config.pad_token_id)
        skipped = hidden.long().cumprod(1).sum(1)
        return skipped + (is_bos.gather(1, skipped.clamp(max=width - 1)[:, None])[:, 0] & (skipped < width))

    def _align(self, ids: torch.Tensor, skipped: torch.Tensor, beyond: int) -> torch.Tensor:
        """Rows moved to the left by `skipped` `(batch,)`; `beyond` their end, int64 of the shape of `ids`."""
        width = ids.shape[1]
        source = skipped[:, None] + torch.arange(width, device=ids.device)
        return torch.where(source < width, ids.gather(1, source.clamp(max=width - 1)).long(), beyond)


class LawForCausalLM(LawPreTrainedModel, WholePrefixGenerationMixin):
    """A next-token law as a causal language model; subclasses give [`LawForCausalLM.next_probs`].

    Logits are log P(x_i = . | x_<i) over the symbols (and END = EOS where sentences differ in length), -inf elsewhere.
    Where `config.sentence_length` is set, all mass is on EOS after a complete sentence.
    """

    def __init__(self, config: LawConfig):
        super().__init__(config)
        self.generation_config: GenerationConfig = own_law(
            config, self.longest_generated(), top_p=1.0, temperature=1.0
        )

    def longest_generated(self) -> int:
        """Tokens that are generated at most: a sentence."""
        return self.config.sentence_length or 256

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
        """The laws of the tokens of a prefix and of the one that follows.

        Args:
            symbols (`torch.Tensor`): int64 `(batch, t)`, t at most the sentence length; 0 where there is no symbol.
            is_symbol (`torch.Tensor`): bool `(batch, t)`, False where the input had a special id.
            is_end (`torch.Tensor`): bool `(batch, t)`, True where it was EOS.

        Returns:
            `torch.Tensor` of shape `(batch, min(t + 1, sentence length), v)`, or with one more column, that of END;
            every row sums to 1.
        """
        raise NotImplementedError

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Next-token log probabilities.

        Args:
            input_ids (`torch.Tensor`): ids `(batch, length)`, BOS first or not, padding on either side.
            attention_mask (`torch.Tensor`, *optional*): `(batch, length)`, 0 where padding is, whatever its id; by
                default padding is known by its id.
            labels (`torch.Tensor`, *optional*): ids `(batch, length)`, shifted inside, -100 left out.

        Returns:
            `CausalLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label.
        """
        config, length = self.config, self.config.sentence_length
        check_tensors(attention_mask=attention_mask, labels=labels)
        input_ids = self._checked(input_ids)
        skipped = self._skipped(input_ids, attention_mask)
        visible = self._align(self._visible(input_ids, attention_mask), skipped, beyond=0).bool()
        if (visible[:, 1:] & ~visible[:, :-1]).any():
            raise ValueError(
                "attention_mask hides ids between visible ones: a causal law reads a whole prefix. Give a shorter "
                "context with context_length=, or hide tokens from a masked model"
            )
        aligned = torch.where(visible, self._align(input_ids, skipped, config.mask_token_id), config.mask_token_id)
        is_symbol = aligned < config.num_symbols
        symbols = torch.where(is_symbol, aligned, 0)
        is_end = aligned == config.eos_token_id
        probs = self.next_probs(symbols[:, :length], is_symbol[:, :length], is_end[:, :length])
        logits = self._log_probs(probs.to(self.dtype), config.vocab_size)
        if length is not None and input_ids.shape[1] >= length:  # one more row, after a complete sentence
            ended = torch.full_like(logits[:, :1], -math.inf)
            ended[..., config.eos_token_id] = 0
            logits = torch.cat([logits, ended], 1)
        num_read = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device) - skipped[:, None]
        row = num_read.clamp(0, logits.shape[1] - 1)
        logits = logits.gather(1, row[..., None].expand(-1, -1, config.vocab_size))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().long(), ignore_index=-100)
        return CausalLMOutput(loss, logits) if return_dict else tuple(x for x in (loss, logits) if x is not None)
