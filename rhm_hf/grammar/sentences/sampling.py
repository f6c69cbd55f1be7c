"""Sentences as a pure function of (grammar, seed, split, index).

Sentence i of a split takes fixed numbers of a counter-based generator, or a permuted index, so any range of sentences
is the same bytes however it is cut into batches, on any machine.

- `iid`: the digits of a sentence (see `plan`) are drawn, with the exact law of the grammar. With `disjoint=True` every
  split owns a region of a keyed hash of the sentences, and sentence i is the first of its draws that falls into it.
- `unique`: sentence i is the one of a permuted index. Training sentences take the permuted indices 0, 1, 2, .., test
  sentences P_max - 1, P_max - 3, .., validation sentences P_max - 2, P_max - 4, ..: splits are disjoint, smaller
  training sets are prefixes of larger ones, and the test set does not move with their size.
"""

import itertools
import math
from typing import Any

import numpy as np

from ...checks import SEED_LIMIT, check_integer


SPLITS = ("train", "validation", "test", "evaluation")
# Where the permuted indices of a split begin, counted from 0 if the step is positive and from the end otherwise.
UNIQUE_POSITIONS = {"train": (0, 1), "test": (1, -2), "validation": (2, -2)}
# Regions of the hash with `disjoint=True`: train the lowest 80 %, validation and test 10 % each.
REGIONS = {"train": (0, 8), "validation": (8, 9), "test": (9, 10)}
# An unlucky sentence of a region of 10 % needs 2^12 attempts with probability 0.9^4096 = 10^-187.
MAX_ATTEMPTS = 2**12
DRAWN_TOGETHER = 2**12  # sentences that a source without a plan draws at a time
TOGETHER = 16  # batches whose sentences outside a region are drawn again together: the last ones are few
WORKING_BYTES = 2**19  # of numbers and sentences handled together: they stay in the second-level cache


def sample(
    grammar: Any,
    num: int,
    seed: int = 0,
    split: str = "train",
    sampling: str | None = None,
    start: int = 0,
    disjoint: bool = False,
) -> np.ndarray:
    """Sentences `start`, .., `start + num - 1` of a split.

    Args:
        num (`int`): number of sentences.
        seed (`int`, *optional*, defaults to 0): picks the sentences, in `[0, 2^63)`.
        split (`str`, *optional*, defaults to `"train"`): `"train"`, `"validation"`, `"test"`, or `"evaluation"`
            (drawn with replacement, independently of the other three).
        sampling (`str`, *optional*): `"unique"` (distinct sentences) or `"iid"` (with replacement). Defaults to
            unique where all sentences are equally probable, to iid elsewhere and for `"evaluation"`.
        start (`int`, *optional*, defaults to 0): index of the first sentence.
        disjoint (`bool`, *optional*, defaults to `False`): with iid, keeps the splits from sharing any sentence;
            `unique` splits never do.

    Returns:
        `np.ndarray` of shape `(num, sentence_length)` and `grammar.token_dtype`; where lengths vary
        `(num, longest of these)`, padded with PAD = v + 1.

    Raises:
        `ValueError`: for arguments out of range, for more distinct sentences than exist, for `"unique"` where
            sentences are not equally probable.
    """
    num, start = check_integer("num", num, 0), check_integer("start", start, 0)
    seed = check_integer("seed", seed, 0, SEED_LIMIT)
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown: use one of {', '.join(SPLITS)}")
    if split == "evaluation":
        if sampling == "unique" or disjoint:
            asked = "disjoint=True" if disjoint else "sampling='unique'"
            raise ValueError(f"split='evaluation' is sampled with replacement: it cannot have {asked}; use 'test'")
        sampling = "iid" if sampling is None else sampling
    sampling = resolve_sampling(grammar, sampling)
    _check_indices(grammar, sampling, split, start, num)
    if grammar.sampling_plan is None:
        return _drawn_one_by_one(grammar, num, seed, split, start, disjoint)
    sentences = np.empty((num, grammar.sentence_length), dtype=grammar.token_dtype)
    if sampling == "unique":
        _fill_unique(grammar, sentences, seed, split, start)
    else:
        _fill_iid(grammar, sentences, seed, split, start, disjoint)
    return sentences


def resolve_sampling(grammar: Any, sampling: str | None = None) -> str:
    """`"unique"` or `"iid"`: the one asked for if the grammar allows it, its default for None."""
    if sampling is None:
        return "unique" if grammar.is_equiprobable else "iid"
    if sampling not in ("unique", "iid"):
        raise ValueError(f"sampling={sampling!r} is unknown: use 'unique', 'iid' or None for the grammar's default")
    if sampling == "unique" and not grammar.is_equiprobable:
        raise ValueError(
            f"sampling='unique' is impossible for {grammar.name}: its sentences are not equally probable, so distinct "
            "ones would follow another law; use sampling='iid', with disjoint=True for splits that share no sentence"
        )
    return sampling


