"""Verbatim copies of a training set, and the overlap with its nearest sentence at every level of the grammar.

Whole sentences are compared as strings of bytes in a hash table, so a hundred thousand samples take a moment; nearest
sentences are searched for some of the samples, pair by pair.
"""

import math
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import SEED_LIMIT, DrawnIds, PositiveInt, Seed, TokenIds, check_integer, checked, smallest_dtype
from rhm_hf.grammar import Source
from rhm_hf.inference import parse
from rhm_hf.judging import read_rows
from rhm_hf.judging.sentences import known_symbols, pad_id, row_lengths
from rhm_hf.statistics.intervals import share_interval


@checked
def memorisation(
    samples: DrawnIds,
    train: TokenIds,
    grammar: Source | None = None,
    *,
    num_nearest: PositiveInt = 1024,
    seed: Seed = 0,
) -> dict[str, Any]:
    """What generated sentences have in common with a training set.

    Args:
        samples: token ids `(n, d)` as array, tensor or lists, or a `datasets.Dataset` with a column `input_ids`.
        train: the training sentences, likewise.
        grammar ([`~rhm_hf.grammar.Source`], *optional*): the law of the data; with it samples are also compared at the
            levels of latent symbols that tokens determine, and with fresh sentences of the grammar, which is what a
            model would give that learnt the law and memorised nothing. Sentences of different lengths need it.
        num_nearest (`int`, *optional*, defaults to 1024): samples (the first ones) whose nearest sentence is searched.
        seed (`int`, *optional*, defaults to 0): of the fresh sentences.

    Returns:
        `dict`: `copied`, `copied_stderr` and `copied_interval` (95 %, also where none are, whose error is 0), the
        fraction of samples that are training sentences; `distinct`, that of different ones among the samples;
        `num_samples`, `num_train`, `num_distinct_train`; `levels`, `overlap` and `num_judged`: for every level from 0,
        the tokens, to the highest below the root that tokens determine, the mean over samples of the largest fraction
        of the sample's symbols that agree, place by place, with any one training
        sentence, over samples that parse up to there. With a grammar also
        `chance_of_copy`, the probability of the training set under the law (P / P_max where sentences are
        equiprobable), `distinct_fresh` and `overlap_fresh` (the same of as many fresh sentences), `valid` and
        `novel`, the fractions of samples that are grammatical, and that are grammatical and not copied.

    Raises:
        `ValueError`: for sentences of different lengths, or training sentences that the grammar excludes.
    """
    num_nearest, seed = check_integer("num_nearest", num_nearest, 1), check_integer("seed", seed, 0, SEED_LIMIT)
    tokens, known = read_rows("samples", samples, grammar), read_rows("train", train, grammar)
    if grammar is not None and grammar.lengths_vary:
        tokens, known = _same_width(tokens, known, pad_id(grammar))
    if tokens.shape[1] != known.shape[1]:
        raise ValueError(f"samples have {tokens.shape[1]} tokens and training sentences {known.shape[1]}")
    num_train = len(known)
    known = np.unique(known, axis=0)
    keys = set(_keys(known))
    copied = np.array([key in keys for key in _keys(tokens)])
    result = {
        "copied": float(copied.mean()),
        "copied_stderr": math.sqrt(copied.mean() * (1 - copied.mean()) / len(copied)),
        "copied_interval": share_interval(float(copied.mean()), len(copied)),
        "distinct": len(set(_keys(tokens))) / len(tokens),
        "num_samples": len(tokens),
        "num_train": num_train,
        "num_distinct_train": len(known),
    }
    nearest = tokens[:num_nearest]
    if grammar is None:
        overlaps = _overlaps([nearest], [known])
        return result | {"levels": [0], **_columns(overlaps)}
    valid = _known(grammar, tokens)[2] > -np.inf
    fresh = grammar.sample(len(tokens), seed=seed, split="evaluation", sampling="iid").astype(np.int64)
    if grammar.lengths_vary:
        known, fresh = _same_width(known, fresh, pad_id(grammar))
        nearest = _same_width(nearest, fresh, pad_id(grammar))[0]
    latents = _levels(grammar, known)
    pad = pad_id(grammar) if grammar.lengths_vary else None
    own, base = (_overlaps(_levels(grammar, rows), latents, pad) for rows in (nearest, fresh[:num_nearest]))
    return result | {
        "chance_of_copy": _chance(grammar, known),
        "distinct_fresh": len(set(_keys(fresh))) / len(fresh),
        "valid": float(valid.mean()),
        "novel": float((valid & ~copied).mean()),
        "levels": list(range(len(latents))),
        **_columns(own),
        "overlap_fresh": _columns(base)["overlap"],
    }


