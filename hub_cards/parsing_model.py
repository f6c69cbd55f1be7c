"""A model that knows its grammar and shows it: layer k holds the level-k symbols. Cards and tests probe it."""

import numpy as np
import torch
from torch.nn import functional as F
from transformers.modeling_outputs import SequenceClassifierOutput

from rhm_hf import RHMForSequenceClassification


class ParsingForSequenceClassification(RHMForSequenceClassification):
    """Parses: `hidden_states[k]` are the level-k symbols one-hot, `(batch, nodes, symbols)`; logits are the class.

    A node whose tokens are hidden by MASK, or no subtree of the grammar, is a vector of zeros.
    """

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False, **kwargs):
        grammar = self.grammar
        symbols = torch.where(input_ids < grammar.vocab_size, input_ids, -1).numpy()
        levels = [symbols]
        for level in range(1, grammar.depth + 1):
            tuples = levels[-1].reshape(len(symbols), -1, grammar.tuple_size_at(level))
            rules = grammar.prefix_tree(level).find(tuples.clip(0))
            found = (rules >= 0) & (tuples >= 0).all(-1)
            levels.append(np.where(found, rules // grammar.rules_at(level).shape[1], -1))
        hidden = tuple(
            F.one_hot(torch.from_numpy(s).long() + 1, grammar.num_symbols_at(level) + 1)[..., 1:].float()
            for level, s in enumerate(levels)
        )
        logits = hidden[-1][:, 0]
        return SequenceClassifierOutput(logits=logits, hidden_states=hidden if output_hidden_states else None)