def check_split_sizes(grammar: Any, train: int, validation: int, test: int, sampling: str | None = None) -> None:
    """Raises a `ValueError` if `unique` splits of these sizes would meet; iid splits may have any sizes."""
    sizes = {"train": train, "validation": validation, "test": test}
    sizes = {split: check_integer(f"{split}_size", size, 0) for split, size in sizes.items()}
    if resolve_sampling(grammar, sampling) == "iid":
        return
    available = _permuted_size(grammar)
    reserved = max(_reach(split, sizes[split]) for split in ("validation", "test"))
    if sizes["train"] + reserved > available:
        raise ValueError(
            f"train_size={train}, validation_size={validation} and test_size={test} do not fit: {grammar.name} has "
            f"{available} distinct sentences, of which validation and test, which take turns from the end, reserve "
            f"{min(reserved, available)}; make them smaller or use sampling='iid'"
        )


def _reach(split: str, size: int) -> int:
    """How many permuted indices a split of `size` sentences spans, from the start or from the end."""
    first, step = UNIQUE_POSITIONS[split]
    return 0 if size == 0 else first + (size - 1) * abs(step) + (step > 0)


def _permuted_size(grammar) -> int:
    """The number of sentences, or of values of the permuted leading digits where there are more than 2^124."""
    layout = grammar.sampling_plan.permuted
    return math.prod(layout.products[: layout.num_permuted].tolist())


def _check_indices(grammar, sampling: str, split: str, start: int, num: int) -> None:
    if sampling == "unique" and num:
        reach, size = _reach(split, start + num), _permuted_size(grammar)
        if reach > size:
            raise ValueError(
                f"start={start} with num={num} asks for more distinct {split} sentences than exist: {grammar.name} "
                f"has {size}, and these would span {reach}; ask for fewer or use sampling='iid'"
            )
    plan = grammar.sampling_plan
    numbers = 1 if plan is None else len((plan.permuted if sampling == "unique" else plan.drawn).products)
    if (start + num) * numbers >= 2**63:
        raise ValueError(
            f"start={start} with num={num} is too large: a split has {2**63 // numbers} sentences at most"
        )


def _fill_unique(grammar, sentences: np.ndarray, seed: int, split: str, start: int) -> None:
    from .permutation import permutation_of, philox_key

    plan, layout = grammar.sampling_plan, grammar.sampling_plan.permuted
    num_permuted = layout.num_permuted
    permutation = permutation_of(tuple(layout.products[:num_permuted].tolist()), seed)
    first, step = UNIQUE_POSITIONS[split]
    first = first if step > 0 else permutation.size - first
    drawn = [values[num_permuted:] for values in (layout.products, layout.thresholds)]
    for begin, end in _batches(grammar, layout, len(sentences)):
        numbers = np.empty((end - begin, len(layout.products)), dtype=np.uint64)
        permutation.fill_indices(first + (start + begin) * step, step, numbers)
        if len(drawn[0]):  # digits beyond the permuted ones
            numbers[:, num_permuted:] = _stream(philox_key(seed, split), start + begin, end - begin, *drawn)
        plan.expand(numbers, layout, sentences[begin:end])


def _fill_iid(grammar, sentences: np.ndarray, seed: int, split: str, start: int, disjoint: bool) -> None:
    from .permutation import philox_key

    layout, key, hash_key = grammar.sampling_plan.drawn, philox_key(seed, split), philox_key(seed, "disjoint")
    for first, last in _batches(grammar, layout, len(sentences), TOGETHER):
        part, missing = sentences[first:last], []
        for begin, end in _batches(grammar, layout, len(part)):
            numbers = _stream(key, start + first + begin, end - begin, layout.products, layout.thresholds)
            grammar.sampling_plan.expand(numbers, layout, part[begin:end])
            if disjoint:
                missing.append(begin + _outside(part[begin:end], split, hash_key))
        for attempt in itertools.count(1):
            places = np.concatenate(missing) if missing else np.empty(0, dtype=np.int64)
            if not len(places):
                break
            if attempt == MAX_ATTEMPTS:
                raise _no_such_sentence(grammar, seed, split)
            missing = [
                _drawn_again(grammar, part, places[begin:end], start + first, split, key, hash_key, attempt)
                for begin, end in _batches(grammar, layout, len(places))
            ]


def _drawn_again(
    grammar, part: np.ndarray, places: np.ndarray, start: int, split: str, key, hash_key, attempt: int
) -> np.ndarray:
    """Draws the rows at some places anew and returns those places whose rows are still outside their region."""
    from . import philox
    from .plan import widest_view

    layout, indices = grammar.sampling_plan.drawn, start + places
    numbers = np.empty((len(places), len(layout.products)), dtype=np.uint64)
    philox.scattered_numbers(key, np.uint64(attempt), indices, numbers)
    philox.redraw_numbers(key, np.uint64(attempt), indices, layout.products, layout.thresholds, numbers)
    again = np.empty((len(places), part.shape[1]), dtype=part.dtype)
    grammar.sampling_plan.expand(numbers, layout, again)
    philox.replace_rows(widest_view(part), places, widest_view(again))
    return places[_outside(again, split, hash_key)]


