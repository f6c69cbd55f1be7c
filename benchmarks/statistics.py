"""Pair counts at several distances against numpy: `bincount` and its index arithmetic, `unique` where v^2 is large."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import Row, compare
from rhm_hf.grammar import Grammar
from rhm_hf.statistics import PairCounts


DISTANCES = (1, 2, 3, 5, 8, 13, 21, 34)


def bincounts(tokens: np.ndarray, vocab_size: int) -> Callable[[], list[np.ndarray]]:
    """One text, or rows counted at all positions."""
    return lambda: [
        np.bincount(
            (tokens[..., :-t].astype(np.int64) * vocab_size + tokens[..., t:]).ravel(), minlength=vocab_size**2
        )
        for t in DISTANCES
    ]


def ours(tokens: np.ndarray, vocab_size: int, **settings) -> Callable[[], PairCounts]:
    """Counting into 32 blocks, checks of the ids included."""
    settings = {"block_length": tokens.size // 32, **settings}
    return lambda: PairCounts(DISTANCES, vocab_size, **settings).add(tokens)


def noted(row: Row, tokens: np.ndarray) -> Row:
    """With the time for one pair; rows have a few pairs less than tokens times distances."""
    return replace(row, note=f"{row.ours / tokens.size / len(DISTANCES) * 1e9:.2f} ns a token and distance")


def text(length: int, vocab_size: int) -> np.ndarray:
    """Symbols with probabilities ~ 1 / rank, repeated now and then, as letters are."""
    rng = np.random.default_rng(0)
    law = 1 / np.arange(1, vocab_size + 1)
    tokens = rng.choice(vocab_size, length, p=law / law.sum())
    again = rng.random(length) < 0.2
    tokens[1:][again[1:]] = tokens[:-1][again[1:]]
    return tokens


def rows() -> Iterator[Row]:
    """Single-threaded on both sides but for the row that says otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        characters = text(2**23, 65).astype(np.uint8)
        yield noted(
            compare(
                "pair counts, 8 M characters of 65, 8 distances, vs numpy.bincount",
                ours(characters, 65),
                bincounts(characters, 65),
                ">= 3",
            ),
            characters,
        )
        sentences = Grammar.from_name("v32-m8-s2-L6").sample(2**17)
        yield noted(
            compare(
                "same, 131 072 sentences of (32,8,2,6), all positions",
                ours(sentences, 32, anchor="all"),
                bincounts(sentences, 32),
                ">= 3",
            ),
            sentences,
        )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        yield noted(
            compare(
                f"same characters, {cores} threads, vs one",
                ours(characters, 65, num_threads=cores),
                ours(characters, 65),
                f"{cores}",
            ),
            characters,
        )
        subwords = text(2**20, 50_257)
        yield noted(
            compare(
                "1 M tokens of 50 257, sparse, vs numpy.unique",
                ours(subwords, 50_257),
                lambda: [np.unique(subwords[:-t] * 50_257 + subwords[t:], return_counts=True) for t in DISTANCES],
                ">= 1",
                repeats=3,
            ),
            subwords,
        )
    finally:
        torch.set_num_threads(threads)
