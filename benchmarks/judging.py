"""Judging a masked model: exact laws of hidden tokens given the visible ones of their own block, at every level."""

from collections.abc import Iterator

import torch
from transformers import BertConfig, BertForMaskedLM

from benchmarks.timing import Row, compare
from rhm_hf.grammar import Grammar
from rhm_hf.inference import block_posteriors, posteriors
from rhm_hf.tasks import Masked


NAME, SENTENCES, HIDDEN = "v16-m4-s2-L5", 1024, 0.15


def rows() -> Iterator[Row]:
    """The laws alone, against a whole pass for each block; then a task made and a model judged, start to end."""
    grammar = Grammar.from_name(NAME)
    tokens = torch.from_numpy(grammar.sample(SENTENCES, seed=1, split="evaluation")).long()
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(2)) < HIDDEN
    levels = range(grammar.depth)

    def ours() -> torch.Tensor:
        return block_posteriors(grammar, tokens, mask, levels)

    def plain() -> torch.Tensor:
        return whole_passes(grammar, tokens, mask, levels)

    torch.testing.assert_close(ours()[:, mask], plain()[:, mask], rtol=0, atol=1e-12)
    blocks = sum(tokens.shape[1] // grammar.block_length(level) for level in levels)
    work = f"laws of hidden tokens at {grammar.depth} levels of blocks, {NAME}, {SENTENCES} sentences"
    yield compare(work, ours, plain, "-", repeats=3, note=f"plain: {blocks} passes over whole sentences")
    model = tiny_bert(grammar)

    def judged() -> None:
        task = Masked(grammar.vocab_size, grammar.sentence_length, grammar, kl_sentences=SENTENCES)
        task.judge(model, batch_size=SENTENCES)

    yield compare(f"a masked task made and BERT judged on it, {NAME}", judged, plain, "< 10 s", repeats=3, note="same")


def whole_passes(grammar: Grammar, tokens: torch.Tensor, mask: torch.Tensor, levels: range) -> torch.Tensor:
    """`block_posteriors` as one would write it: everything outside a block is hidden, for each block in turn."""
    laws = torch.zeros(len(levels), *tokens.shape, grammar.vocab_size, dtype=torch.float64)
    for level in levels:
        size = grammar.block_length(level)
        for start in range(0, tokens.shape[1], size):
            outside = torch.ones_like(mask)
            outside[:, start : start + size] = mask[:, start : start + size]
            found = posteriors(grammar, tokens=tokens, mask=outside)[0]
            laws[level, :, start : start + size] = found[:, start : start + size]
    return laws


def tiny_bert(grammar: Grammar) -> BertForMaskedLM:
    """A BERT of one layer, random: what is measured is the judging."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForMaskedLM(BertConfig(vocab_size=grammar.vocab_size + 3, max_position_embeddings=64, **sizes)).eval()
