"""Arrow writing: the builder's tables of whole samples against rows given one dictionary at a time."""

import tempfile
from collections.abc import Iterator

import datasets

from benchmarks.timing import Row, compare
from rhm_hf.data import RHMDatasetBuilder
from rhm_hf.data.rows import features
from rhm_hf.grammar import Grammar


NAME = "v16-m4-s2-L6"  # sentences of 64 tokens
ROWS, PLAIN_ROWS = 1_000_000, 50_000


def rows() -> Iterator[Row]:
    """One row: a million sentences of 64 tokens with their labels, sampled and written into an Arrow file."""
    datasets.disable_progress_bars()
    grammar = Grammar.from_name(NAME)
    columns = features(grammar, levels=False)

    def ours():
        with tempfile.TemporaryDirectory() as cache:
            sizes = {"train_size": ROWS, "validation_size": 0, "test_size": 0}
            RHMDatasetBuilder(config_name=NAME, cache_dir=cache, **sizes).download_and_prepare()

    def dictionaries():
        derivations = grammar.derivations(PLAIN_ROWS)
        for tokens, label in zip(derivations[0], derivations[-1], strict=True):
            yield {"input_ids": tokens.tolist(), "label": int(label[0])}

    def plain():
        with tempfile.TemporaryDirectory() as cache:
            datasets.Dataset.from_generator(dictionaries, features=columns, cache_dir=cache)

    row = compare(f"{ROWS:.0e} rows of 64 tokens into Arrow", ours, plain, "2e6 rows/s", repeats=3)
    scale = ROWS / PLAIN_ROWS
    rate, plain_rate = ROWS / row.ours, PLAIN_ROWS / row.plain
    note = f"{rate:.3g} rows/s against {plain_rate:.3g} (dictionaries, measured on {PLAIN_ROWS:,} rows and scaled)"
    yield Row(row.name, row.ours, row.plain * scale, row.ratio * scale, row.goal, note)
