"""Rows in Arrow: features, tables without copies, and the hash of all code that makes them.

Apart from the builder because `datasets` replaces names (`open`, `os.path`, `Path`, ..) inside a builder's module.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Features, List, Value

from ..checks import smallest_dtype
from ..grammar import Source


TABLE_TOKENS = 2**20  # a table, which is also a shard, holds about a mebitoken: it fits the cache
GENERATING_CODE = (
    "checks.py",
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
    """The columns: `input_ids`, `label` (the root symbol), with `levels` also `level_1` .. `level_{L-1}`."""
    columns = {
        "input_ids": _list_of_symbols(grammar, 0),
        "label": ClassLabel(num_classes=grammar.num_classes),
    }
    if levels:
        columns |= {f"level_{level}": _list_of_symbols(grammar, level) for level in range(1, grammar.depth)}
    return Features(columns)


def _list_of_symbols(grammar: Source, level: int) -> List:
    return List(Value(smallest_dtype(grammar.num_symbols_at(level)).name), length=grammar.num_nodes_at(level))


def ranges(grammar: Source, size: int) -> list[tuple[int, int]]:
    """The fixed ranges of sentence indices that are made, and written, together."""
    rows = max(1, TABLE_TOKENS // grammar.sentence_length)
    return [(start, min(start + rows, size)) for start in range(0, size, rows)]


def table(derivation: list[np.ndarray], columns: Features) -> pa.Table:
    """Rows as Arrow, the arrays' memory shared.

    Args:
        derivation (`list[np.ndarray]`): entry ℓ of shape `(rows, nodes at level ℓ)`, ℓ = 0..L; inner entries are read
            only where `columns` asks for them.
        columns (`Features`): see [`features`].
    """
    schema = columns.arrow_schema
    arrays = []
    for name in schema.names:
        if name == "label":
            arrays.append(pa.array(derivation[-1].ravel().astype(np.int64)))
            continue
        symbols = derivation[0 if name == "input_ids" else int(name.removeprefix("level_"))]
        storage = schema.field(name).type
        flat = np.ascontiguousarray(symbols, dtype=storage.value_type.to_pandas_dtype()).ravel()
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), storage.list_size))
    return pa.table(arrays, schema=schema)


def tables(config, split: str, row_ranges: list[tuple[int, int]], columns: Features) -> Iterator[pa.Table]:
    """The tables of some ranges of a split of an [`RHMDatasetConfig`]."""
    for start, stop in row_ranges:
        derivation = config.grammar.derivations(
            stop - start, config.sample_seed, split, config.sampling, start, config.disjoint
        )
        yield table(derivation, columns)
