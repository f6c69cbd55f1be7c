"""Data sets of sentences: the builder behind `load_dataset("rhm")`, tokenizer, collator, Parquet export."""

from .collator import RHMCollator
from .config import RHMDatasetConfig
from .parquet import export_parquet
from .provenance import grammar_of, resolve_grammar
from .rhm import RHMDatasetBuilder
from .tokenizer import rhm_tokenizer


__all__ = [
    "RHMCollator",
    "RHMDatasetBuilder",
    "RHMDatasetConfig",
    "export_parquet",
    "grammar_of",
    "resolve_grammar",
    "rhm_tokenizer",
]
