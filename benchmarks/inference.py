"""Exact inference against what people would write or run instead. One thread for both sides, float32.

The plain belief propagation has the form in which research code has it: dense tensors, every node of the tree, the
weights of all rules scattered into a tensor `(v, rules, nodes, s)` that is summed over the rules.
"""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.timing import Row, compare
from rhm_hf.grammar import Grammar
from rhm_hf.inference import next_token_probs, posteriors


class PlainBeliefPropagation:
    """Sum-product messages of all nodes of all sentences, `(nodes, v)` a level; posteriors of every level."""

    def __init__(self, grammar: Grammar, dtype: torch.dtype):
        self.rules = [torch.tensor(r, dtype=torch.int64) for r in grammar.rules[::-1]]  # leaves first
        self.root, self.dtype = torch.tensor(grammar.root_probs, dtype=dtype), dtype

    def __call__(self, evidence: torch.Tensor) -> list[torch.Tensor]:
        """Posteriors `(batch, nodes, v)` of every level, leaves first, from likelihoods `(batch, d, v)`."""
        batch = len(evidence)
        up = [evidence.flatten(0, 1)]
        for rules in self.rules:
            symbols, synonyms, size = rules.shape
            below = up[-1].view(-1, size, up[-1].shape[1])
            weights = torch.ones(len(below), symbols, synonyms, dtype=self.dtype)
            for child in range(size):
                weights = weights * below[:, child][:, rules[:, :, child]]
            message = weights.sum(2)
            up.append(message / message.sum(1, keepdim=True))
        down = self.root.expand(batch, -1)
        laws = [self.law(up[-1], down, batch)]
        for level in range(len(self.rules) - 1, -1, -1):
            rules = self.rules[level]
            symbols, synonyms, size = rules.shape
            flat = rules.view(-1, size)
            below = up[level].view(-1, size, up[level].shape[1])
            dense = torch.zeros(up[level].shape[1], len(flat), len(below), size, dtype=self.dtype)
            for child in range(size):
                weights = down.repeat_interleave(synonyms, 1)
                for sibling in range(size):
                    if sibling != child:
                        weights = weights * below[:, sibling][:, flat[:, sibling]]
                dense[flat[:, child], torch.arange(len(flat)), :, child] = weights.t()
            message = dense.sum(1).permute(1, 2, 0).flatten(0, 1)
            down = message / message.sum(1, keepdim=True)
            laws.append(self.law(up[level], down, batch))
        return laws[::-1]

    @staticmethod
    def law(up: torch.Tensor, down: torch.Tensor, batch: int) -> torch.Tensor:
        product = up * down
        return (product / product.sum(1, keepdim=True)).view(batch, -1, up.shape[1])


def evidence_of(tokens: torch.Tensor, mask: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """float32 likelihoods: one-hot where observed, ones where hidden."""
    onehot = torch.nn.functional.one_hot(tokens, vocab_size).float()
    return onehot.masked_fill_(mask.unsqueeze(2), 1.0)


def data(name: str, num: int) -> tuple[Grammar, torch.Tensor]:
    grammar = Grammar.from_name(name)
    return grammar, torch.as_tensor(grammar.sample(num).astype(np.int64))


def against_gpt2():
    """All next-token laws of a batch against one forward pass of a small GPT-2 on the same batch."""
    from transformers import GPT2Config, GPT2LMHeadModel

    grammar, tokens = data("v16-m4-s2-L6", 64)
    config = GPT2Config(
        vocab_size=19, n_positions=65, n_embd=256, n_layer=3, n_head=8, bos_token_id=16, eos_token_id=16
    )
    model = GPT2LMHeadModel(config).eval()
    with_bos = torch.nn.functional.pad(tokens, (1, 0), value=16)

    def forward():
        with torch.no_grad():
            return model(with_bos, use_cache=False).logits

    row = compare(
        "next-token laws, (16,4,2,6), batch 64, vs GPT-2 forward (3 layers, width 256)",
        lambda: next_token_probs(grammar, tokens, dtype=torch.float32),
        forward,
        ">= 20",
    )
    return noted(row, f"{tokens.numel() / row.ours / 1e6:.2f} M tokens/s")


def against_prefixes():
    """All next-token laws of one sentence against belief propagation repeated for every prefix."""
    grammar, tokens = data("v32-m8-s2-L6", 1)
    plain = PlainBeliefPropagation(grammar, torch.float32)
    positions = torch.arange(tokens.shape[1])

    def repeated():
        laws = [plain(evidence_of(tokens, (positions >= i)[None], 32))[0][:, i] for i in positions.tolist()]
        return torch.stack(laws, 1)

    def ours():
        return next_token_probs(grammar, tokens, dtype=torch.float32)

    torch.testing.assert_close(ours(), repeated(), rtol=0, atol=1e-5)
    row = compare("next-token laws, one (32,8,2,6) sentence, vs BP for every prefix", ours, repeated, "-", repeats=5)
    return noted(row, f"{tokens.numel() / row.ours / 1e6:.3f} M tokens/s")


def against_dense_scatter(name: str, num: int, plain_batch: int):
    """Posteriors of every level, 15 % of the tokens hidden: one call of each on the same sentences.

    The plain code's tensors leave the caches, so cutting the sentences into batches of `plain_batch` makes it faster:
    the note says what it reaches then. Ours chooses its own.
    """
    grammar, tokens = data(name, num)
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.15
    plain = PlainBeliefPropagation(grammar, torch.float32)

    def ours():
        return posteriors(grammar, tokens, mask, dtype=torch.float32)

    def one_batch():
        return plain(evidence_of(tokens, mask, grammar.vocab_size))

    def small_batches():
        return [plain(part) for part in evidence_of(tokens, mask, grammar.vocab_size).split(plain_batch)]

    for law, other in zip(ours(), one_batch(), strict=True):
        torch.testing.assert_close(law, other, rtol=0, atol=1e-5)
    row = compare(f"posteriors, 15 % masks, {name}, {num} sentences", ours, one_batch, ">= 20", repeats=5)
    strict = compare("", ours, small_batches, "", repeats=5)
    return noted(
        row,
        f"{num / row.ours:.0f} sentences/s, plain {num / row.plain:.0f}; plain in batches of {plain_batch} "
        f"{num / strict.plain:.0f}, ratio {strict.ratio:.3g}",
    )


def noted(row, note: str):
    return type(row)(row.name, row.ours, row.plain, row.ratio, row.goal, note)


def rows() -> Iterator[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield against_gpt2()
        yield against_prefixes()
        yield against_dense_scatter("v32-m8-s2-L4", 2048, 8)
        yield against_dense_scatter("v16-m4-s2-L6", 1024, 16)
        yield against_dense_scatter("v64-m8-s4-L4", 32, 1)
        yield against_dense_scatter("v32-m8-s2-L10", 32, 1)
    finally:
        torch.set_num_threads(threads)