def _keys(tokens: np.ndarray) -> list[bytes]:
    """Every row as bytes."""
    rows = np.ascontiguousarray(tokens)
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0].tolist()


def _same_width(one: np.ndarray, other: np.ndarray, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of several lengths, padded alike."""
    width = max(one.shape[1], other.shape[1])
    return tuple(np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=pad) for rows in (one, other))


def _known(grammar: Source, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows hold nothing but symbols, the rows with symbol 0 for what is none, and their log probabilities."""
    is_symbol, symbols, logs = known_symbols(grammar, torch.from_numpy(tokens))
    inside = row_lengths(torch.from_numpy(tokens), pad_id(grammar)) if grammar.lengths_vary else tokens.shape[1]
    return (is_symbol.sum(1) == inside).numpy(), symbols.numpy(), logs.numpy()


def _chance(grammar: Source, known: np.ndarray) -> float:
    logs = _known(grammar, known)[2]
    wrong = np.isneginf(logs)
    if wrong.any():
        raise ValueError(
            f"train holds {known[wrong.argmax()].tolist()}, which is no sentence of {grammar.name} "
            f"({int(wrong.sum())} of {len(known)} are not): is it another grammar's?"
        )
    return min(1.0, math.fsum(np.exp(logs)))


def _levels(grammar: Source, tokens: np.ndarray) -> list[np.ndarray]:
    """The levels below the root that tokens determine, from 0, each with the rows alone that parse up to there."""
    if not grammar.has_blocks:
        return [tokens]
    is_symbol, symbols, _ = _known(grammar, tokens)
    levels = [level.numpy() for level in parse(grammar, symbols)]
    highest = min(grammar.parsed_depth, grammar.depth - 1)
    return [tokens, *(level[is_symbol & (level >= 0).all(1)] for level in levels[1 : highest + 1])]


def _overlaps(samples: list[np.ndarray], known: list[np.ndarray], pad: int | None = None) -> list[np.ndarray]:
    """For every level, the largest fraction of equal symbols of each sample with any training sentence."""
    from .overlaps import largest_overlaps  # numba takes a moment to import

    overlaps = []
    for rows, others in zip(samples, known, strict=True):
        result, lengths = np.empty(len(rows), dtype=np.int64), rows.shape[1]
        if pad is not None:  # padding agrees with nothing
            lengths = np.maximum((rows != pad).sum(1), 1)
            rows, others = np.where(rows == pad, -1, rows), np.where(others == pad, -2, others)
        highest = max(int(array.max(initial=0)) for array in (rows, others))
        lowest = min(int(array.min(initial=0)) for array in (rows, others))
        dtype = smallest_dtype(highest + 1) if lowest >= 0 else np.int64  # small numbers, more of them in a cache
        largest_overlaps(rows.astype(dtype), np.unique(others.astype(dtype), axis=0), result)
        overlaps.append(result / lengths)
    return overlaps


def _columns(overlaps: list[np.ndarray]) -> dict[str, list]:
    return {
        "overlap": [float(values.mean()) if len(values) else None for values in overlaps],
        "num_judged": [len(values) for values in overlaps],
    }
