"""What cards say about grammars and datasets: measured or computed here, nothing typed by hand."""

import math

import datasets

from ..grammar import Source
from .reading import checksum


CITATION = """@article{cagnetta2024how,
  title = {How Deep Neural Networks Learn Compositional Data: The Random Hierarchy Model},
  author = {Cagnetta, Francesco and Petrini, Leonardo and Tomasini, Umberto M. and Favero, Alessandro and Wyart, Matthieu},
  journal = {Physical Review X},
  volume = {14},
  pages = {031001},
  year = {2024},
  eprint = {2307.02129},
  archivePrefix = {arXiv}
}"""  # noqa: E501


FEATURE_HEADER = ["column", "type", "meaning"]
SPLIT_HEADER = ["split", "sentences", "bytes", "SHA-256 of the tokens, first 16 digits"]


def big_integer(number: int | float) -> str:
    """A count as people read it: exact up to a million, as a power of ten beyond, infinite where nobody counted."""
    if number == math.inf:
        return "too many to count"
    return f"{number:,}" if number <= 10**6 else f"10^{math.log10(number):.2f}"


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows, such as `10K<n<100K`."""
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    decade = max(0, len(str(rows)) - 3)
    if decade == 0:
        return f"n<{bounds[0]}"
    return f"{bounds[decade - 1]}<n<{bounds[decade]}" if decade < len(bounds) else f"n>{bounds[-1]}"


def grammar_facts(grammar: Source) -> dict[str, str]:
    """The figures of a grammar that a card shows, by what they are called."""
    exact = grammar.entropy_stderr == 0
    per_sentence, per_token = grammar.entropy, grammar.entropy / (grammar.mean_length + grammar.lengths_vary)
    return {
        "grammar": f"`{grammar.name}`",
        "rules seed": "rules given by hand" if grammar.parameters is None else str(grammar.parameters.rules_seed),
        "leaf symbols v": str(grammar.vocab_size),
        **grammar.shape(),
        "classes n_c": str(grammar.num_classes),
        "tokens per sentence d": _lengths(grammar),
        "distinct sentences P_max": big_integer(grammar.num_sentences),
        "entropy of a sentence": f"{per_sentence:.4f} nats" if exact else f"about {per_sentence:.2f} nats",
        "entropy per token": f"{per_token:.4f} nats" if exact else f"about {per_token:.3f} nats",
        "fingerprint": f"`{grammar.fingerprint[:16]}`",
    }


def _lengths(grammar: Source) -> str:
    if not grammar.lengths_vary:
        return str(grammar.sentence_length)
    longest = "without bound" if grammar.max_length is None else f"at most {grammar.max_length}"
    return f"{grammar.mean_length:.4g} on average, {longest}; END counts as a token of the entropy"


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


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
