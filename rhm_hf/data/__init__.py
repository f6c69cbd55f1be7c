"""Data sets of sentences: the builder behind `load_dataset("rhm")`, tokenizer, collator, Parquet export; and text.

Names are imported when they are first used: loading a dataset needs neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .characters import CharEncoder, char_tokenizer
    from .collator import RHMCollator
    from .config import RHMDatasetConfig
    from .lm_eval_task import lm_eval_task
    from .parquet import export_parquet
    from .provenance import grammar_of, resolve_grammar
    from .reading import checksum, tokens_of
    from .rhm import RHMDatasetBuilder
    from .text import CharCorpus, CharText, char_corpus
    from .tokenizer import rhm_tokenizer

_EXPORTS = {
    "CharCorpus": "text",
    "CharEncoder": "characters",
    "CharText": "text",
    "RHMCollator": "collator",
    "RHMDatasetBuilder": "rhm",
    "RHMDatasetConfig": "config",
    "char_corpus": "text",
    "char_tokenizer": "characters",
    "checksum": "reading",
    "export_parquet": "parquet",
    "grammar_of": "provenance",
    "lm_eval_task": "lm_eval_task",
    "resolve_grammar": "provenance",
    "rhm_tokenizer": "tokenizer",
    "tokens_of": "reading",
}

__all__ = [
    "CharCorpus",
    "CharEncoder",
    "CharText",
    "RHMCollator",
    "RHMDatasetBuilder",
    "RHMDatasetConfig",
    "char_corpus",
    "char_tokenizer",
    "checksum",
    "export_parquet",
    "grammar_of",
    "lm_eval_task",
    "resolve_grammar",
    "rhm_tokenizer",
    "tokens_of",
]
if not TYPE_CHECKING:  # to type checkers an unknown name is an error
    __getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
