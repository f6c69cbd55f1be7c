"""The sentences of a run."""

import torch

from ..grammar import Grammar
from .arguments import DataArguments


def load_splits(arguments: DataArguments, grammar: Grammar) -> dict[str, torch.Tensor]:
    """The splits `train`, `validation` and `test`: each `(sentences, d)` of the grammar's smallest integer type."""
    sizes = {"train": arguments.num_train, "validation": arguments.num_validation, "test": arguments.num_test}
    return {
        split: torch.from_numpy(
            grammar.sample(size, seed=arguments.sample_seed, split=split, sampling=arguments.sampling)
        )
        for split, size in sizes.items()
    }