def _no_such_sentence(grammar, seed: int, split: str) -> ValueError:
    return ValueError(
        f"disjoint=True leaves split={split!r} (almost) without sentences: none of {MAX_ATTEMPTS} draws from "
        f"{grammar.name} with seed={seed} fell into its region; use disjoint=False or a larger grammar"
    )


def _drawn_one_by_one(grammar, num: int, seed: int, split: str, start: int, disjoint: bool) -> np.ndarray:
    """The sentences of a source that draws them itself, see [`~rhm_hf.grammar.Source.draw_sentences`]."""
    from .permutation import philox_key

    key, hash_key = philox_key(seed, split), philox_key(seed, "disjoint")
    rows: list[np.ndarray] = []
    for begin in range(start, start + num, DRAWN_TOGETHER):
        indices = np.arange(begin, min(begin + DRAWN_TOGETHER, start + num))
        batch = grammar.draw_sentences(key, 0, indices)
        missing = _outside(batch, split, hash_key, grammar.lengths_of(batch)) if disjoint else ()
        for attempt in range(1, MAX_ATTEMPTS):
            if not len(missing):
                break
            again = grammar.draw_sentences(key, attempt, indices[missing])
            batch, again = padded_alike(grammar, [batch, again])
            batch[missing] = again
            missing = missing[_outside(again, split, hash_key, grammar.lengths_of(again))]
        if len(missing):
            raise _no_such_sentence(grammar, seed, split)
        width = int(grammar.lengths_of(batch).max())  # a longer sentence may have been drawn again
        rows.append(batch[:, :width])
    if not rows:
        return np.zeros((0, 0 if grammar.lengths_vary else grammar.sentence_length), grammar.token_dtype)
    return np.concatenate(padded_alike(grammar, rows))


def padded_alike(grammar: Any, rows: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays `(num, width)` padded with PAD to one width; their own memory where they are as wide."""
    width = max(part.shape[1] for part in rows)
    pad = grammar.vocab_size + 1
    return [
        part if part.shape[1] == width else np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=pad)
        for part in rows
    ]


def numbers_of(key: np.ndarray, attempt: int, indices: np.ndarray, count: int) -> np.ndarray:
    """`count` uniform 64-bit random numbers for each of some sentences, a pure function of the arguments.

    Args:
        key (`np.ndarray`): uint64 `(2,)`, of Philox4x64-10.
        attempt (`int`): another one gives other numbers.
        indices (`np.ndarray`): int64 `(num,)`, of the sentences.
        count (`int`): numbers a sentence; always the same for one key.

    Returns:
        `np.ndarray`: uint64 `(num, count)`.
    """
    from . import philox

    numbers = np.empty((len(indices), count), dtype=np.uint64)
    philox.scattered_numbers(key, np.uint64(attempt), np.asarray(indices), numbers)
    return numbers


def _batches(grammar, layout, num: int, times: int = 1):
    """Pairs (begin, end) that cut `num` sentences into batches whose working memory fits the cache, or so many."""
    size = times * max(
        WORKING_BYTES // (8 * len(layout.products) + grammar.sentence_length * grammar.token_dtype.itemsize), 1
    )
    return ((begin, min(begin + size, num)) for begin in range(0, num, size))


def _stream(key: np.ndarray, first: int, num: int, products: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The numbers of sentences `first` .. `first + num - 1`, shape `(num, numbers a sentence)`."""
    from . import philox

    count = len(products)
    block, skipped = divmod(first * count, 4)
    stream = np.empty(-(-(skipped + num * count) // 8) * 8, dtype=np.uint64)
    philox.fill_stream(key, np.uint64(0), np.uint64(block + 1), stream)
    numbers = stream[skipped : skipped + num * count].reshape(num, count)
    if thresholds.any():
        philox.redraw_numbers(key, np.uint64(0), np.arange(first, first + num), products, thresholds, numbers)
    return numbers


def random_numbers(key: np.ndarray, first: int, num: int, count: int) -> np.ndarray:
    """`count` uniform 64-bit numbers for each of the sentences `first` .. `first + num - 1`: `(num, count)`."""
    return _stream(key, first, num, np.zeros(count, np.uint64), np.zeros(count, np.uint64))


def _outside(sentences: np.ndarray, split: str, hash_key: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """The rows that fall outside the region of the split; with `lengths`, whatever they are padded to."""
    from . import philox
    from .plan import widest_view

    hashes = np.empty(len(sentences), dtype=np.uint64)
    if lengths is None:
        philox.hash_sentences(widest_view(sentences), hash_key, hashes)
    else:
        philox.hash_rows(np.ascontiguousarray(sentences, dtype=np.int64), lengths, hash_key, hashes)
    tenth = 2**64 // 10 + 1
    low, high = REGIONS[split]
    first, last = np.uint64(low * tenth), np.uint64(min(high * tenth, 2**64) - 1)
    return np.flatnonzero((hashes < first) | (hashes > last) if low else hashes > last)
