"""How 64-bit random numbers become a sentence: one flat list of steps in depth-first order, built once per grammar.

Level by level, a grammar is a table `(symbol, rule) -> children`. Composing adjacent levels gives a grammar of the
same sentences with fewer, larger rules, `(symbol, derivation) -> children`: the bottom levels are composed for as long
as their table stays in the second-level cache, so that one look-up writes a whole block of tokens, and the class is
composed with the root's rule. A step expands one node of this composed grammar, by one *digit*: which of its rules.
Depth-first order makes the digits those of `grammar.index`, the first step's the most significant, whatever was
composed. Sampling with replacement draws the digits, sampling without takes those of a permuted index.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from . import expansion


# These three are part of what a seed means: other values, other sentences.
TABLE_BYTES = 192 * 1024  # at most, of the composed bottom table
NUMBER_LIMIT = (
    2**60
)  # uniform digits share a number while the product of their radices is at most this: few are redrawn
HALF_LIMIT = 2**62  # indices up to NUMBER_LIMIT are permuted as one number, others as two halves of at most this size


class Step(NamedTuple):
    """One choice of a sentence: the rule, or the like, of one node.

    Attributes:
        number: the random number that the step begins; -1: it goes on with the digits of the one before.
        source: the slot that its node was written to.
        shift: the node's place in that unit, in bits.
        is_leaf: whether it writes tokens.
        target: the slot, or with `is_leaf` the unit of the sentence, that it writes to.
        units: how many units it writes.
        table: where its table begins among all tables.
        alias: where its alias table begins; -1: its rules are equally probable.
    """

    number: int
    source: int
    shift: int
    is_leaf: int
    target: int
    units: int
    table: int
    alias: int


STEP = np.dtype([(field, np.int64) for field in Step._fields])  # as the kernels read them


@dataclass(frozen=True)
class Level:
    """Rules of one composed level: `rules` of shape (symbols, rules, children), `probs` of shape (symbols, rules)."""

    rules: np.ndarray
    probs: np.ndarray

    @property
    def is_uniform(self) -> bool:
        return bool(np.ptp(self.probs) == 0)


@dataclass(frozen=True)
class Layout:
    """Which number each digit is taken from.

    Args:
        steps (`np.ndarray`): of shape `(steps,)` and the type `STEP`, see [`Step`].
        products (`np.ndarray`): uint64 of shape `(numbers,)`, the product of the radices of a number's digits.
        is_skewed (`np.ndarray`): bool of shape `(numbers,)`, whether the number is one digit of an alias table.
        num_permuted (`int`): how many numbers, the first ones, are a permuted index in `unique` sampling.
    """

    steps: np.ndarray
    products: np.ndarray
    is_skewed: np.ndarray
    num_permuted: int

    @cached_property
    def thresholds(self) -> np.ndarray:
        """Below which numbers are redrawn, see `philox`; never where the rest of the number decides about an alias."""
        thresholds = np.array([2**64 % product for product in self.products.tolist()], dtype=np.uint64)
        return np.where(self.is_skewed, np.uint64(0), thresholds)


class Plan:
    """The tables and steps that [`kernels.expand`] reads.

    Attributes:
        radices (`np.ndarray`): uint64 of shape `(steps,)`, the number of rules to choose from.
        middle (`np.ndarray`): uint32 or uint64, the tables of all levels but the last, one after the other. A row
            holds the children of a rule, as many as fit to a unit, child by child from the lowest bits; for each child
            the first of its own rows in the next level's table.
        mask (`np.uint64`): the bits of one child in a unit.
        leaves (`np.ndarray`): the last level's table, its rows of tokens in the widest units that divide them.
        limits, aliases (`np.ndarray`): alias tables of the skewed levels, flat indices of a level's rows.
    """

    def __init__(self, grammar: Any):
        *inner, last = composed_levels(grammar)
        counts = [level.rules.shape[1] for level in [*inner, last]]
        symbols = [level.rules.shape[0] for level in [*inner, last]]
        bits = max(1, *(((size - 1) * count).bit_length() for size, count in zip(symbols, counts, strict=True)))
        widest = max([level.rules.shape[2] for level in inner], default=0)
        unit = np.dtype("u4" if widest * bits <= 32 else "u8")
        tables = [_packed(level.rules, count, bits, unit) for level, count in zip(inner, counts[1:], strict=True)]
        self.mask: np.uint64 = np.uint64(2**bits - 1)
        self.middle: np.ndarray = np.concatenate([table.ravel() for table in tables] or [np.zeros(1, unit)])
        tokens = last.rules.reshape(-1, last.rules.shape[2]).astype(grammar.token_dtype)
        self.leaves: np.ndarray = widest_view(tokens)
        skews = self._alias_tables([*inner, last])
        self._steps, self._heights, radices = [], [], []
        offsets = np.cumsum([0] + [table.size for table in tables]).tolist()
        first_slots = np.cumsum([1] + [table.shape[1] for table in tables]).tolist()
        per_unit = unit.itemsize * 8 // bits
        written = 0

        def visit(height: int, source: int, shift: int):
            nonlocal written
            level = last if height == len(inner) else inner[height]
            radices.append(counts[height])
            self._heights.append(height)
            if level is last:
                units = self.leaves.shape[1]
                self._steps.append(Step(-1, source, shift, 1, written, units, 0, skews[height]))
                written += units
                return
            units, slot = tables[height].shape[1], first_slots[height]
            self._steps.append(Step(-1, source, shift, 0, slot, units, offsets[height], skews[height]))
            for child in range(level.rules.shape[2]):
                visit(height + 1, slot + child // per_unit, child % per_unit * bits)

        visit(0, 0, 0)  # slot 0 holds the one symbol above the class
        self.radices: np.ndarray = np.array(radices, dtype=np.uint64)
        # Few rows for long sentences: rows a power of two apart share few sets of the first-level cache.
        self.block_size: int = min(max(2**16 // (grammar.sentence_length * grammar.token_dtype.itemsize), 64), 512)

    def expand(self, numbers: np.ndarray, layout: Layout, sentences: np.ndarray) -> None:
        """Writes the sentences of `numbers`, `(num, numbers)`, into `sentences`, `(num, sentence_length)`."""
        expansion.expand(
            numbers,
            layout.steps,
            self.radices,
            self.middle,
            self.mask,
            self.leaves,
            self.limits,
            self.aliases,
            self.block_size,
            sentences.view(self.leaves.dtype),
        )

    def _alias_tables(self, levels: list[Level]) -> list[int]:
        """Sets `limits` and `aliases`; returns where each level's begin, -1 for uniform levels."""
        starts, limits, aliases = [], [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
        for level in levels:
            starts.append(-1 if level.is_uniform else sum(map(len, limits)))
            if not level.is_uniform:
                tables = np.empty(level.probs.shape, np.uint64), np.empty(level.probs.shape, np.int32)
                expansion.alias_tables(level.probs, *tables)
                limits.append(tables[0].ravel())
                aliases.append(tables[1].ravel())
        self.limits: np.ndarray = np.concatenate(limits)
        self.aliases: np.ndarray = np.concatenate(aliases)
        return starts

    def _layout(self, ends: list[int]) -> Layout:
        """Numbers for the digits: the first numbers end before the steps `ends`, the others hold as many as fit."""
        steps, products, skewed = np.array(self._steps, dtype=STEP), [], []
        begins, free = {0, *ends}, max(ends, default=0)
        for j, (radix, step) in enumerate(zip(self.radices.tolist(), self._steps, strict=True)):
            is_skewed = step.alias >= 0
            if j in begins or (j > free and (is_skewed or skewed[-1] or products[-1] * radix > NUMBER_LIMIT)):
                steps["number"][j] = len(products)
                products.append(1)
                skewed.append(is_skewed)
            products[-1] *= radix
        return Layout(steps, np.array(products, dtype=np.uint64), np.array(skewed), len(ends))

    @cached_property
    def drawn(self) -> Layout:
        """All numbers are drawn."""
        return self._layout([])

    @cached_property
    def permuted(self) -> Layout:
        """The first one or two numbers are a permuted index, or its leading digits where it has more than 124 bits."""
        sizes = []  # of the indices that the first 1, 2, .. digits make
        for radix in self.radices.tolist():
            sizes.append(radix * (sizes[-1] if sizes else 1))
            if sizes[-1] > HALF_LIMIT**2:
                break
        if sizes[-1] <= NUMBER_LIMIT:
            return self._layout([len(sizes)])
        longest = sum(size <= HALF_LIMIT for size in sizes)  # digits that the first half can hold
        total = sum(size <= sizes[longest - 1] * HALF_LIMIT for size in sizes)
        halves = {k: (sizes[k - 1], sizes[total - 1] // sizes[k - 1]) for k in range(1, longest + 1)}
        fitting = [k for k, (_, second) in halves.items() if second <= HALF_LIMIT]
        return self._layout([min(fitting, key=lambda k: max(halves[k])), total])


def composed_levels(grammar: Any) -> list[Level]:
    """The levels of the plan, root first: the class with the root's rule, single levels, the composed bottom."""
    levels = [Level(r, p) for r, p in zip(grammar.rules, grammar.rule_probs, strict=True)]
    classes = Level(np.arange(grammar.num_classes, dtype=np.int32)[None, :, None], grammar.root_probs[None])
    levels[0] = compose(classes, levels[0])
    return composed_bottom(levels, grammar.token_dtype)


def composed_bottom(levels: list[Level], token_dtype: np.dtype) -> list[Level]:
    """Levels, root first, the lowest ones composed for as long as their table has at most `TABLE_BYTES`."""
    levels = list(levels)
    while len(levels) > 1:
        upper, lower = levels[-2:]
        symbols, count, children = upper.rules.shape
        rows = symbols * count * lower.rules.shape[1] ** children
        alias_bytes = 0 if upper.is_uniform and lower.is_uniform else 12
        if rows * (children * lower.rules.shape[2] * token_dtype.itemsize + alias_bytes) > TABLE_BYTES:
            break
        levels[-2:] = [compose(upper, lower)]
    return levels


def compose(upper: Level, lower: Level) -> Level:
    """The level whose rules are a rule of `upper` and a rule of `lower` for each of its children, in this order."""
    symbols, count, children = upper.rules.shape
    rules, probs = np.empty((symbols * count, 1, 0), dtype=np.int32), upper.probs.reshape(-1, 1)
    for child in range(children):
        chosen = upper.rules[:, :, child].ravel()
        below = lower.rules[chosen]  # (symbols * count, rules, children)
        so_far = np.repeat(rules, below.shape[1], axis=1)
        rules = np.concatenate([so_far, np.tile(below, (1, rules.shape[1], 1))], axis=2)
        probs = (probs[:, :, None] * lower.probs[chosen][:, None, :]).reshape(len(probs), -1)
    return Level(rules.reshape(symbols, -1, rules.shape[2]), probs.reshape(symbols, -1))


def widest_view(rows: np.ndarray) -> np.ndarray:
    """The same memory as the widest unsigned integers, up to 8 bytes, that divide a row."""
    row_bytes = rows.shape[1] * rows.itemsize
    return rows.view(f"u{max(size for size in (1, 2, 4, 8) if row_bytes % size == 0)}")


def _packed(rules: np.ndarray, rows: int, bits: int, unit: np.dtype) -> np.ndarray:
    """`rows` times the children of each rule, `bits` each, in few units: shape `(symbols * rules, units)`."""
    per_unit = unit.itemsize * 8 // bits
    children = rules.reshape(-1, rules.shape[2]).astype(unit) * unit.type(rows)
    packed = np.zeros((len(children), -(-children.shape[1] // per_unit)), dtype=unit)
    for child in range(children.shape[1]):
        packed[:, child // per_unit] |= children[:, child] << unit.type(child % per_unit * bits)
    return packed
