"""Exact comparison of models with laws: one KL, one choice of sentences, one loop. Below both metrics and tasks.

`sentences` says where a model is judged, `ids` how a model's ids stand for symbols, `divergence` what KL is,
`compare` runs the loop over rows and processes, and `tokens` compares laws of tokens.
"""

from .compare import Targets, accumulate, compare, judged_columns, share_of_process
from .divergence import divergence, divergence_terms, entropy
from .ids import ModelIds
from .sentences import Sentences, fresh_sentences, given_sentences, judged_sentences, read_rows
from .tokens import compare_tokens


__all__ = [
    "ModelIds",
    "Sentences",
    "Targets",
    "accumulate",
    "compare",
    "compare_tokens",
    "divergence",
    "divergence_terms",
    "entropy",
    "fresh_sentences",
    "given_sentences",
    "judged_columns",
    "judged_sentences",
    "read_rows",
    "share_of_process",
]
