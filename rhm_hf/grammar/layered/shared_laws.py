"""Fast sampling where all symbols of a level have the same rule law, such as Zipf's.

The number of a rule is then independent of the symbol, so the numbers of several nodes have one joint law, their
product, whatever the symbols are. A number is drawn for them together by one alias table, and from there on everything
is as where rules are equiprobable: the same tables, the same digits of numbers.
"""

from functools import cached_property

import numpy as np

from ..fixed_tree import FixedTree
from ..sentences import expansion
from ..sentences.plan import NUMBER_LIMIT, STEP, Layout, Plan, composed_levels


JOINT_LIMIT = 2**12  # entries of an alias table, 16 bytes each; part of what a seed means


def has_shared_laws(grammar: FixedTree) -> bool:
    """Whether every level has one law for the rules of all its symbols."""
    return all((probs == probs[0]).all() for probs in grammar.rule_probs)


class SharedLawPlan(Plan):
    """A [`Plan`] of the equiprobable grammar with the same rules, and the tables that make its numbers uneven.

    Attributes:
        limits (`np.ndarray`): uint64, by column of a table: below it, of 2^64, the number is kept.
        replacements (`np.ndarray`): uint64, the number in the place of others: the alias, in units of 2^64 / R,
            rounded up, R the size of the table.
    """

    def __init__(self, grammar: FixedTree):
        uniform = type(grammar).uniform(grammar.rules, grammar.vocab_size)
        super().__init__(uniform)
        laws = [probs[0] for probs in grammar.rule_probs]
        laws[0] = np.kron(grammar.root_probs, laws[0])
        for upper in range(len(laws) - 2, len(composed_levels(uniform)) - 2, -1):
            below = laws.pop()
            for _ in range(grammar.rules[upper].shape[2]):
                laws[upper] = np.kron(laws[upper], below)
        self._laws = laws

    @cached_property
    def drawn(self) -> Layout:
        """All numbers are drawn. Those whose digits are not all equiprobable hold as many as their alias table may,
        and take half a drawn number each."""
        steps, groups, products, skewed = np.array(self._steps, dtype=STEP), [], [], []
        for j, (radix, height) in enumerate(zip(self.radices.tolist(), self._heights, strict=True)):
            is_skewed = bool(np.ptp(self._laws[height]) > 0)
            limit = JOINT_LIMIT if is_skewed or (skewed and skewed[-1]) else NUMBER_LIMIT
            if j == 0 or products[-1] * radix > limit:
                steps["number"][j] = len(products)
                groups.append([])
                products.append(1)
                skewed.append(False)
            groups[-1].append(height)
            products[-1] *= radix
            skewed[-1] = skewed[-1] or is_skewed
        self._build_tables(groups, skewed)
        self._products = np.array(products, dtype=np.uint64)
        return self._halved(steps, products, skewed)

    def _halved(self, steps: np.ndarray, products: list[int], skewed: list[bool]) -> Layout:
        """The layout of the drawn numbers: one for each uniform number, and for each two others in their order."""
        drawn, is_skewed, half = [], [], None  # half: the drawn number whose lower half is free
        sources, shifts = np.zeros(len(products), np.int64), np.zeros(len(products), np.int64)
        for g, product in enumerate(products):
            if skewed[g] and half is not None:
                sources[g], half = half, None
                continue
            sources[g], shifts[g] = len(drawn), 32
            half = len(drawn) if skewed[g] else half
            drawn.append(1 if skewed[g] else product)
            is_skewed.append(skewed[g])
        self._sources, self._shifts = sources, shifts
        return Layout(steps, np.array(drawn, dtype=np.uint64), np.array(is_skewed), 0)

    def _build_tables(self, groups: list[list[int]], skewed: list[bool]) -> None:
        """One table for all numbers with digits of the same laws."""
        starts: dict[tuple[int, ...], int] = {}
        limits, replacements, size = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)], 0
        for group in {tuple(g) for g, is_skewed in zip(groups, skewed, strict=True) if is_skewed}:
            law = np.ones(1)
            for height in group:
                law = np.kron(law, self._laws[height])
            kept, aliases = np.empty((1, len(law)), np.uint64), np.empty((1, len(law)), np.int32)
            expansion.alias_tables(law[None], kept, aliases)
            limits.append(kept[0])
            replacements.append(np.array([-(-(a << 64) // len(law)) for a in aliases[0].tolist()], dtype=np.uint64))
            starts[group], size = size, size + len(law)
        self.limits: np.ndarray = np.concatenate(limits)
        self.replacements: np.ndarray = np.concatenate(replacements)
        pairs = zip(groups, skewed, strict=True)
        self._starts = np.array([starts[tuple(g)] if is_skewed else -1 for g, is_skewed in pairs], dtype=np.int64)

    def expand(self, numbers: np.ndarray, layout: Layout, sentences: np.ndarray) -> None:
        """Writes the sentences of uniform numbers: see [`Plan.expand`]."""
        uneven = np.empty((len(numbers), len(self._products)), dtype=np.uint64)
        tables = (self._starts, self._products, self.limits, self.replacements)
        expansion.skew_numbers(numbers, self._sources, self._shifts, *tables, uneven)
        super().expand(uneven, layout, sentences)
