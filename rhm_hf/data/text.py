"""Text as characters: WikiText, tiny Shakespeare, any file or any dataset with a text column, ready to train on.

    corpus = char_corpus("wikitext-103")                      # or text_file="my.txt", or a dataset, streaming or not
    corpus.splits["train"].ids                                # uint8 (characters,), documents one after the other
    dataset = corpus.windows(context_length=64)               # DatasetDict, input_ids: List(uint8, length=65)
    corpus.tokenizer.save_pretrained("my-model")              # decodes to exactly the text

A helper rather than a name for `load_dataset`: the vocabulary is made from the text and has to come back with the
rows, which `load_dataset` has no place for; a source may be a dataset in memory or a stream, which its cache could not
recognise; and windows are cut from one array at once, where a cache would keep a copy for every length and stride.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import datasets
import numpy as np
import pyarrow as pa

from ..checks import NonNegativeInt, OwnCheck, PositiveInt, check_integer, checked
from .characters import Alphabet, CharEncoder, char_tokenizer


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WIKITEXT = {"wikitext-2": "wikitext-2-raw-v1", "wikitext-103": "wikitext-103-raw-v1"}  # name -> config on the Hub
SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_TRAIN = 558_338  # windows of the first characters train, the rest tests (Cagnetta & Wyart, 2406.00048)
SOURCES = (*WIKITEXT, "shakespeare")
BATCH = 2**20  # characters, or more, that are encoded together; also tokens of a table of windows
HEADING = re.compile(r" = [^=](?:.*[^=])? = \n")  # the title of an article of WikiText; sections have "= =" or more


@dataclass(frozen=True, eq=False)
class CharText:
    """One split: documents of characters, one after the other in one array.

    Args:
        ids (`np.ndarray`): shape `(characters,)`, uint8 or wider.
        offsets (`np.ndarray`): shape `(documents + 1,)`; document i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @property
    def documents(self) -> list[np.ndarray]:
        """The documents, views of `ids`."""
        return [self.ids[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    @checked
    def first(self, characters: NonNegativeInt) -> "CharText":
        """The first so many characters, of which there are at least as many; the last document may be cut."""
        return CharText(self.ids[:characters], np.append(self.offsets[self.offsets < characters], characters))

    @checked
    def window_starts(self, length: PositiveInt, stride: PositiveInt) -> np.ndarray:
        """Where windows begin: at every `stride`-th character of each document; none crosses its end."""
        sizes = np.diff(self.offsets)
        counts = np.where(sizes >= length, 1 + (sizes - length) // stride, 0)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self.offsets[:-1], counts) + stride * within


@dataclass(frozen=True, eq=False)
class CharCorpus:
    """Text as characters with its tokenizer; made by [`char_corpus`].

    Args:
        splits (`dict[str, CharText]`): by name, such as `train` and `test`.
        tokenizer (`PreTrainedTokenizerFast`): of these ids; see [`char_tokenizer`].
        num_symbols (`int`): v, the ids that text can hold, the unknown character's (the last) included.
    """

    splits: dict[str, CharText]
    tokenizer: "PreTrainedTokenizerBase"
    num_symbols: int

    @checked
    def windows(self, context_length: PositiveInt, stride: PositiveInt | None = None) -> datasets.DatasetDict:
        """Windows of `context_length + 1` characters: a context and the last character, or inputs and shifted labels.

        Args:
            context_length (`int`): t, characters of context.
            stride (`int`, *optional*, defaults to `context_length`): characters from a window's start to the next
                one's. The default makes every character but a document's first a target once; 1 takes all windows.

        Returns:
            `DatasetDict`: a split for each, column `input_ids`, a `List` of fixed length; no window crosses documents.

        Raises:
            `ValueError`: if a split has no document that is long enough.
        """
        length = check_integer("context_length", context_length, 1) + 1
        stride = length - 1 if stride is None else check_integer("stride", stride, 1)
        return datasets.DatasetDict(
            {name: _window_rows(name, split, length, stride) for name, split in self.splits.items()}
        )


@checked
def char_corpus(
    source: Annotated[Any, OwnCheck()] = None,
    *,
    text_file: "str | Path | Iterable[str | Path] | Mapping[str, Any] | None" = None,
    text_column: str = "text",
    tokenizer: Any = None,
    max_vocab_size: PositiveInt | None = None,
    min_count: int = 1,
    train_characters: PositiveInt | None = None,
    test_fraction: float | None = None,
) -> CharCorpus:
    """Reads text as characters.

    The alphabet is that of the whole corpus, as published for Shakespeare and WikiText: all splits together, the most
    frequent character first. Characters left out become the unknown one.

    Args:
        source (*optional*): `"wikitext-2"` or `"wikitext-103"` (raw, from the Hub: documents are articles),
            `"shakespeare"` (tiny Shakespeare: one document, `train_characters=558338` unless said otherwise), or a
            dataset with a text column, in memory or streaming, with or without splits: every row is a document.
        text_file (*optional*): instead of `source`, a UTF-8 file, several of them (a document each), or a mapping from
            split names to them. Line ends are kept as they are.
        text_column (`str`, *optional*, defaults to `"text"`): the dataset's column.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): an earlier corpus's, instead of an alphabet of this text.
        max_vocab_size (`int`, *optional*): keep at most so many characters, the unknown one not counted.
        min_count (`int`, *optional*, defaults to 1): keep characters that occur at least so often.
        train_characters (`int`, *optional*): splits one text by offset: the first so many characters are `train`, the
            rest `test`.
        test_fraction (`float`, *optional*): splits one text by document: that fraction of the documents, evenly
            spaced, is `test`. For a random choice pass `dataset.train_test_split(..)`.

    Returns:
        [`CharCorpus`].

    Raises:
        `ValueError`: for no text, text without characters, splits asked for where the source has its own, bytes that
            are no UTF-8.
    """
    if (source is None) == (text_file is None):
        raise ValueError(f"source={source!r}, text_file={text_file!r}: give one of the two")
    if train_characters is not None and test_fraction is not None:
        raise ValueError(
            f"train_characters={train_characters} (by offset), test_fraction={test_fraction} (by document): give one"
        )
    if tokenizer is not None and (max_vocab_size is not None or min_count != 1):
        raise ValueError("tokenizer= has its alphabet: drop max_vocab_size and min_count")
    min_count = check_integer("min_count", min_count, 1)
    if max_vocab_size is not None:
        max_vocab_size = check_integer("max_vocab_size", max_vocab_size, 1)
    if isinstance(source, str) and source == "shakespeare" and test_fraction is None and train_characters is None:
        train_characters = SHAKESPEARE_TRAIN
    texts = _file_texts(text_file) if source is None else _source_texts(source, text_column)
    if tokenizer is not None:
        encoder = CharEncoder(tokenizer)
        splits = {name: _read(name, documents, encoder) for name, documents in texts.items()}
    else:
        alphabet = Alphabet()
        splits = {name: _read(name, documents, alphabet.read) for name, documents in texts.items()}
        characters = alphabet.most_frequent(max_vocab_size, min_count)
        if not characters:
            raise ValueError(f"min_count={min_count} keeps none of the characters: lower it")
        tokenizer = char_tokenizer(characters)
        encoder = CharEncoder(tokenizer)
        final = alphabet.translation(encoder)
        splits = {name: CharText(_translated(final, split.ids), split.offsets) for name, split in splits.items()}
    return CharCorpus(resplit(splits, train_characters, test_fraction), tokenizer, encoder.num_symbols)


def _source_texts(source, text_column: str) -> dict[str, Iterable[str]]:
    if isinstance(source, str):
        if source in WIKITEXT:
            rows = datasets.load_dataset("Salesforce/wikitext", WIKITEXT[source])
            return {name: _articles(_rows(split, "text")) for name, split in rows.items()}
        if source == "shakespeare":
            rows = datasets.load_dataset("text", data_files=SHAKESPEARE_URL, sample_by="document")
            return {"train": _rows(rows["train"], "text")}
        raise ValueError(
            f"source={source!r} is none of {', '.join(SOURCES)}: for a file pass text_file=, for a dataset of the Hub "
            "load_dataset(..) itself"
        )
    splits = source if isinstance(source, dict) else {"train": source}
    for name, split in splits.items():
        if not isinstance(split, datasets.Dataset | datasets.IterableDataset):
            raise ValueError(
                f"source holds a {type(split).__name__} ({name}): pass a dataset, or text_file= for files"
            )
        if split.column_names is not None and text_column not in split.column_names:
            raise ValueError(f"text_column={text_column!r} is missing: {name} has {', '.join(split.column_names)}")
    return {name: _rows(split, text_column) for name, split in splits.items()}


def _rows(split, column: str) -> Iterator[str]:
    for batch in split.select_columns(column).iter(batch_size=1000):
        for text in batch[column]:
            if not isinstance(text, str):
                raise ValueError(f"text_column={column!r} holds {text!r:.40}: every row must be a string")
            yield text


def _articles(rows: Iterable[str]) -> Iterator[str]:
    """Articles of WikiText from its rows, which are lines; the Hub writes its blank lines, " \\n", as empty rows.

    A title stands between blank lines: what looks like one inside of a text, such as a formula ` = a = `, is none.
    """
    article, before = [], ""
    for row, after in itertools.pairwise(itertools.chain(rows, [""])):
        alone = not before.strip() and not after.strip()
        if alone and HEADING.fullmatch(row) and any(line.strip() for line in article):
            yield "".join(article)
            article = []
        article.append(row or " \n")
        before = row
    yield "".join(article)


def _file_texts(text_file) -> dict[str, Iterable[str]]:
    if isinstance(text_file, Mapping):
        return {str(name): _files(files) for name, files in text_file.items()}
    return {"train": _files(text_file)}


def _files(files) -> Iterator[str]:
    for file in [files] if isinstance(files, str | Path) else files:
        try:
            yield Path(file).read_bytes().decode("utf-8")
        except OSError as error:
            raise ValueError(f"text_file={str(file)!r} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"text_file={str(file)!r} is not UTF-8 ({error}): convert it first") from error


def _read(name: str, documents: Iterable[str], encode) -> CharText:
    """Encodes documents many at a time: short ones would cost more in calls than in characters."""
    parts, sizes, batch, waiting = [], [], [], 0
    for text in documents:
        batch.append(text)
        sizes.append(len(text))
        waiting += len(text)
        if waiting >= BATCH:
            parts.append(encode("".join(batch)))
            batch, waiting = [], 0
    parts.append(encode("".join(batch)))
    if not sum(sizes):
        raise ValueError(f"the text of {name} is empty: it has {len(sizes)} documents and no character")
    return CharText(np.concatenate(parts), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


def _translated(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """`table[ids]`, by parts: numpy would make all the indices int64 at once."""
    out = np.empty(len(ids), dtype=table.dtype)
    for start in range(0, len(ids), BATCH):
        out[start : start + BATCH] = table[ids[start : start + BATCH]]
    return out


def resplit(
    splits: dict[str, Any], train_characters: PositiveInt | None, test_fraction: float | None
) -> dict[str, CharText]:
    """One split into `train` and `test`: see [`char_corpus`]."""
    if train_characters is None and test_fraction is None:
        return splits
    asked = "test_fraction" if train_characters is None else "train_characters"
    if len(splits) > 1:
        raise ValueError(f"{asked}= splits one text, and the source has {', '.join(splits)}: drop it")
    (text,) = splits.values()
    if train_characters is not None:
        cut = check_integer("train_characters", train_characters, 1)
        if cut >= len(text.ids):
            raise ValueError(f"train_characters={cut} leaves nothing to test: the text has {len(text.ids)} characters")
        after = text.offsets[text.offsets > cut]
        return {"train": text.first(cut), "test": CharText(text.ids[cut:], np.append(0, after - cut))}
    steps = np.floor(np.arange(len(text.offsets)) * test_fraction) if 0 < test_fraction < 1 else np.zeros(1)
    tests = np.diff(steps) > 0
    if not 0 < tests.sum() < len(text.offsets) - 1:
        raise ValueError(
            f"test_fraction={test_fraction} must be between 0 and 1 and leave documents to both splits: the text has "
            f"{len(text.offsets) - 1}; one document is split by train_characters="
        )
    return {"train": _selected(text, ~tests), "test": _selected(text, tests)}


def _selected(text: CharText, chosen: np.ndarray) -> CharText:
    sizes = np.diff(text.offsets)
    return CharText(text.ids[np.repeat(chosen, sizes)], np.append(0, np.cumsum(sizes[chosen])))


def _window_rows(name: str, text: CharText, length: PositiveInt, stride: PositiveInt) -> datasets.Dataset:
    starts = text.window_starts(length, stride)
    if not len(starts):
        raise ValueError(
            f"context_length={length - 1} needs documents of {length} characters: the longest of {name} has "
            f"{np.diff(text.offsets).max()}"
        )
    features = datasets.Features({"input_ids": datasets.List(datasets.Value(text.ids.dtype.name), length=length)})
    every = np.lib.stride_tricks.sliding_window_view(text.ids, length)
    rows = max(1, BATCH // length)
    tables = [
        pa.table(
            [pa.FixedSizeListArray.from_arrays(pa.array(every[starts[i : i + rows]].ravel()), length)],
            schema=features.arrow_schema,
        )
        for i in range(0, len(starts), rows)
    ]
    return datasets.Dataset(pa.concat_tables(tables), info=datasets.DatasetInfo(features=features))
