"""What cards say about data sets: measured or computed here, nothing typed by hand."""

import datasets

from ..cards import CITATION, LICENSE, big_integer, grammar_facts, markdown_table, size_category
from .reading import checksum


__all__ = [
    "CITATION",
    "FEATURE_HEADER",
    "LICENSE",
    "SPLIT_HEADER",
    "big_integer",
    "feature_rows",
    "grammar_facts",
    "markdown_table",
    "size_category",
    "split_bytes",
    "split_rows",
]
FEATURE_HEADER = ["column", "type", "meaning"]
SPLIT_HEADER = ["split", "sentences", "bytes", "SHA-256 of the tokens, first 16 digits"]


def feature_rows(features: datasets.Features) -> list[list[str]]:
    """A row of `FEATURE_HEADER` for every feature of a dataset of [`RHMDatasetBuilder`]."""
    meanings = {"input_ids": "the sentence (level 0)", "label": "the root symbol (level L)"}
    rows = []
    for name, feature in features.items():
        kind = f"ClassLabel({feature.num_classes})" if isinstance(feature, datasets.ClassLabel) else repr(feature)
        rows.append([f"`{name}`", f"`{kind}`", meanings.get(name, f"the hidden symbols of {name.replace('_', ' ')}")])
    return rows


def split_rows(dataset: datasets.DatasetDict, lengths_vary: bool = False) -> list[list[str]]:
    """A row of `SPLIT_HEADER` for every split; bytes are those in memory."""
    return [
        [name, f"{len(split):,}", f"{split_bytes(split):,}", f"`{checksum(split, lengths_vary=lengths_vary)[:16]}`"]
        for name, split in dataset.items()
    ]


def split_bytes(dataset: datasets.Dataset) -> int:
    """The size of the rows in Arrow, of those selected only."""
    if len(dataset) == 0:
        return 0
    return sum(batch.nbytes for batch in dataset.with_format("arrow").iter(batch_size=2**14))
