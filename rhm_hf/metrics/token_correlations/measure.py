"""Correlations of texts or token ids as one dictionary of plain numbers."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from rhm_hf.checks import PositiveInt, TokensOrTexts, check_ids, checked, naming
from rhm_hf.data.tokenizer import token_ids
from rhm_hf.metrics.path_check import refuse_paths
from rhm_hf.statistics import token_correlations


DEFAULT_DISTANCES = 32


@checked
def measure_correlations(
    data: TokensOrTexts,
    *,
    distances: Iterable[int] | None = None,
    tokenizer: Any = None,
    vocab_size: PositiveInt | None = None,
    anchor: str | None = None,
    center: str = "pooled",
    t_min: PositiveInt | None = None,
    t_max: PositiveInt | None = None,
    population: PositiveInt | None = None,
    num_blocks: PositiveInt | None = None,
    mutual_information: bool = False,
) -> dict[str, Any]:
    """Correlations of texts, or of token ids.

    Args:
        data: one text, or a list of them, documents, whose windows do not cross; or token ids: whatever
            [`~rhm_hf.statistics.token_correlations`] takes.
        distances (`Iterable[int]`, *optional*, defaults to 1 .. 32, or less where no document is so long): t, tokens.
        tokenizer (*optional*, defaults to characters): a tokenizer of transformers, or a directory or Hub id of one;
            no special ids are added.
        vocab_size (`int`, *optional*): v; by default the tokenizer's, the number of different characters, or the
            largest id + 1.
        anchor, center, population, num_blocks (*optional*): see [`~rhm_hf.statistics.token_correlations`]. Equally
            long rows of ids are taken for sentences (`anchor="last"`), texts never are.
        t_min, t_max (`int`, *optional*): range of the fit of β; by default from the first distance to t*.
        mutual_information (`bool`, *optional*, defaults to `False`): also measure it, nats.

    Returns:
        `dict` of lists, one entry a distance: `distances`, `num_pairs`, `correlation`, `correlation_stderr`,
        `noise_floor`, `signal`, `signal_stderr`, `signal_interval`, `operator_norm`, and where asked
        `mutual_information`; of numbers:
        `effective_context` (t*), `effective_context_interval` and `effective_context_is_bound`, `exponent` (β),
        `exponent_interval`, which holds the choice of range, `exponent_statistical_interval` of this one, and
        `fit_range` (None where too few distances have a signal), `vocab_size`, `num_tokens`.

    Raises:
        `ValueError`: for empty text, text shorter than a distance, or one distinct token.
    """
    if not is_text(data) and not hasattr(data, "ids"):
        check_ids("data", data)
    if is_text(data):
        data, known_size = encode_texts([data] if isinstance(data, str) else list(data), tokenizer)
        vocab_size = known_size if vocab_size is None else vocab_size
        anchor = "all" if anchor is None else anchor
    elif tokenizer is not None:
        raise ValueError("tokenizer= is for texts: data holds no strings; token ids need none")
    distances = default_distances(_longest(data)) if distances is None else distances
    with naming("tokens", "data"):
        found = token_correlations(
            data, distances, vocab_size, anchor, center=center, population=population, num_blocks=num_blocks
        )
    result = found.to_dict() | {"signal_interval": found.signal_interval().tolist()}
    result["operator_norm"] = found.operator_norm.tolist()
    if mutual_information:
        result["mutual_information"] = found.mutual_information.tolist()
    try:
        fit = found.fit(t_min, t_max)
    except ValueError:
        if t_min is not None or t_max is not None:
            raise
        fit = None
    return result | {
        "effective_context": found.effective_context,
        "effective_context_is_bound": found.effective_context_is_bound,
        "effective_context_interval": list(found.effective_context_interval()),
        "exponent": None if fit is None else fit.exponent,
        "exponent_interval": None if fit is None else list(fit.interval),
        "exponent_statistical_interval": None if fit is None else list(fit.statistical_interval),
        "fit_range": None if fit is None else [fit.t_min, fit.t_max],
        "vocab_size": found.counts.settings["vocab_size"],
        "num_tokens": found.counts.num_tokens,
    }


def is_text(data: Any) -> bool:
    """Whether data are one text or a list of them, and not token ids."""
    return isinstance(data, str) or (isinstance(data, list | tuple) and len(data) > 0 and isinstance(data[0], str))


def default_distances(longest: int) -> range:
    """1 .. 32, or less where no document is so long."""
    return range(1, max(1, min(DEFAULT_DISTANCES, longest - 1)) + 1)


def encode_texts(texts: list[str], tokenizer: Any) -> tuple[Any, int]:
    """Ids of one text `(n,)` or a list of documents' ids, and the vocabulary size."""
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("data mixes texts with something else: give a text, a list of texts, or token ids")
    refuse_paths("data", texts)
    if not any(texts):
        raise ValueError("data is empty: there is no text")
    if tokenizer is not None:
        if not callable(tokenizer):
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        documents, size = token_ids(tokenizer, texts), len(tokenizer)
    else:
        codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        present = np.zeros(int(codes.max()) + 1, dtype=bool)
        present[codes] = True
        ids = (np.cumsum(present) - 1).astype(np.uint8 if (size := int(present.sum())) <= 256 else np.int32)[codes]
        documents = np.split(ids, np.cumsum([len(text) for text in texts])[:-1])
    # A list with an empty document last is ragged: equally long texts are documents, too, not rows of an array.
    return (documents[0] if len(documents) == 1 else [*documents, documents[0][:0]]), size


def _longest(data: Any) -> int:
    if not hasattr(data, "__len__"):
        raise ValueError("distances=None: what can be read only once needs them")
    if hasattr(data, "column_names") and "input_ids" in data.column_names:
        data = data["input_ids"]
    documents = len(data) > 0 and np.ndim(data[0]) > 0
    return max(map(len, data)) if documents else len(data)
