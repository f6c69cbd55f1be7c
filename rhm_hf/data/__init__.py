"""Data sets of sentences: the builder behind `load_dataset("rhm")`, tokenizer, collator, Parquet export.

Names are imported when they are first used: loading a dataset needs neither torch nor transformers.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .collator import RHMCollator
    from .config import RHMDatasetConfig
    from .parquet import export_parquet
    from .provenance import grammar_of, resolve_grammar
    from .rhm import RHMDatasetBuilder
    from .tokenizer import rhm_tokenizer

_EXPORTS = {
    "RHMCollator": "collator",
    "RHMDatasetBuilder": "rhm",
    "RHMDatasetConfig": "config",
    "export_parquet": "parquet",
    "grammar_of": "provenance",
    "resolve_grammar": "provenance",
    "rhm_tokenizer": "tokenizer",
}

__all__ = [
    "RHMCollator",
    "RHMDatasetBuilder",
    "RHMDatasetConfig",
    "export_parquet",
    "grammar_of",
    "resolve_grammar",
    "rhm_tokenizer",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
