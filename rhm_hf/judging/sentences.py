"""Which sentences a model is judged at: all of a law, weighted, where they are few; fresh ones; or those given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import NonNegativeIndex, NonNegativeInt, Seed, check_integer, checked, naming
from ..grammar import NotSupported, Source, enumerate_sentences
from ..grammar.enumeration import can_enumerate
from ..inference import log_prob, sample_posterior


ALL_SENTENCES_LIMIT = 2**16  # at most so many sentences are all judged, weighted, instead of a sample
# Where the exact laws of every sentence are kept for a whole run (the tasks of training) fewer are: memory, and time
# at each evaluation. Published tables were made with it.
KEPT_SENTENCES_LIMIT = 2**13


@dataclass(frozen=True)
class Sentences:
    """Sentences, on the CPU.

    Attributes:
        tokens (`torch.Tensor`): int64 `(n, d)`; where lengths vary `(n, longest)`, padded with PAD = v + 1.
        lengths (`torch.Tensor`): int64 `(n,)`, in tokens.
        weights (`torch.Tensor`): float64 `(n,)`: probabilities where these are all sentences, else ones.
        exhaustive (`bool`): whether these are all sentences of the law, so that means over them are exact.
    """

    tokens: torch.Tensor
    lengths: torch.Tensor
    weights: torch.Tensor
    exhaustive: bool = False

    def __len__(self) -> int:
        return len(self.tokens)


def refuse_varying(source: Source, what: str, why: str) -> None:
    """Raises the `NotSupported` of what is defined on a fixed tree only."""
    if not source.has_blocks:
        why = f"{why}, and its sentences have no fixed tree"
        raise NotSupported(what, source, why, "take a source with has_blocks")


def pad_id(source: Source) -> int:
    """PAD = v + 1."""
    return source.vocab_size + 1


@checked
def judged_sentences(
    source: Source,
    num_sentences: NonNegativeInt,
    seed: Seed = 0,
    limit: NonNegativeInt = ALL_SENTENCES_LIMIT,
    length: NonNegativeInt | None = None,
) -> Sentences:
    """All sentences of a source, weighted by their probability, where there are at most `limit`; else fresh ones.

    Args:
        source (`Source`): the law.
        num_sentences (`int`): how many independent sentences are drawn elsewhere, of the split "evaluation", which no
            run trains on.
        seed (`int`, *optional*, defaults to 0): of those.
        limit (`int`, *optional*, defaults to 2^16).
        length (`int`, *optional*): pad to at least so many tokens, where lengths vary.
    """
    num_sentences = check_integer("num_sentences", num_sentences, 1)
    if source.num_sentences <= limit and can_enumerate(source):
        tokens, probs = enumerate_sentences(source)
        return _sentences(source, tokens, probs, exhaustive=True, length=length)
    return fresh_sentences(source, num_sentences, seed, length=length)


@checked
def fresh_sentences(
    source: Source,
    num_sentences: NonNegativeInt,
    seed: Seed = 0,
    start: NonNegativeIndex = 0,
    length: NonNegativeInt | None = None,
) -> Sentences:
    """Independent sentences of the split "evaluation"; arguments as in [`judged_sentences`].

    Args:
        start (`int`, *optional*, defaults to 0): number of the first sentence in the split.
    """
    tokens = source.sample(num_sentences, seed=seed, split="evaluation", sampling="iid", start=start)
    return _sentences(source, tokens, np.ones(len(tokens)), length=length)


@checked
def given_sentences(source: Source, input_ids: Any, name: str = "input_ids") -> Sentences:
    """Sentences that someone holds, checked: each is one of the source.

    Args:
        source (`Source`): the law.
        input_ids: symbols `(n, d)` as [`read_rows`] takes them, without BOS, END or padding; where lengths vary a list
            of lists, or rows padded with PAD = v + 1.
        name (`str`, *optional*, defaults to `"input_ids"`): of the argument, for errors.

    Raises:
        `ValueError`: for another shape, ids that are no integers, and sentences of probability 0.
    """
    tokens = read_rows(name, input_ids, source)
    if source.lengths_vary and (wrong := (np.diff((tokens == pad_id(source)).astype(np.int8)) < 0)).any():
        row, place = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{name}[{row}] holds {tokens[row, place + 1]} after PAD = {pad_id(source)}: a sentence ends where its "
            "padding begins"
        )
    found = _sentences(source, tokens, np.ones(len(tokens)))
    with naming("tokens", name):
        wrong = torch.isinf(log_prob(source, found.tokens))
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        sentence = found.tokens[first, : found.lengths[first]].tolist()
        raise ValueError(
            f"{name}[{first}] = {sentence} is no sentence of {source.name} ({int(wrong.sum())} of {len(found)} are "
            "not): the law after an impossible prefix does not exist"
        )
    return found


def derivations_of(source: Source, sentences: Sentences, seed: int = 0) -> list[np.ndarray]:
    """Every level of the derivations of given sentences: entry ℓ = 0 (tokens) .. L (root), `(n, nodes at level ℓ)`.

    Symbols that tokens do not determine, the states of chains, are drawn from their exact posterior, so that sentences
    drawn from the law have derivations drawn from it.

    Args:
        source (`Source`): a fixed tree.
        sentences ([`Sentences`]): its own.
        seed (`int`, *optional*, defaults to 0): of what is drawn.
    """
    levels = source.parse(sentences.tokens.numpy())
    if len(levels) > source.depth:
        return levels
    drawn = sample_posterior(source, sentences.tokens, generator=torch.Generator().manual_seed(seed))
    return [*levels, *(level.numpy() for level in drawn[len(levels) :])]


@checked
def read_rows(name: str, rows: Any, source: Source | None = None, length: NonNegativeInt | None = None) -> np.ndarray:
    """Rows of symbols in any form people hold them in, as int64.

    Args:
        name (`str`): of the argument, for errors.
        rows: array, tensor, lists, a `datasets.Dataset` with a column `input_ids`, or such a column.
        source (`Source`, *optional*): gives the length of rows; where its lengths vary, rows of different lengths are
            padded with PAD = v + 1.
        length (`int`, *optional*): d, where there is no source.

    Returns:
        `np.ndarray`: int64 `(n, d)`, n at least 1.

    Raises:
        `ValueError`: for rows of other lengths, no row, or ids that are no integers.
    """
    vary = source is not None and source.lengths_vary
    if source is not None and not vary:
        length = source.sentence_length
    array = _array(name, rows, pad_id(source) if vary else None)
    if vary:
        wanted = f"(n, at most {source.max_length})" if source.max_length is not None else "(n, longest)"
        fits = source.max_length is None or array.shape[-1:] <= (source.max_length,)
    else:
        wanted = "(n, d)" if length is None else f"(n, {length})"
        fits = length is None or array.shape[-1:] == (length,)
    if array.ndim != 2 or len(array) == 0 or not fits:
        raise ValueError(f"{name} has shape {array.shape}: give sentences as {wanted} symbols, without BOS or padding")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}: symbols must be integers")
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"{name} holds {int(array.max())}, which is no symbol: ids are far smaller")
    return array.astype(np.int64)


def _array(name: str, rows: Any, pad: int | None) -> np.ndarray:
    if hasattr(rows, "column_names"):
        from ..data.reading import dataset_tokens

        rows = dataset_tokens(rows, "input_ids")
    if isinstance(rows, torch.Tensor):
        rows = rows.detach().cpu()
        return rows.float().numpy() if rows.dtype == torch.bfloat16 else rows.numpy()
    if isinstance(rows, dict | str):
        raise ValueError(f"{name} is a {type(rows).__name__}: give sentences as lists or arrays of symbols")
    if not isinstance(rows, np.ndarray):
        try:
            rows = [np.asarray(row.cpu() if isinstance(row, torch.Tensor) else row) for row in rows]
        except TypeError:
            raise ValueError(f"{name}={rows!r}: give sentences as lists or arrays of symbols") from None
        rows = _stacked(name, rows, pad)
    return rows


def _stacked(name: str, rows: list[np.ndarray], pad: int | None) -> np.ndarray:
    if len({row.shape for row in rows}) <= 1:
        return np.array(rows)
    if pad is None or any(row.ndim != 1 for row in rows):
        raise ValueError(f"{name} has rows of different lengths: sentences have one")
    rows = [row if row.size else row.astype(np.int64) for row in rows]  # an empty list is an array of floats
    kinds = {row.dtype.kind for row in rows}
    if not kinds <= set("iu"):
        raise ValueError(f"{name} has rows of dtype {rows[0].dtype}: symbols must be integers")
    stacked = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for place, row in zip(stacked, rows, strict=True):
        place[: len(row)] = row
    return stacked


def _sentences(
    source: Source, tokens: np.ndarray, weights: np.ndarray, exhaustive: bool = False, length: int | None = None
) -> Sentences:
    tokens = torch.from_numpy(tokens.astype(np.int64))
    weights = torch.from_numpy(weights)
    if not source.lengths_vary:
        lengths = torch.full((len(tokens),), tokens.shape[1], dtype=torch.int64)
        return Sentences(tokens, lengths, weights, exhaustive)
    lengths = row_lengths(tokens, pad_id(source))
    tokens = tokens[:, : int(lengths.max())]
    if length is not None and tokens.shape[1] < length:
        tokens = torch.nn.functional.pad(tokens, (0, length - tokens.shape[1]), value=pad_id(source))
    return Sentences(tokens, lengths, weights, exhaustive)


def row_lengths(rows: torch.Tensor, pad: int) -> torch.Tensor:
    """The number of ids before the padding at the end of each row, int64 `(n,)`."""
    return (rows != pad).long().flip(1).cummax(1).values.sum(1) if rows.shape[1] else rows.new_zeros(len(rows)).long()


def known_symbols(source: Source, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What can be said of rows that may hold anything, such as what a model generated.

    Args:
        source (`Source`): the law.
        rows (`torch.Tensor`): int64 `(n, d)`; where lengths vary padded with PAD, which is no symbol of a sentence.

    Returns:
        Which ids are symbols of a sentence, bool `(n, d)`; the rows with symbol 0 for what is none, padded; and the
        log probabilities of the sentences, float64 `(n,)`, -inf where a row holds what is no symbol.
    """
    is_symbol = (rows >= 0) & (rows < source.vocab_size)
    inside = torch.ones_like(is_symbol)
    if source.lengths_vary:
        inside = torch.arange(rows.shape[1], device=rows.device) < row_lengths(rows, pad_id(source))[:, None]
    symbols = torch.where(is_symbol & inside, rows, torch.where(inside, 0, pad_id(source)))
    logs = log_prob(source, symbols).masked_fill((inside & ~is_symbol).any(1), -torch.inf)
    return is_symbol & inside, symbols, logs
