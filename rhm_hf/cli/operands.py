"""What GRAMMAR, MODEL and TEXT stand for on the command line.

A name, a path and an object are three things:

- GRAMMAR: a short name (`v8-m2-s2-L3`), or a path or Hub id, which has a slash or ends in `.cfg` or `.json`
  (`./folder`, `rules.cfg`, `user/repo`).
- MODEL: a folder that is there, a Hub id, or `oracle:GRAMMAR`, the exact law (`,level=2` or `,length=3` behind it:
  shorter contexts).
- TEXT: a path that is there, `-` for standard input, or said explicitly: `file:PATH`, `text:WORDS`, `dataset:ID`,
  `grammar:NAME` (sentences drawn from it).
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .group import suggestion
from .progress import heavy, progress


GRAMMAR_ENDINGS = (".cfg", ".json")
SCHEMES = ("file", "text", "dataset", "grammar")
COLUMNS = ("input_ids", "text")  # of data sets, the first that is there


# Grammars.


def is_path(text: str) -> bool:
    """Whether a grammar is written as a path or Hub id, and not as a short name."""
    return "/" in text or text.endswith(GRAMMAR_ENDINGS)


def read_grammar(text: str, rules_seed: int | None = None):
    """The grammar that a word on the command line stands for.

    Args:
        text (`str`): a short name, or a path or Hub id with a slash or an ending `.cfg` or `.json`.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of a named ensemble; stored ones have none.

    Returns:
        `Source`.

    Raises:
        `ValueError`: for an empty word, a word that may mean two things, a seed where there is nothing to draw.
    """
    from ..grammar import Grammar
    from ..grammar.registry import parameters_from_name

    if not text.strip():
        raise ValueError("GRAMMAR is empty: give a short name such as v8-m2-s2-L3, or a path such as ./folder")
    if is_path(text):
        from ..data import resolve_grammar

        if rules_seed is not None:
            raise ValueError(
                f"--rules_seed {rules_seed} draws the rules of a short name, and {text} has its own: drop it"
            )
        if text.endswith(GRAMMAR_ENDINGS) and not Path(text).exists():
            raise ValueError(f"there is no file {text!r}{_neighbours(Path(text))}")
        if text.startswith((".", "/", "~")) and not Path(text).expanduser().exists():
            raise ValueError(f"there is no folder or file {text!r}{_neighbours(Path(text))}")
        return resolve_grammar(str(Path(text).expanduser()) if Path(text).expanduser().exists() else text)
    name, place = text.removeprefix("name:"), Path(text.removeprefix("name:"))
    try:
        parameters = parameters_from_name(name, 0 if rules_seed is None else rules_seed)
    except ValueError as error:
        if place.exists():
            raise ValueError(f"{name!r} is no short name; for what lies at that path write ./{name}") from error
        raise
    if name == text and holds_grammar(place):
        raise ValueError(
            f"{text!r} may mean two grammars, as a folder of that name lies here: write ./{text} for the one in the "
            f"folder, name:{text} for the one that the name stands for"
        )
    return Grammar.from_parameters(parameters)


def holds_grammar(path: Path) -> bool:
    """Whether a folder holds a grammar, itself or in `grammar/`; or a file may be one."""
    return path.is_file() or any((path / place / "grammar.json").exists() for place in ("", "grammar"))


# Models.


@dataclass
class NamedModel:
    """A model with what it is called and where it lies (empty for an oracle)."""

    model: Any
    name: str
    path: str

    def tokenizer(self, needed: bool = False):
        """The tokenizer beside it, None where none is needed or the model is an oracle."""
        from ..judging.loading import load_tokenizer

        if not self.path:
            if needed:
                raise ValueError(f"{self.name} has no tokenizer: an oracle reads token ids; give TEXT as grammar:NAME")
            return None
        return load_tokenizer(None, self.path, needed)


def read_model(text: str, rules_seed: int | None = None) -> NamedModel:
    """The model that a word stands for, in evaluation mode.

    Args:
        text (`str`): a folder, a Hub id, or `oracle:GRAMMAR[,level=..|,length=..|,masked]`.
        rules_seed (`int`, *optional*): of an oracle's grammar.
    """
    if not text.strip():
        raise ValueError("MODEL is empty: give a folder, a Hub id, or oracle:GRAMMAR")
    with heavy():
        from .. import register  # noqa: F401
        from ..judging.loading import load_model
    if text.startswith("oracle:"):
        return NamedModel(_oracle(text.removeprefix("oracle:"), rules_seed), text, "")
    path = model_path(text)
    with progress(f"loading {path}"), _without_bars():
        return NamedModel(load_model(path), text, path)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the bars of transformers, which would draw over ours, or fill a file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def model_path(text: str) -> str:
    """The folder of a model, that in a run's folder included, or the Hub id."""
    path = Path(text).expanduser()
    if path.is_dir():
        if (path / "config.json").exists():
            return str(path)
        if (path / "model" / "config.json").exists():  # of a run
            return str(path / "model")
        raise ValueError(f"the folder {text!r} holds no model: config.json is in neither it nor its folder model/")
    if path.exists():
        raise ValueError(f"{text!r} is a file: give the folder that holds the model")
    if text.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text):
        raise ValueError(f"there is no folder {text!r}{_neighbours(path)}")
    return text


def _oracle(text: str, rules_seed: int | None):
    from ..models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM

    name, *options = text.split(",")
    limits, masked = {}, False
    for option in options:
        key, _, value = option.partition("=")
        if key == "masked" and not value:
            masked = True
        elif key in ("level", "length") and value.isdigit():
            limits[f"context_{key}"] = int(value)
        else:
            raise ValueError(f"oracle:{text}: {option!r} is none of level=NUMBER, length=NUMBER and masked")
    if masked and limits:
        raise ValueError(f"oracle:{text}: a masked oracle sees the whole sentence; drop {', '.join(limits)}")
    grammar = read_grammar(name, rules_seed)
    return RHMForMaskedLM.from_grammar(grammar) if masked else RHMForCausalLM.from_grammar(grammar, **limits)


# Texts.


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
    """

    name: str
    texts: list[str] | None = None
    ids: Any = None
    grammar: Any = None

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
    raise ValueError(
        f"there is no file {text!r}{_neighbours(Path(text))} For other texts write text:WORDS, dataset:ID, "
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
        raise ValueError(f"there is no file {text!r}{_neighbours(path)}")
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
    return load_dataset(str(path), source.config)


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
        return Corpus(label, ids=dataset_tokens(rows, column))
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


def _neighbours(path: Path) -> str:
    """A full stop, and ` Did you mean ..?` where a file of a similar name lies in the same folder."""
    folder = path.expanduser().parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return f".{suggestion(path.name, names)}"
