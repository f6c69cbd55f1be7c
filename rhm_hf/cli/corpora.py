"""What TEXT stands for on the command line.

A path that is there, `-` for standard input, or said explicitly: `file:PATH`, `text:WORDS`, `dataset:ID`,
`grammar:NAME` (sentences drawn from it). What may mean two things is refused.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .group import suggestion
from .operands import is_short_name, neighbours, read_grammar


SCHEMES = ("file", "text", "dataset", "grammar")
COLUMNS = ("input_ids", "text")  # of data sets, the first that is there


@dataclass
class TextSource:
    """How a text is read.

    Args:
        config (`str`, *optional*): of a data set.
        split (`str`, *optional*): of a data set; by default the only one, or `test`.
        column (`str`, *optional*): of a data set or a table; by default `input_ids`, or else `text`.
        num_sentences (`int`): of a grammar.
        rules_seed, seed: of a grammar.
    """

    config: str | None = None
    split: str | None = None
    column: str | None = None
    num_sentences: int = 4096
    rules_seed: int | None = None
    seed: int = 0


@dataclass
class Corpus:
    """A text: its documents as strings, or as token ids.

    Args:
        name (`str`): what it is called.
        texts (`list[str]`, *optional*): documents.
        ids (*optional*): rows `(n, d)`, or documents of token ids.
        grammar (*optional*): where sentences were drawn from one.
        population (`int`, *optional*): how many sentences these different ones were drawn from, as a data set says.
    """

    name: str
    texts: list[str] | None = None
    ids: Any = None
    grammar: Any = None
    population: int | None = None

    @property
    def data(self) -> Any:
        """Whichever there is."""
        return self.ids if self.texts is None else self.texts


def read_text(text: str, source: TextSource | None = None) -> Corpus:
    """The text that a word on the command line stands for; what may mean two things is refused."""
    source = source or TextSource()
    if not text.strip():
        raise ValueError("TEXT is empty: give a path, - for standard input, text:WORDS, dataset:ID or grammar:NAME")
    if text == "-":
        return _documents(sys.stdin.read(), "standard input")
    scheme, _, rest = text.partition(":")
    explicit = scheme in SCHEMES and rest != ""
    if explicit and _is_there(text):
        raise ValueError(f"{text!r} may mean two things, as a file of that name lies here: write file:{text} for it")
    if explicit:
        return {"file": _file, "text": _words, "dataset": _dataset, "grammar": _sentences}[scheme](rest, source)
    if _is_there(text):
        return _file(text, source)
    if is_short_name(text):
        raise ValueError(
            f"there is no file {text!r}: for sentences of the grammar of that name write grammar:{text}, which models "
            "of its symbols read"
        )
    raise ValueError(
        f"there is no file {text!r}{neighbours(Path(text))} For other texts write text:WORDS, dataset:ID, "
        "grammar:NAME, or - for standard input"
    )


def _words(text: str, _: TextSource) -> Corpus:
    return Corpus("the given text", texts=[text])


def _documents(text: str, name: str) -> Corpus:
    if not text:
        raise ValueError(f"{name} is empty: there is no text")
    return Corpus(name, texts=[text])


def _file(text: str, source: TextSource) -> Corpus:
    """UTF-8 text; arrays (.npy); tables with a column (.jsonl, .json, .csv, .parquet); a folder with a data set."""
    path = Path(text).expanduser()
    if not _is_there(text):
        raise ValueError(f"there is no file {text!r}{neighbours(path)}")
    kinds = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
    if path.suffix == ".npy":
        import numpy as np

        return Corpus(text, ids=np.load(path, allow_pickle=False))
    if path.suffix in kinds:
        from datasets import load_dataset

        rows = load_dataset(kinds[path.suffix], data_files=str(path), split="train")
        return _column(rows, text, source)
    if path.is_dir():
        return _of_dataset(_saved(path, source), text, source)
    try:
        return _documents(path.read_bytes().decode("utf-8"), text)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{text!r} is no UTF-8 text ({error}): convert it, or give .npy, .jsonl, .csv or .parquet"
        ) from None


def _saved(path: Path, source: TextSource):
    from datasets import load_dataset, load_from_disk

    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return load_from_disk(str(path))
    try:
        return load_dataset(str(path), source.config)
    except IndexError:  # of a folder such as /, which has no name
        raise ValueError(
            f"{str(path)!r} holds no data set: give a folder that `save_to_disk` wrote, or a file"
        ) from None


def _dataset(name: str, source: TextSource) -> Corpus:
    from datasets import load_dataset

    from .. import register  # noqa: F401

    label = f"dataset:{name}" + (f" ({source.config})" if source.config else "")
    return _of_dataset(load_dataset(name, source.config), label, source)


def _of_dataset(dataset, name: str, source: TextSource) -> Corpus:
    """A column of one split."""
    if not isinstance(dataset, dict):
        if source.split is not None:
            raise ValueError(f"--split {source.split}: {name} has no splits, drop it")
        return _column(dataset, name, source)
    split = source.split or ("test" if "test" in dataset else next(iter(dataset)) if len(dataset) == 1 else None)
    if split not in dataset:
        known, close = ", ".join(dataset), suggestion(split or "", list(dataset))
        raise ValueError(f"{name} has the splits {known}: choose one with --split.{close}")
    return _column(dataset[split], f"{name}, split {split}", source)


def _column(rows, name: str, source: TextSource) -> Corpus:
    from ..data.reading import dataset_tokens
    from ..statistics.pairs.token_inputs import drawn_from

    columns = rows.column_names
    column = source.column or next((column for column in COLUMNS if column in columns), None)
    if column not in columns:
        close = suggestion(column or "", columns)
        raise ValueError(f"{name} has the columns {', '.join(columns)}: choose one with --column.{close}")
    if not len(rows):
        raise ValueError(f"{name} has no rows")
    label = name if source.column is None else f"{name}, column {column}"
    first = rows[0][column]
    if isinstance(first, str):
        return Corpus(label, texts=[text for text in rows[column] if text])
    if isinstance(first, list) and all(isinstance(entry, int) for entry in first):
        return Corpus(label, ids=dataset_tokens(rows, column), population=drawn_from(rows, "last", column))
    raise ValueError(
        f"column {column!r} of {name} holds {type(first).__name__}: it must be text or lists of token ids"
    )


def _sentences(name: str, source: TextSource) -> Corpus:
    grammar = read_grammar(name, source.rules_seed)
    options = {"seed": source.seed, "split": "evaluation", "sampling": "iid"}
    if grammar.lengths_vary:  # documents: padding is no token
        rows, lengths = grammar.sample(source.num_sentences, return_lengths=True, **options)
        rows = [row[:length] for row, length in zip(rows, lengths, strict=True) if length]
    else:
        rows = grammar.sample(source.num_sentences, **options)
    return Corpus(f"{source.num_sentences} sentences of {grammar.name}", ids=rows, grammar=grammar)


def _is_there(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long for a name, a home that is not known, a NUL
        return False
