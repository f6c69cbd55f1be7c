"""Encoding characters: our look-up against the tokenizer itself, and against a dictionary in a Python loop."""

import dataclasses
import pydoc_data.topics
from collections.abc import Iterator

import datasets

from benchmarks.timing import Row, compare
from rhm_hf.data import CharEncoder, char_corpus


REPEATS = 30  # of the 0.5 MB of English that every Python brings along
TOKENIZED = 50_000  # characters that the tokenizer gets; its time is scaled to the whole


def rows() -> Iterator[Row]:
    """Two rows: the same text by each of the two plain ways."""
    text = "".join(pydoc_data.topics.topics.values()) * REPEATS
    corpus = char_corpus(datasets.Dataset.from_dict({"text": [text]}))
    encode, vocabulary = CharEncoder(corpus.tokenizer), corpus.tokenizer.get_vocab()
    size = f"{len(text) / 1e6:.0f} M characters to ids"

    def ours():
        return encode(text)

    row = compare(f"{size}; plain: a dictionary", ours, lambda: [vocabulary[c] for c in text], "5e7 characters/s")
    yield _with_rates(row, len(text))
    sample, scale = text[:TOKENIZED], len(text) / TOKENIZED
    name = f"{size}; plain: the tokenizer on {TOKENIZED:,}, scaled"
    row = compare(name, ours, lambda: corpus.tokenizer(sample, verbose=False), "5e7 characters/s")
    yield _with_rates(dataclasses.replace(row, plain=row.plain * scale, ratio=row.ratio * scale), len(text))


def _with_rates(row: Row, size: int) -> Row:
    return dataclasses.replace(row, note=f"{size / row.ours:.3g} characters/s against {size / row.plain:.3g}")
