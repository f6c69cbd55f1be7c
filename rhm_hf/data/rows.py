"""Rows in Arrow: features, tables without copies, and the hash of all code that makes them.

Apart from the builder because `datasets` replaces names (`open`, `os.path`, `Path`, ..) inside a builder's module.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features, List, Value

from ..checks import smallest_dtype
from ..grammar import Source


TABLE_TOKENS = 2**20  # a table, which is also a shard, holds about a mebitoken: it fits the cache
UNBOUNDED_TOKENS = 2**8  # a sentence of a source without a longest one counts as so many
GENERATING_CODE = (
    "checks/*.py",
    "files.py",
    "grammar/**/*.py",
    "data/rhm.py",
    "data/config.py",
    "data/provenance.py",
    "data/rows.py",
)


@cache
def source_hash() -> str:
    """A hash of the code that makes the rows: datasets' cache is not used after a change of any of it."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for pattern in GENERATING_CODE:
        for file in sorted(root.glob(pattern)):
            digest.update(f"{file.relative_to(root).as_posix()} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def features(grammar: Source, levels: bool) -> Features:
    """The columns: `input_ids`, `label` (the root symbol), with `levels` also `level_1` .. `level_{L-1}`.

    Sources without classes have no label. Lists have a declared length where all sentences have one.
    """
    length = -1 if grammar.lengths_vary else grammar.sentence_length
    columns = {"input_ids": List(Value(smallest_dtype(grammar.vocab_size).name), length=length)}
    if grammar.has_blocks or grammar.num_classes > 1:
        columns["label"] = ClassLabel(num_classes=grammar.num_classes)
    if levels:
        inner = range(1, grammar.depth)
        kinds = {level: Value(smallest_dtype(grammar.num_symbols_at(level)).name) for level in inner}
        columns |= {f"level_{level}": List(kinds[level], length=grammar.num_nodes_at(level)) for level in inner}
    return Features(columns)


def ranges(grammar: Source, size: int) -> list[tuple[int, int]]:
    """The fixed ranges of sentence indices that are made, and written, together."""
    longest = grammar.sentence_length if not grammar.lengths_vary else grammar.max_length or UNBOUNDED_TOKENS
    rows = max(1, TABLE_TOKENS // longest)
    return [(start, min(start + rows, size)) for start in range(0, size, rows)]


def table(symbols: dict[str, np.ndarray], columns: Features, lengths: np.ndarray | None = None) -> pa.Table:
    """Rows as Arrow, the arrays' memory shared.

    Args:
        symbols (`dict[str, np.ndarray]`): by column `(rows, entries)`, of `label` `(rows,)`.
        columns (`Features`): see [`features`].
        lengths (`np.ndarray`, *optional*): int64 `(rows,)`, the entries that count where rows differ in length.
    """
    schema = columns.arrow_schema
    arrays = []
    for name in schema.names:
        storage, values = schema.field(name).type, symbols[name]
        if name == "label":
            arrays.append(pa.array(values.astype(np.int64)))
            continue
        dtype = storage.value_type.to_pandas_dtype()
        if lengths is None:
            flat = np.ascontiguousarray(values, dtype=dtype).ravel()
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), storage.list_size))
        else:
            flat = values[np.arange(values.shape[1]) < lengths[:, None]].astype(dtype)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)))
    return pa.table(arrays, schema=schema)


def tables(config: Any, split: str, row_ranges: list[tuple[int, int]], columns: Features) -> Iterator[pa.Table]:
    """The tables of some ranges of a split of an [`RHMDatasetConfig`]."""
    grammar = config.grammar
    for start, stop in row_ranges:
        asked = (stop - start, config.sample_seed, split, config.sampling, start, config.disjoint)
        if grammar.has_blocks:
            derivation = grammar.derivations(*asked)
            symbols = {f"level_{level}": nodes for level, nodes in enumerate(derivation)}
            yield table({"input_ids": derivation[0], "label": derivation[-1].ravel(), **symbols}, columns)
            continue
        tokens, lengths = grammar.sample(*asked, return_lengths=True)
        symbols = {"input_ids": tokens}
        if "label" in columns:
            symbols["label"] = grammar.classes(*asked)
        yield table(symbols, columns, lengths if grammar.lengths_vary else None)
