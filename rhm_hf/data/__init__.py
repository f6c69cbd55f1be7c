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
    from .reading import checksum, tokens_of
    from .rhm import RHMDatasetBuilder
    from .tokenizer import rhm_tokenizer

_EXPORTS = {
    "RHMCollator": "collator",
    "RHMDatasetBuilder": "rhm",
    "RHMDatasetConfig": "config",
    "checksum": "reading",
    "export_parquet": "parquet",
    "grammar_of": "provenance",
    "resolve_grammar": "provenance",
    "rhm_tokenizer": "tokenizer",
    "tokens_of": "reading",
}

__all__ = [
    "RHMCollator",
    "RHMDatasetBuilder",
    "RHMDatasetConfig",
    "checksum",
    "export_parquet",
    "grammar_of",
    "resolve_grammar",
    "rhm_tokenizer",
    "tokens_of",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
