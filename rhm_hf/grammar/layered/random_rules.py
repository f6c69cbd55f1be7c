"""Random production rules, drawn uniformly without listing the v^s tuples.

The streams are raw 64-bit words of numpy's Philox, whose output numpy guarantees; `Generator.choice` and its kin may
change between numpy versions, so none of them is used.
"""

from collections.abc import Callable

import numpy as np

from .parameters import GrammarParameters
from .uneven import LayeredParameters


def bounded_integers(words: np.random.Philox, bound: int, count: int) -> np.ndarray:
    """`count` integers uniform on `[0, bound)`, exactly: words beyond the last multiple of `bound` are redrawn."""
    last_multiple = (2**64 // bound) * bound
    kept = words.random_raw(count)
    if last_multiple == 2**64:  # a power of two divides evenly
        return (kept % np.uint64(bound)).astype(np.int64)
    while (rejected := kept >= np.uint64(last_multiple)).any():
        kept[rejected] = words.random_raw(int(rejected.sum()))
    return (kept % np.uint64(bound)).astype(np.int64)


def distinct_tuples(vocab_size: int, tuple_size: int, count: int, words: np.random.Philox) -> np.ndarray:
    """An ordered sample without replacement of `count` of the v^s tuples.

    Returns:
        `np.ndarray` of int32, shape `(count, tuple_size)`, every ordered sample equally likely.
    """
    num_tuples = vocab_size**tuple_size
    if num_tuples <= 4 * count:  # dense: a whole random permutation, at most four times the output
        chosen = np.argsort(words.random_raw(num_tuples), kind="stable")[:count]
        return np.stack(np.unravel_index(chosen, (vocab_size,) * tuple_size), axis=1).astype(np.int32)
    tuples = np.empty((0, tuple_size), dtype=np.int32)
    while len(tuples) < count:  # sparse: draw until enough differ, in the order of first appearance
        draws = bounded_integers(words, vocab_size, (count - len(tuples)) * tuple_size).reshape(-1, tuple_size)
        tuples = np.concatenate([tuples, draws.astype(np.int32)])
        _, first = np.unique(_row_keys(tuples, vocab_size), return_index=True)
        tuples = tuples[np.sort(first)]
    return tuples


def _row_keys(tuples: np.ndarray, vocab_size: int) -> np.ndarray:
    """One integer a row where v^s fits 63 bits, the row's bytes elsewhere."""
    if vocab_size ** tuples.shape[1] < 2**63:
        return tuples @ (vocab_size ** np.arange(tuples.shape[1], dtype=np.int64))
    return np.ascontiguousarray(tuples).view(f"V{tuples.itemsize * tuples.shape[1]}").ravel()


def random_rules(parameters: GrammarParameters) -> list[np.ndarray]:
    """Draws the rules of every level, root first, independently and uniformly over unambiguous rule sets.

    With `uncorrelated`, those above level 1 are balanced instead, see [`balanced_tuples`].

    Returns:
        `list[np.ndarray]`: per level int32 of shape `(symbols, num_synonyms, tuple_size)`.
    """
    p = parameters
    sizes = [(p.num_classes if generation == 0 else p.vocab_size) for generation in range(p.depth)]
    return [
        _rules(
            balanced_tuples if p.uncorrelated and generation + 1 < p.depth else distinct_tuples,
            (symbols, p.num_synonyms, p.tuple_size),
            p.vocab_size,
            _words(p.rules_seed, generation),
        )
        for generation, symbols in enumerate(sizes)
    ]


def random_layers(parameters: LayeredParameters) -> list[np.ndarray]:
    """The same where levels differ in their sizes: int32 `(symbols, rules per symbol, children)`, root first."""
    p = parameters
    symbols = [p.num_classes, *p.vocab_sizes[:-1]]
    shapes = zip(symbols, p.num_synonyms, p.tuple_sizes, strict=True)
    return [
        _rules(distinct_tuples, shape, vocab_size, _words(p.rules_seed, generation))
        for generation, (shape, vocab_size) in enumerate(zip(shapes, p.vocab_sizes, strict=True))
    ]


def balanced_tuples(vocab_size: int, tuple_size: int, count: int, words: np.random.Philox) -> np.ndarray:
    """`count` different tuples, in groups of v in which every symbol occurs once at every place.

    Adding 1, 2, .. v-1 (mod v) to all symbols of a tuple makes a group of it; the v^(s-1) groups partition the tuples.
    Random groups are taken, and the symbols of each place renamed by a random permutation of its own. There are other
    balanced sets of rules, which this does not draw.

    Returns:
        `np.ndarray` of int32, shape `(count, tuple_size)`, `count` a multiple of v.
    """
    groups = distinct_tuples(vocab_size, tuple_size - 1, count // vocab_size, words)
    first = np.pad(groups, ((0, 0), (1, 0)))  # the tuple of each group that begins with 0
    tuples = (first[:, None, :] + np.arange(vocab_size)[None, :, None]) % vocab_size
    order = words.random_raw(tuple_size * vocab_size).reshape(tuple_size, vocab_size)
    renamed = np.argsort(order, axis=1, kind="stable")
    return renamed[np.arange(tuple_size), tuples.reshape(-1, tuple_size)].astype(np.int32)


def _words(seed: int, generation: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, generation], dtype=np.uint64))


def _rules(draw: Callable, shape: tuple[int, int, int], vocab_size: int, words: np.random.Philox) -> np.ndarray:
    return draw(vocab_size, shape[2], shape[0] * shape[1], words).reshape(shape)
