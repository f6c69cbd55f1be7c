"""Training: one Accelerate loop for any task and model, its checkpoints, its results, and sweeps of runs."""

from .arguments import Arguments, DataArguments, ModelArguments, TrainingArguments, parse_arguments
from .loop import train
from .results import best_row


__all__ = [
    "Arguments",
    "DataArguments",
    "ModelArguments",
    "TrainingArguments",
    "best_row",
    "parse_arguments",
    "train",
]
