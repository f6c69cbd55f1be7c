"""The rows of a run: sentences through the data set builder, or windows of a text."""

from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np
import torch

import rhm_hf  # noqa: F401  registers "rhm" with datasets

from ..data import CharCorpus, CharText, char_corpus, grammar_of, rhm_tokenizer
from ..data.text import SOURCES, resplit
from ..grammar import Grammar
from .arguments import DataArguments
from .batches import Windows


@dataclass(frozen=True)
class TrainingData:
    """What a run reads.

    Attributes:
        splits: `train`, `validation` and `test`: rows of symbols `(rows, length)`, uint8, or int32 where there are
            more than 256 symbols; `train` may be [`Windows`]. One more column holds the class where it is wanted.
        num_symbols (`int`): v.
        length (`int`): tokens of a row.
        tokenizer: of these ids, saved beside the model.
        grammar ([`Grammar`], *optional*): the law of the rows, where they have one.
    """

    splits: dict[str, Any]
    num_symbols: int
    length: int
    tokenizer: Any
    grammar: Grammar | None = None


def load_data(arguments: DataArguments, with_classes: bool = False) -> TrainingData:
    """Sentences of the grammar by `load_dataset("rhm", ..)`, or windows of a text by [`~rhm_hf.data.char_corpus`].

    Args:
        arguments ([`DataArguments`]): the data of a run.
        with_classes (`bool`, *optional*, defaults to `False`): put the class of a sentence after its tokens.

    Raises:
        `ValueError`: for more sentences, characters or windows than there are.
    """
    noisy = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return _sentences(arguments, with_classes) if arguments.text is None else _windows(arguments)
    finally:
        if noisy:
            datasets.enable_progress_bars()


def _sentences(arguments: DataArguments, with_classes: bool) -> TrainingData:
    loaded = datasets.load_dataset(
        "rhm",
        arguments.grammar,
        rules_seed=arguments.rules_seed,
        train_size=arguments.num_train,
        validation_size=arguments.num_validation,
        test_size=arguments.num_test,
        sample_seed=arguments.sample_seed,
        sampling=arguments.sampling,
    )
    grammar = grammar_of(loaded)
    v, length = grammar.vocab_size, grammar.sentence_length
    splits = {name: _tokens(split, grammar, with_classes) for name, split in loaded.items()}
    return TrainingData(splits, v, length, rhm_tokenizer(v), grammar)


def _tokens(split: datasets.Dataset, grammar: Grammar, with_classes: bool) -> torch.Tensor:
    # Straight from Arrow: the formats of datasets widen every integer to int64.
    table = split.with_format("arrow")[:]
    tokens = table["input_ids"].combine_chunks().flatten().to_numpy().reshape(-1, grammar.sentence_length)
    if not with_classes:
        return torch.from_numpy(_gathered(tokens, grammar.vocab_size))
    rows = np.concatenate([tokens, table["label"].to_numpy()[:, None]], 1)
    return torch.from_numpy(_gathered(rows, max(grammar.vocab_size, grammar.num_classes)))


def _gathered(ids: np.ndarray, num_symbols: int) -> np.ndarray:
    return ids.astype(np.uint8 if num_symbols <= 256 else np.int32)  # torch gathers no uint16


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
