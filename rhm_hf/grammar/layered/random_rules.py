"""Random production rules, drawn uniformly without listing the v^s tuples.

The streams are raw 64-bit numbers of numpy's Philox, whose output numpy guarantees; `Generator.choice` and its kin may
change between numpy versions, so none of them is used.
"""

from collections.abc import Sequence

import numpy as np


def bounded_integers(raw: np.random.Philox, bound: int, count: int) -> np.ndarray:
    """`count` integers uniform on `[0, bound)`, exactly: numbers beyond the last multiple of `bound` are redrawn."""
    last_multiple = (2**64 // bound) * bound
    kept = raw.random_raw(count)
    if last_multiple == 2**64:  # a power of two divides evenly
        return (kept % np.uint64(bound)).astype(np.int64)
    while (rejected := kept >= np.uint64(last_multiple)).any():
        kept[rejected] = raw.random_raw(int(rejected.sum()))
    return (kept % np.uint64(bound)).astype(np.int64)


def distinct_tuples(vocab_size: int, tuple_size: int, count: int, raw: np.random.Philox) -> np.ndarray:
    """An ordered sample without replacement of `count` of the v^s tuples.

    Returns:
        `np.ndarray` of int32, shape `(count, tuple_size)`, every ordered sample equally likely.
    """
    num_tuples = vocab_size**tuple_size
    if num_tuples <= 4 * count:  # dense: a whole random permutation, at most four times the output
        chosen = stable_order(raw.random_raw(num_tuples))[:count]
        tuples = np.empty((count, tuple_size), dtype=np.int32)
        chosen = chosen.astype(np.uint32 if num_tuples < 2**32 else np.uint64)
        for place in reversed(range(tuple_size)):
            above = chosen // chosen.dtype.type(vocab_size)
            tuples[:, place], chosen = chosen - above * chosen.dtype.type(vocab_size), above
        return tuples
    tuples = np.empty((0, tuple_size), dtype=np.int32)
    while len(tuples) < count:  # sparse: draw until enough differ, in the order of first appearance
        draws = bounded_integers(raw, vocab_size, (count - len(tuples)) * tuple_size).reshape(-1, tuple_size)
        tuples = np.concatenate([tuples, draws.astype(np.int32)])
        _, first = np.unique(_row_keys(tuples, vocab_size), return_index=True)
        tuples = tuples[np.sort(first)]
    return tuples


def stable_order(keys: np.ndarray) -> np.ndarray:
    """What `np.argsort(keys, kind="stable")` gives, of uint64 `(n,)`, faster: places as uint64.

    The place of each key is written over its lowest bits and all are sorted as numbers, in vector instructions. Where
    the bits that are left do not tell two keys apart, which is rare, keys are sorted as they are.
    """
    bits = np.uint64(max(1, (len(keys) - 1).bit_length()))
    low = (np.uint64(1) << bits) - np.uint64(1)
    packed = np.sort((keys & ~low) | np.arange(len(keys), dtype=np.uint64))
    if not (packed[1:] ^ packed[:-1] > low).all():
        return np.argsort(keys, kind="stable").astype(np.uint64)
    return packed & low


def _row_keys(tuples: np.ndarray, vocab_size: int) -> np.ndarray:
    """One integer a row where v^s fits 63 bits, the row's bytes elsewhere."""
    if vocab_size ** tuples.shape[1] < 2**63:
        return tuples @ (vocab_size ** np.arange(tuples.shape[1], dtype=np.int64))
    return np.ascontiguousarray(tuples).view(f"V{tuples.itemsize * tuples.shape[1]}").ravel()


def random_rules(
    shapes: Sequence[tuple[int, int, int]],
    vocab_sizes: Sequence[int],
    seed: int,
    balanced: Sequence[bool] | None = None,
) -> list[np.ndarray]:
    """Draws the rules of every level, root first, independently and uniformly over unambiguous rule sets.

    Args:
        shapes (`Sequence`): per level (symbols, rules per symbol, children).
        vocab_sizes (`Sequence[int]`): per level the symbols that children are taken from.
        seed (`int`): picks the rules.
        balanced (`Sequence[bool]`, *optional*): the levels whose rules are balanced instead, see [`balanced_tuples`].

    Returns:
        `list[np.ndarray]`: per level int32 of its shape.
    """
    draws = [balanced_tuples if even else distinct_tuples for even in balanced or [False] * len(shapes)]
    return [
        draw(vocab_size, shape[2], shape[0] * shape[1], raw_stream(seed, generation)).reshape(shape)
        for generation, (draw, shape, vocab_size) in enumerate(zip(draws, shapes, vocab_sizes, strict=True))
    ]


def balanced_tuples(vocab_size: int, tuple_size: int, count: int, raw: np.random.Philox) -> np.ndarray:
    """`count` different tuples, in groups of v in which every symbol occurs once at every place.

    Adding 1, 2, .. v-1 (mod v) to all symbols of a tuple makes a group of it; the v^(s-1) groups partition the tuples.
    Random groups are taken, and the symbols of each place renamed by a random permutation of its own. There are other
    balanced sets of rules, which this does not draw.

    Returns:
        `np.ndarray` of int32, shape `(count, tuple_size)`, `count` a multiple of v.
    """
    groups = distinct_tuples(vocab_size, tuple_size - 1, count // vocab_size, raw)
    first = np.pad(groups, ((0, 0), (1, 0)))  # the tuple of each group that begins with 0
    tuples = (first[:, None, :] + np.arange(vocab_size)[None, :, None]) % vocab_size
    order = raw.random_raw(tuple_size * vocab_size).reshape(tuple_size, vocab_size)
    renamed = np.argsort(order, axis=1, kind="stable")
    return renamed[np.arange(tuple_size), tuples.reshape(-1, tuple_size)].astype(np.int32)


def raw_stream(seed: int, generation: int) -> np.random.Philox:
    """The stream of one level of rules."""
    return np.random.Philox(key=np.array([seed, generation], dtype=np.uint64))
