"""The sentences of a run, through the data set builder."""

import datasets
import numpy as np
import torch

import rhm_hf  # noqa: F401  registers "rhm" with datasets

from ..data import grammar_of
from ..grammar import Grammar
from .arguments import DataArguments


def load_splits(arguments: DataArguments) -> tuple[Grammar, dict[str, torch.Tensor]]:
    """The grammar and its sentences by `load_dataset("rhm", ..)`.

    Returns:
        The grammar, and the splits `train`, `validation` and `test`: each `(sentences, d)`, uint8, or int32 where the
        grammar has more than 256 symbols.
    """
    noisy = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
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
    finally:
        if noisy:
            datasets.enable_progress_bars()
    grammar = grammar_of(loaded)
    return grammar, {name: _tokens(split, grammar) for name, split in loaded.items()}


def _tokens(split: datasets.Dataset, grammar: Grammar) -> torch.Tensor:
    # Straight from Arrow: the formats of datasets widen every integer to int64.
    column = split.with_format("arrow")[:]["input_ids"].combine_chunks()
    tokens = column.flatten().to_numpy().reshape(-1, grammar.sentence_length)
    # torch gathers no uint16.
    return torch.from_numpy(tokens.astype(np.uint8 if grammar.vocab_size <= 256 else np.int32))
