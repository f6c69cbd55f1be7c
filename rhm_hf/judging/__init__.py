"""Exact comparison of models with laws: one KL, one choice of sentences, one loop. Below both metrics and tasks.

`models` finds out how a model is read, `ids` which of its ids stand for symbols, `sentences` says where it is judged,
`divergence` what KL is, `compare` runs the loop over rows and processes, and `tokens` compares laws of tokens.
"""

from .bare import evaluating, share_of_process
from .compare import Targets, accumulate, compare, judged_columns
from .divergence import divergence, divergence_terms, entropy
from .model_ids import ModelIds
from .models import ModelReader, read_model
from .sentences import Sentences, fresh_sentences, given_sentences, judged_sentences, read_rows
from .tokens import compare_tokens


__all__ = [
    "ModelIds",
    "ModelReader",
    "Sentences",
    "Targets",
    "accumulate",
    "compare",
    "compare_tokens",
    "divergence",
    "divergence_terms",
    "entropy",
    "evaluating",
    "fresh_sentences",
    "given_sentences",
    "judged_columns",
    "judged_sentences",
    "read_model",
    "read_rows",
    "share_of_process",
]
