"""Rows of different lengths in the statistics of tokens: as documents, by plain loops; padding is no token."""

import math

import numpy as np
import pytest
import torch
from datasets import load_dataset
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, load_metric
from rhm_hf.statistics import token_correlations


GRAMMAR = Grammar.from_name("pcfg-toy_english")
V = GRAMMAR.vocab_size


def rows(num: int, shortest: int = 1) -> list[list[int]]:
    tokens, lengths = GRAMMAR.sample(num, return_lengths=True)
    return [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True) if n >= shortest]


def model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=V + 3, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id = config.eos_token_id = V
    config.pad_token_id = V + 1
    made = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(4)
    return made


@pytest.mark.parametrize("anchor", ["all", "last"])
def test_correlations_are_those_of_plain_counts(anchor, tmp_path):
    found = token_correlations(rows(1500), distances=[1, 3], vocab_size=V, anchor=anchor)
    for t, value in zip((1, 3), found.correlation, strict=True):
        counts = np.zeros((V, V))
        for row in rows(1500):
            for i in range(t, len(row)):
                if anchor == "all" or i == len(row) - 1:
                    counts[row[i - t], row[i]] += 1
        law = counts / counts.sum()
        connected = law - np.outer(law.sum(1), law.sum(0))
        assert value == pytest.approx(math.sqrt((connected**2).mean()), abs=1e-12)
    sizes = {"train_size": 1500, "validation_size": 0, "test_size": 0, "cache_dir": str(tmp_path)}
    dataset = load_dataset("rhm", "pcfg-toy_english", **sizes)["train"]
    same = token_correlations(dataset, distances=[1, 3], vocab_size=V, anchor=anchor)
    np.testing.assert_array_equal(same.correlation, found.correlation)


def test_losses_are_those_of_plain_windows():
    """With all documents of one length n, every window of n tokens is a document: the loss of its last token."""
    network, documents = model(), [row for row in rows(3000) if len(row) == 5]
    ragged = documents + [row for row in rows(400) if len(row) < 5]  # too short for a window
    found = load_metric("context_loss").compute(
        input_ids=ragged, model=network, max_context=4, context_lengths=[1, 4], num_windows=len(documents) * 40
    )
    losses = []
    for n in (1, 4):
        ids = torch.tensor([[V, *row[4 - n :]] for row in documents])
        with torch.no_grad():
            logs = network(ids).logits[:, -2].log_softmax(-1)
        losses.append(-float(logs.gather(1, ids[:, -1:]).mean()))
    drawn = dict(zip(found["context_lengths"], found["loss"], strict=True))
    assert [drawn[1], drawn[4]] == pytest.approx(losses, abs=5 * max(found["loss_stderr"]) + 1e-6)


def test_padding_is_refused():
    padded = GRAMMAR.sample(200)
    with pytest.raises(ValueError, match=f"tokens holds {V + 1}, out of range"):
        token_correlations(padded, distances=[1], vocab_size=V, anchor="all")
    with pytest.raises(ValueError, match=f"rows that end with {V + 1}, the model's padding.*list of lists"):
        load_metric("context_loss").compute(input_ids=padded, model=model())
