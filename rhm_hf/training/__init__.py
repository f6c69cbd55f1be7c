"""Training: one Accelerate loop for any task and model, its checkpoints, its results, and sweeps of runs.

Names are imported when they are first used: torch, transformers, datasets and accelerate take seconds.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:  # what type checkers and editors see; `_EXPORTS` says the same to Python
    from .arguments import Arguments, DataArguments, ModelArguments, TrainingArguments, parse_arguments
    from .exact_kl_callback import ExactKLCallback
    from .results import best_row
    from .run.loop import train

_EXPORTS = {
    "Arguments": "arguments",
    "DataArguments": "arguments",
    "ExactKLCallback": "exact_kl_callback",
    "ModelArguments": "arguments",
    "TrainingArguments": "arguments",
    "best_row": "results",
    "parse_arguments": "arguments",
    "train": "run.loop",
}

__all__ = [
    "Arguments",
    "DataArguments",
    "ExactKLCallback",
    "ModelArguments",
    "TrainingArguments",
    "best_row",
    "parse_arguments",
    "train",
]
if not TYPE_CHECKING:  # to type checkers an unknown name is an error
    __getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
