"""The sweep over architectures tells same from different."""

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel, GPT2Config, GPT2LMHeadModel

from benchmarks import zoo
from rhm_hf import Grammar


GRAMMAR = Grammar.from_name(zoo.GRAMMAR)
ROWS = GRAMMAR.sample(2, sampling="iid").astype(np.int64)


def test_architectures_are_judged_as_they_are():
    causal = zoo.visit("gpt2", GPT2Config, GPT2LMHeadModel, GRAMMAR, ROWS)
    assert causal[2:7] == ("causal", "same", "same", "same", "generate")
    masked = zoo.visit("bert", BertConfig, BertForMaskedLM, GRAMMAR, ROWS)
    assert masked[2:7] == ("masked", "same", "same", "same", "-")
    refused = zoo.visit("bert", BertConfig, BertLMHeadModel, GRAMMAR, ROWS)
    assert (refused.kl, refused.note[:27]) == ("refused", "model is a BertLMHeadModel ")
    assert "3 architectures: 2 same, 1 refused. None differs." in zoo.table([causal, masked, refused])


class SeesOneLess(GPT2LMHeadModel):
    """Its law is another one where the mask is given, which one forward a prefix leaves out."""

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        out = super().forward(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        if attention_mask is not None:
            out.logits = out.logits + torch.arange(out.logits.shape[-1])
        return out


def test_what_differs_is_found():
    found = zoo.visit("gpt2", GPT2Config, SeesOneLess, GRAMMAR, ROWS)
    assert found.kl == "differs"
    assert "Differs: SeesOneLess." in zoo.table([found])
