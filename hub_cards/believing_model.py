"""A model that knows what can be known of hidden symbols, and shows it. Cards and tests probe it."""

import torch
from torch.nn import functional as F
from transformers.modeling_outputs import CausalLMOutput

from rhm_hf import RHMForCausalLM
from rhm_hf.inference import causal_posteriors


class BelievingForCausalLM(RHMForCausalLM):
    """The exact law of the next token, with two layers: the id read, one-hot, and the beliefs of all levels, one after
    another, `(batch, length, symbols of level 1 + .. + symbols of level L)`; zero at BOS. Logits are finite.

    It reads BOS and one whole sentence or its beginning.
    """

    def forward(self, input_ids, output_hidden_states=False, **kwargs):
        out = super().forward(input_ids, **kwargs)
        hidden = None
        if output_hidden_states:
            tokens = input_ids[:, 1:].clamp(max=self.config.num_symbols - 1)
            beliefs = torch.cat(causal_posteriors(self.grammar, tokens), -1)
            hidden = (F.one_hot(input_ids, self.config.vocab_size).double(), F.pad(beliefs, (0, 0, 1, 0)))
        return CausalLMOutput(logits=out.logits.clamp(min=-20), hidden_states=hidden)
