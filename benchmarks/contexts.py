"""The paired loss by context of a causal model, against a loop of forward passes as people write it.

The model has the shape of a small Llama trained on stories (five layers of width 64, 8 heads, 512 ids, 512 positions),
with random weights: what is measured is the time of the same losses.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.timing import Row, compare
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.context_loss.windows import as_documents, random_windows


WINDOWS, LONGEST, BOS = 32, 413, 1
TARGETS = 8  # of a window, in the second row: as many targets in all


def small_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=BOS,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def plain_loop(model: LlamaForCausalLM, windows: np.ndarray, lengths: list[int]) -> list[float]:
    """For every length and window one forward of BOS and the visible tokens, whose last logits are judged."""
    losses = []
    for n in lengths:
        total = 0.0
        for window in windows:
            inputs = torch.tensor([[BOS, *window[len(window) - 1 - n : -1].tolist()]])
            logits = model(inputs).logits[:, -1]
            total += F.cross_entropy(logits, torch.tensor([int(window[-1])])).item()
        losses.append(total / len(windows))
    return losses


def rows() -> Iterator[Row]:
    """One thread for both; the same windows and lengths, and the same losses to 1e-5 nats."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = small_llama()
        documents = list(np.random.default_rng(0).integers(3, 512, (64, 600)))
        options = {"num_windows": WINDOWS, "max_context": LONGEST}
        found = loss_by_context(model, documents, **options)
        text = as_documents(documents)
        starts = random_windows(text, LONGEST + 1, WINDOWS, 0).starts
        windows = text.ids[starts[:, None] + np.arange(LONGEST + 1)]
        lengths = found["context_lengths"]
        np.testing.assert_allclose(found["loss"], plain_loop(model, windows, lengths), rtol=0, atol=1e-5)
        yield compare(
            f"paired loss at {len(lengths)} contexts up to {LONGEST}, {WINDOWS} windows, Llama of width 64",
            lambda: loss_by_context(model, documents, **options),
            lambda: plain_loop(model, windows, lengths),
            "-",
            repeats=3,
            note="both include every pass; ours also errors, n_sat and gamma",
        )
        few = options | {"num_windows": WINDOWS // TARGETS, "targets_per_window": TARGETS}
        yield compare(
            f"the same of {WINDOWS // TARGETS} windows with {TARGETS} targets each",
            lambda: loss_by_context(model, documents, **few),
            lambda: plain_loop(model, windows, lengths),
            ">= 5",
            repeats=3,
            note="one pass serves several targets, n tokens within a thirty-second",
        )
    finally:
        torch.set_num_threads(threads)
