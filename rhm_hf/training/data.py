"""The rows of a run: sentences through the data set builder, or windows of a text."""

from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
import torch

from ..data import CharCorpus, CharText, char_corpus, grammar_of, rhm_tokenizer
from ..data.reading import rows_of
from ..data.text import SOURCES, resplit
from ..grammar import Source
from ..judging.sentences import judged_sentences
from .arguments import DataArguments
from .batches import Windows


@dataclass(frozen=True)
class TrainingData:
    """What a run reads.

    Attributes:
        splits: `train`, `validation` and `test`: rows of symbols `(rows, length)`, uint8, or int32 where there are
            more than 256 ids; `train` may be [`Windows`]. A sentence shorter than `length` is followed by PAD = v + 1:
            a row's length is the number of ids before its first PAD. One more column holds the class where it is
            wanted.
        num_symbols (`int`): v.
        length (`int`): tokens of a row, where lengths vary of the longest there is.
        tokenizer: of these ids, saved beside the model.
        grammar ([`Source`], *optional*): the law of the rows, where they have one.
        test_seen (`float`, *optional*): the share of test sentences that are training sentences too; None of a text.
    """

    splits: dict[str, Any]
    num_symbols: int
    length: int
    tokenizer: Any
    grammar: Source | None = None
    test_seen: float | None = None


def load_data(arguments: DataArguments, with_classes: bool = False, num_judged: int = 0) -> TrainingData:
    """Sentences of the grammar by `load_dataset("rhm", ..)`, or windows of a text by [`~rhm_hf.data.char_corpus`].

    Args:
        arguments ([`DataArguments`]): the data of a run.
        with_classes (`bool`, *optional*, defaults to `False`): put the class of a sentence after its tokens.
        num_judged (`int`, *optional*, defaults to 0): fresh sentences that the model will be judged on: where lengths
            vary without bound, `length` has room for the longest of them too.

    Raises:
        `ValueError`: for more sentences, characters or windows than there are.
    """
    noisy = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return _windows(arguments) if arguments.text is not None else _sentences(arguments, with_classes, num_judged)
    finally:
        if noisy:
            datasets.enable_progress_bars()


def _sentences(arguments: DataArguments, with_classes: bool, num_judged: int) -> TrainingData:
    loaded = datasets.load_dataset(
        "rhm",
        arguments.grammar,
        rules_seed=arguments.rules_seed,
        train_size=arguments.num_train,
        validation_size=arguments.num_validation,
        test_size=arguments.num_test,
        sample_seed=arguments.sample_seed,
        sampling=arguments.sampling,
        disjoint=arguments.disjoint,
    )
    grammar = grammar_of(loaded)
    v, vary = grammar.vocab_size, grammar.lengths_vary
    read = {name: rows_of(split, pad=v + 1) for name, split in loaded.items()}
    length = _longest(grammar, [lengths for _, lengths in read.values()], num_judged)
    tokens = {name: _padded(rows, length, v + 1) for name, (rows, _) in read.items()}
    columns = {name: np.array(split["label"])[:, None] for name, split in loaded.items() if with_classes}
    num_ids = max(v + 2 * vary, grammar.num_classes if with_classes else 0)
    splits = {
        name: torch.from_numpy(_gathered(np.concatenate([rows, columns[name]], 1) if with_classes else rows, num_ids))
        for name, rows in tokens.items()
    }
    apart = arguments.disjoint or (arguments.sampling or ("unique" if grammar.is_equiprobable else "iid")) == "unique"
    seen = 0.0 if apart else seen_share(tokens["train"], tokens["test"])
    return TrainingData(splits, v, length, rhm_tokenizer(grammar), grammar, test_seen=seen)


def seen_share(train: np.ndarray, test: np.ndarray) -> float:
    """The share of the rows of `test` that are rows of `train`, both `(rows, length)`."""
    train, test = (np.ascontiguousarray(rows, np.int32) for rows in (train, test))
    known = {row.tobytes() for row in train}
    return sum(row.tobytes() in known for row in test) / len(test)


def _padded(rows: np.ndarray, length: int, pad: int) -> np.ndarray:
    """The same rows with so many columns."""
    return np.pad(rows, ((0, 0), (0, length - rows.shape[1])), constant_values=pad) if rows.shape[1] < length else rows


def _longest(grammar: Source, lengths: list[np.ndarray], num_judged: int) -> int:
    """Tokens of the longest sentence that a run can meet."""
    if not grammar.lengths_vary:
        return grammar.sentence_length
    judged = [judged_sentences(grammar, num_judged).lengths.numpy()] if num_judged else []
    return max(int(found.max(initial=1)) for found in [*lengths, *judged])


def _gathered(ids: np.ndarray, num_ids: int) -> np.ndarray:
    return ids.astype(np.uint8 if num_ids <= 256 else np.int32)  # torch gathers no uint16


def load_text(arguments: DataArguments) -> CharCorpus:
    """The text of a run, with the splits `train` and `test`, and its own `validation` where it has one."""
    if arguments.text in SOURCES:
        return char_corpus(arguments.text, train_characters=arguments.train_characters)
    corpus = char_corpus(text_file=arguments.text)
    cut = arguments.train_characters or len(corpus.splits["train"].ids) // 2
    return replace(corpus, splits=resplit(corpus.splits, cut, None))


def _windows(arguments: DataArguments) -> TrainingData:
    """Training windows of the first P characters; held-out ones from the rest, none of whose characters overlap.

    A text without a validation split of its own gives every other held-out window to validation.
    """
    corpus, length = load_text(arguments), arguments.context_length + 1
    text, v = corpus.splits["train"], corpus.num_symbols
    if arguments.num_train > len(text.ids):
        raise ValueError(
            f"num_train={arguments.num_train}: the training part of {arguments.text} has {len(text.ids)} characters"
        )
    text = text.first(arguments.num_train)
    starts = text.window_starts(length, arguments.stride)
    if not len(starts):
        raise ValueError(
            f"context_length={arguments.context_length}: no document of the first num_train={arguments.num_train} "
            f"characters has {length} of them"
        )
    ids = torch.from_numpy(_gathered(text.ids, v))
    held_out = {name: _held_out(split, length, v) for name, split in corpus.splits.items() if name != "train"}
    if "validation" not in held_out:
        held_out = {"validation": held_out["test"][0::2], "test": held_out["test"][1::2]}
    splits = {"train": Windows(ids, torch.from_numpy(starts), length)}
    for name, wanted in (("validation", arguments.num_validation), ("test", arguments.num_test)):
        rows = held_out[name]
        if wanted > len(rows):
            raise ValueError(f"num_{name}={wanted}: {arguments.text} has {len(rows)} windows of {length} characters")
        splits[name] = rows[torch.arange(wanted) * len(rows) // wanted]  # from all over the text
    return TrainingData(splits, v, length, corpus.tokenizer)


def _held_out(text: CharText, length: int, num_symbols: int) -> torch.Tensor:
    starts = text.window_starts(length, length)
    return torch.from_numpy(_gathered(text.ids, num_symbols)[starts[:, None] + np.arange(length)])
