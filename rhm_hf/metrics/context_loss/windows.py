"""Documents of tokens, and windows of them: which are read, and which of them are independent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import check_ids
from rhm_hf.data import CharText
from rhm_hf.data.reading import dataset_tokens
from rhm_hf.metrics.path_check import refuse_paths


MANY_DOCUMENTS = 32  # with fewer, standard errors come from blocks of documents
BLOCKS = 64  # at most about so many blocks
LEAST_WINDOWS = 8  # side by side, with the default context
BLOCK_WINDOWS = 4  # a block is at least so many windows long, so that few windows lie in two


@dataclass(frozen=True)
class Documents:
    """Token ids of documents, one after the other.

    Args:
        ids (`np.ndarray`): integers `(tokens,)`.
        offsets (`np.ndarray`): shape `(documents + 1,)`.
        characters (`np.ndarray`, *optional*): how many characters of its text every token stands for.
    """

    ids: np.ndarray
    offsets: np.ndarray
    characters: np.ndarray | None

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise ValueError("input_ids or texts are empty: there is no token to predict")
        if self.ids.dtype.kind not in "iu":
            raise ValueError(f"input_ids has dtype {self.ids.dtype}: token ids are integers")
        if self.ids.min() == self.ids.max():
            raise ValueError(
                f"input_ids or texts hold one distinct token ({self.ids[0]}): there is nothing to predict"
            )

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of every document."""
        return np.diff(self.offsets)

    @property
    def characters_per_token(self) -> float | None:
        """Their mean."""
        return None if self.characters is None else float(self.characters.mean())


def as_documents(input_ids: Any = None, texts: str | Sequence[str] | None = None, tokenizer: Any = None) -> Documents:
    """Tokens given as such, or texts tokenised, each document as a whole and without special tokens.

    Args:
        input_ids (*optional*): [`~rhm_hf.data.CharText`], one sequence of ids, a sequence of them, or a dataset with
            a column `input_ids`.
        texts (`str` or `Sequence[str]`, *optional*): documents.
        tokenizer (`PreTrainedTokenizerFast`, *optional*): for texts.
    """
    if (input_ids is None) == (texts is None):
        raise ValueError("give one of input_ids= (tokens) and texts= (documents to tokenise)")
    if isinstance(input_ids, CharText):
        return Documents(input_ids.ids, input_ids.offsets, np.ones(len(input_ids.ids), dtype=np.uint8))
    if texts is not None:
        if tokenizer is None:
            raise ValueError("texts= needs tokenizer=, the model's own")
        parts, characters = zip(*[_tokenised(text, tokenizer) for text in _texts(texts)], strict=True)
        return Documents(np.concatenate(parts), _offsets(parts), np.concatenate(characters))
    if hasattr(input_ids, "column_names"):
        input_ids = _rows_of(input_ids)
    input_ids = check_ids("input_ids", input_ids)
    one = len(input_ids) > 0 and np.ndim(input_ids[0]) == 0
    parts = [np.asarray(input_ids)] if one else [np.asarray(part) for part in input_ids]
    if any(part.ndim != 1 for part in parts):
        raise ValueError("input_ids must be a sequence of ids or a sequence of such sequences, one for a document")
    if not sum(map(len, parts)):
        raise ValueError("input_ids is empty: there is no token to predict")
    parts = [part for part in parts if len(part)] or [np.empty(0, dtype=np.int64)]
    return Documents(np.concatenate(parts), _offsets(parts), None)


def _rows_of(dataset: Any) -> Any:
    if not hasattr(dataset, "__len__"):
        raise ValueError("input_ids is a streaming dataset: take(..) what fits into memory, or pass lists of ids")
    return dataset_tokens(dataset, "input_ids")


def refuse_padding(documents: Documents, config: Any) -> None:
    """Raises a `ValueError` where documents end with the padding that a model's configuration names."""
    pad = getattr(config, "pad_token_id", None)
    if not isinstance(pad, int) or pad in (getattr(config, name, None) for name in ("bos_token_id", "eos_token_id")):
        return
    last = documents.ids[documents.offsets[1:][documents.sizes > 0] - 1]
    if (last == pad).any():
        raise ValueError(
            f"input_ids has rows that end with {pad}, the model's padding, which is no token of a text: give rows of "
            "different lengths as a list of lists, without it"
        )


def _offsets(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


def _texts(texts) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"texts holds {text!r:.40}: every document must be a string; tokens are input_ids=")
    refuse_paths("texts", texts)
    texts = [text for text in texts if text]
    if not texts:
        raise ValueError("texts is empty: there is no token to predict")
    return texts


def _tokenised(text: str, tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Ids, and the characters of every token: from the end of the one before to its own, so that they add up."""
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer is a {type(tokenizer).__name__}, which knows no offsets: pass a fast one")
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = np.maximum.accumulate([0] + [end for _, end in encoding["offset_mapping"]])
    return np.asarray(encoding["input_ids"], dtype=np.int64), np.diff(ends)


def default_context(documents: Documents) -> int:
    """The longest context for which documents with half of all tokens have room, and the text for 8 windows at all."""
    sizes = np.sort(documents.sizes)[::-1]
    held = np.cumsum(sizes)
    half = int(sizes[np.searchsorted(held, held[-1] / 2)])
    return min(half, len(documents.ids) // LEAST_WINDOWS) - 1


@dataclass(frozen=True)
class Windows:
    """Windows of N + 1 tokens.

    Args:
        starts (`np.ndarray`): where they begin in `documents.ids`.
        rows (`np.ndarray`): of every window the document, or block of a document, that it counts for.
        num_documents (`int`): documents with a window.
    """

    starts: np.ndarray
    rows: np.ndarray
    num_documents: int

    @property
    def num_rows(self) -> int:
        """Documents or blocks that hold a window."""
        return int(self.rows.max()) + 1


def random_windows(documents: Documents, length: int, num_windows: int, seed: int) -> Windows:
    """Windows that start at uniformly random places, none across documents; all of them where they are not more."""
    places = np.maximum(documents.sizes - length + 1, 0)
    bounds = np.concatenate([[0], np.cumsum(places)])
    if bounds[-1] == 0:
        raise ValueError(
            f"max_context={length - 1} needs documents of {length} tokens and the longest has "
            f"{documents.sizes.max()}: lower max_context"
        )
    if num_windows >= bounds[-1]:
        chosen = np.arange(bounds[-1])
    else:
        generator = torch.Generator().manual_seed(seed)
        chosen = np.sort(torch.randint(int(bounds[-1]), (num_windows,), generator=generator).numpy())
    document = np.searchsorted(bounds, chosen, side="right") - 1
    within = chosen - bounds[document]
    num_documents = len(np.unique(document))
    if num_documents < MANY_DOCUMENTS:
        block = max(BLOCK_WINDOWS * length, -(-len(documents.ids) // BLOCKS))
        rows = document * (int(documents.sizes.max()) // block + 1) + within // block
    else:
        rows = document
    return Windows(documents.offsets[document] + within, np.unique(rows, return_inverse=True)[1], num_documents)


def whole_rows(documents: Documents) -> Windows:
    """Every document is one window: they must have the same length."""
    if len(np.unique(documents.sizes)) > 1:
        raise ValueError(
            f"windows='rows' takes documents as they are, and theirs have {documents.sizes.min()} to "
            f"{documents.sizes.max()} tokens: give rows of one length, or windows='random'"
        )
    count = len(documents.sizes)
    return Windows(documents.offsets[:-1], np.arange(count), count)
