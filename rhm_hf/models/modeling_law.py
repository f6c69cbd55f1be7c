"""Laws over sequences of symbols as Hugging Face models without parameters: their logits are log probabilities.

What the oracles and the n-gram models share: buffers that no dtype conversion rounds, BOS and padding, the rows after
a complete sentence, generation defaults that reproduce the law (sampling, no top-k, no key-value cache).
"""

import math

import torch
from torch.nn import functional as F
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_law import LawConfig


class LawPreTrainedModel(PreTrainedModel):
    """A model whose numbers are buffers, integer or float64, and never rounded."""

    config_class = LawConfig
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

    def _check_ids(self, input_ids: torch.Tensor) -> None:
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

    def _align(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sentences moved to the left, after any left padding and one BOS.

        Returns:
            int64 ids of the shape of `input_ids`, MASK beyond their end, and how many ids were skipped, `(batch,)`.
        """
        config = self.config
        width = input_ids.shape[1]
        skipped = (input_ids == config.pad_token_id).long().cumprod(1).sum(1)
        first = input_ids.gather(1, skipped.clamp(max=width - 1)[:, None])[:, 0]
        skipped = skipped + (first == config.bos_token_id)
        source = skipped[:, None] + torch.arange(width, device=input_ids.device)
        aligned = input_ids.gather(1, source.clamp(max=width - 1))
        return torch.where(source < width, aligned, config.mask_token_id).long(), skipped


class LawForCausalLM(LawPreTrainedModel, GenerationMixin):
    """A next-token law as a causal language model; subclasses give [`LawForCausalLM.next_probs`].

    Logits are log P(x_i = . | x_<i) over the symbols, -inf elsewhere. Where `config.sentence_length` is set, all mass
    is on EOS after a complete sentence.
    """

    def __init__(self, config: LawConfig):
        super().__init__(config)
        length = config.sentence_length
        self.generation_config = GenerationConfig(
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            use_cache=False,
            max_new_tokens=256 if length is None else length,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor) -> torch.Tensor:
        """The laws of the tokens of a prefix and of the one that follows.

        Args:
            symbols (`torch.Tensor`): int64 `(batch, t)`, t at most the sentence length; 0 where there is no symbol.
            is_symbol (`torch.Tensor`): bool `(batch, t)`, False where the input had a special id.

        Returns:
            `torch.Tensor` of shape `(batch, min(t + 1, sentence length), v)`; every row sums to 1.
        """
        raise NotImplementedError

    @torch.no_grad()
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_dict: bool = True,
        **kwargs,
    ) -> CausalLMOutput:
        """Next-token log probabilities.

        Args:
            input_ids (`torch.Tensor`): ids `(batch, length)`, BOS first or not, left padding allowed.
            attention_mask (`torch.Tensor`, *optional*): ignored; padding is known by its id.
            labels (`torch.Tensor`, *optional*): ids `(batch, length)`, shifted inside, -100 left out.

        Returns:
            `CausalLMOutput` with `logits` `(batch, length, vocab_size)`; `loss` in nats per label.
        """
        config, length = self.config, self.config.sentence_length
        self._check_ids(input_ids)
        aligned, skipped = self._align(input_ids)
        is_symbol = aligned < config.num_symbols
        symbols = torch.where(is_symbol, aligned, 0)
        probs = self.next_probs(symbols[:, :length], is_symbol[:, :length])
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
