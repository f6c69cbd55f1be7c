"""Next-token laws of a probabilistic context-free grammar in plain Python, as the textbook has them.

Earley's parser with prefix probabilities (Stolcke, 1995): every item has a forward and an inner probability, left and
unit recursion are summed by matrices. One pass over a sentence gives all its laws.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


Rule = tuple[int, tuple[int, ...], float]


class PlainEarley:
    """A parser for rules (left, right, probability) without empty right sides.

    Args:
        rules (`Sequence[Rule]`): symbols are numbers; those below `vocab_size` are tokens.
        start (`int`): the symbol that derives sentences.
        vocab_size (`int`): v.
    """

    def __init__(self, rules: Sequence[Rule], start: int, vocab_size: int):
        self.start, self.vocab_size = start, vocab_size
        size = 1 + max(max(left, *right) for left, right, _ in rules)
        corner, unit = np.zeros((size, size)), np.zeros((size, size))
        self.of: dict[int, list[tuple[tuple[int, ...], float]]] = defaultdict(list)
        for left, right, p in rules:
            if right[0] >= vocab_size:
                corner[left, right[0]] += p
            if len(right) == 1 and right[0] >= vocab_size:
                unit[left, right[0]] += p  # stands in the matrices, not among the items
            else:
                self.of[left].append((right, p))
        self.corners, self.units = (self._closed(matrix) for matrix in (corner, unit))

    @staticmethod
    def _closed(matrix: np.ndarray) -> list[dict[int, float]]:
        """Sums over all chains: the entries of (1 - M)^-1 that are not 0, by row."""
        closed = np.linalg.inv(np.eye(len(matrix)) - matrix)
        return [{int(y): float(row[y]) for y in np.flatnonzero(row > 1e-300)} for row in closed]

    def laws(self, sentence: Sequence[int]) -> list[np.ndarray]:
        """`P(x_i | x_<i)` for i = 0 .. n, arrays `(v + 1,)` whose last entry is END."""
        # An item is (left, right, dot, origin): [forward, inner]. The first one derives the whole sentence.
        first = (-1, (self.start,), 0, 0)
        sets: list[dict] = [{first: [1.0, 1.0]}]
        found = []
        for i in range(len(sentence) + 1):
            items = sets[i]
            self._complete(sets, i)
            self._predict(items, i)
            law = np.zeros(self.vocab_size + 1)
            following: dict = {}
            for (left, right, dot, origin), (forward, inner) in items.items():
                if dot == len(right):
                    law[-1] += inner if left == -1 else 0.0
                elif right[dot] < self.vocab_size:
                    law[right[dot]] += forward
                    if i < len(sentence) and right[dot] == sentence[i]:
                        following[left, right, dot + 1, origin] = [forward, inner]
            found.append(law / law.sum())
            sets.append(following)
        return found

    def _complete(self, sets: list[dict], i: int) -> None:
        items = sets[i]
        for origin in range(i - 1, -1, -1):  # what began last is complete first
            done = defaultdict(float)
            for (left, right, dot, began), (_, inner) in items.items():
                if began == origin and dot == len(right) and left >= 0:
                    done[left] += inner
            for (left, right, dot, began), (forward, inner) in list(sets[origin].items()) if done else ():
                if dot == len(right) or right[dot] < self.vocab_size:
                    continue
                chains = self.units[right[dot]]
                weight = sum(chains.get(symbol, 0.0) * p for symbol, p in done.items())
                if weight:
                    entry = items.setdefault((left, right, dot + 1, began), [0.0, 0.0])
                    entry[0] += forward * weight
                    entry[1] += inner * weight

    def _predict(self, items: dict, i: int) -> None:
        wanted = defaultdict(float)
        for (_, right, dot, _), (forward, _) in items.items():
            if dot < len(right) and right[dot] >= self.vocab_size:
                for symbol, p in self.corners[right[dot]].items():
                    wanted[symbol] += forward * p
        for symbol, weight in wanted.items():
            for right, p in self.of[symbol]:
                items[symbol, right, 0, i] = [weight * p, p]
