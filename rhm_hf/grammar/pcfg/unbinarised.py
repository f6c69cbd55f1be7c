"""From chosen nodes of the binary grammar to derivations of the grammar itself; and how many derivations there are."""

import math
from collections import defaultdict
from functools import lru_cache
from typing import Any

import numpy as np

from .binary_rules import BinaryGrammar


class Derivations:
    """Undoes the binarisation.

    Args:
        grammar ([`BinaryGrammar`]): the binary grammar.
        rng (`np.random.Generator`, *optional*): draws the chains of units and the empty derivations; without it they
            are the most probable ones.
    """

    def __init__(self, grammar: BinaryGrammar, rng: np.random.Generator | None = None):
        self.grammar: BinaryGrammar = grammar
        self.rng = rng

    def rules_of(self, nodes: np.ndarray) -> list[int]:
        """The rules of the derivation, leftmost symbol first, of nodes as [`~.chart_beliefs.choose`] gives them."""
        grammar, stack = self.grammar, []
        for top, bottom, is_binary, row in nodes[::-1].tolist():
            if is_binary:
                written = stack.pop() + stack.pop()
                rule = int(grammar.binary_rules[row])
            else:
                written, rule = [], int(grammar.lexical_rules[row])
            written = [rule, *written] if rule >= 0 else written
            for step in reversed(self._chain(top, bottom)):
                _, _, kind, row = grammar.steps[0][step].tolist()
                if kind == 0:
                    rule = int(grammar.unary_rules[row])
                else:
                    rule = int(grammar.binary_rules[row])
                    empty = self.empty(int(grammar.binary[row, 2 if kind == 1 else 1]))
                    written = written + empty if kind == 1 else empty + written
                written = [rule, *written] if rule >= 0 else written
            stack.append(written)
        return stack.pop()

    def _chain(self, top: int, bottom: int) -> list[int]:
        """The steps by which one symbol becomes another over the same span."""
        grammar, chain = self.grammar, []
        if self.rng is None:
            while top != bottom:
                chain.append(int(grammar.best_steps[1][top, bottom]))
                top = int(grammar.steps[0][chain[-1], 1])
            return chain
        rows, probs = grammar.steps
        while True:
            those = np.flatnonzero(rows[:, 0] == top)
            weights = np.append(probs[those] * grammar.closure[rows[those, 1], bottom], float(top == bottom))
            choice = self._draw(weights)
            if choice == len(those):
                return chain
            chain.append(int(those[choice]))
            top = int(rows[those[choice], 1])

    def _draw(self, weights: np.ndarray) -> int:
        summed = np.cumsum(weights)
        return int((summed <= self.rng.random() * summed[-1]).sum())

    def empty(self, symbol: int) -> list[int]:
        """The rules of an empty derivation of a symbol, the most probable one or one at random."""
        grammar, written, agenda = self.grammar, [], [symbol]
        while agenda:
            symbol = agenda.pop()
            kind, row = grammar.best_empty[1][symbol] if self.rng is None else self._drawn_empty(symbol)
            rule = row if kind == "empty" else int(getattr(grammar, f"{kind}_rules")[row])
            if rule >= 0:
                written.append(rule)
            if kind != "empty":
                agenda += getattr(grammar, kind)[row, :0:-1].tolist()
        return written

    def _drawn_empty(self, symbol: int) -> tuple[str, int]:
        grammar, eps = self.grammar, self.grammar.empty
        ways = [("empty", rule, grammar.rules.probs[rule]) for rule in grammar.empty_rules.get(symbol, [])]
        ways += [
            ("unary", k, grammar.unary_probs[k] * eps[grammar.unary[k, 1]])
            for k in np.flatnonzero(grammar.unary[:, 0] == symbol).tolist()
        ]
        ways += [
            ("binary", k, grammar.binary_probs[k] * eps[grammar.binary[k, 1]] * eps[grammar.binary[k, 2]])
            for k in np.flatnonzero(grammar.binary[:, 0] == symbol).tolist()
        ]
        return ways[self._draw(np.array([weight for _, _, weight in ways]))][:2]


# Numbers of derivations: exact integers, or infinity.


def _product(a, b):
    if a == 0 or b == 0:
        return 0
    return math.inf if math.inf in (a, b) else a * b


def _sum(a, b):
    return math.inf if math.inf in (a, b) else a + b


@lru_cache(maxsize=16)
def chain_counts(grammar: BinaryGrammar) -> tuple[list[Any], dict[int, list[tuple[int, int | float]]]]:
    """The number of empty derivations of every symbol; of symbol b, pairs (a, number of chains from a to b)."""
    size = grammar.num_symbols
    possible = grammar.empty > 0
    parts = [(a, (b,)) for a, b in grammar.unary.tolist() if possible[b]]
    parts += [(a, (b, c)) for a, b, c in grammar.binary.tolist() if possible[b] and possible[c]]
    own = [len(grammar.empty_rules.get(a, [])) for a in range(size)]
    empties = _solved(size, lambda values, a: own[a], parts, possible)
    ways: dict[tuple[int, int], int | float] = defaultdict(int)
    for a, b, kind, row in grammar.steps[0].tolist():
        other = 1 if kind == 0 else empties[int(grammar.binary[row, 2 if kind == 1 else 1])]
        ways[a, b] = _sum(ways[a, b], other)
    reach = np.eye(size, dtype=bool)
    for a, b in ways:
        reach[a, b] = True
    for middle in range(size):
        reach |= reach[:, middle, None] & reach[None, middle]
    looping = {b for a, b in ways if reach[b, a]}
    counts = {}
    for bottom in range(size):
        above = np.flatnonzero(reach[:, bottom]).tolist()
        known = {}
        # From the bottom up: a symbol after all that it becomes. A loop on the way makes the number infinite.
        for a in above:
            if any(reach[a, c] and reach[c, bottom] for c in looping):
                known[a] = math.inf
        while len(known) < len(above):
            for a in above:
                steps = [(b, n) for (top, b), n in ways.items() if top == a and reach[b, bottom]]
                if a not in known and all(b in known for b, _ in steps):
                    total = int(a == bottom)
                    for b, n in steps:
                        total = _sum(total, _product(n, known[b]))
                    known[a] = total
        counts[bottom] = list(known.items())
    return empties, counts


def _solved(size, own, parts, possible) -> list:
    """Numbers n_a = own(a) + sum over parts of products; infinite where a symbol needs itself."""
    below = np.zeros((size, size), dtype=bool)
    for a, children in parts:
        below[a, list(children)] = True
    for middle in range(size):
        below |= below[:, middle, None] & below[None, middle]
    loops = np.diag(below)
    values: dict[int, int | float] = {}
    for a in range(size):
        if not possible[a]:
            values[a] = 0
        elif loops[a] or (below[a] & loops).any():
            values[a] = math.inf
    while len(values) < size:
        for a in range(size):
            mine = [children for top, children in parts if top == a]
            if a not in values and all(c in values for children in mine for c in children):
                total = own(values, a)
                for children in mine:
                    number = 1
                    for c in children:
                        number = _product(number, values[c])
                    total = _sum(total, number)
                values[a] = total
    return [values[a] for a in range(size)]


def count_derivations(grammar: BinaryGrammar, tokens: np.ndarray, chart: Any) -> int | float:
    """The number of derivations of a sentence, from the chart of its sweep."""
    empties, chains = chain_counts(grammar)
    length = len(tokens)
    if length == 0:
        return empties[0]
    written: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for a, x in grammar.lexical.tolist():
        written[x][a] += 1
    cells, symbols = chart.cells, chart.item_symbols
    numbers: list[int | float] = [0] * int(chart.sizes[0])
    for j in range(1, length + 1):
        sums: dict[int, dict[int, int | float]] = defaultdict(lambda: defaultdict(int))
        sums[j - 1].update(written[int(tokens[j - 1])])
        for k in range(j - 1, -1, -1):
            first, last = cells[j * (j + 1) // 2 + j - 1 - k], cells[j * (j + 1) // 2 + j - k]
            if first == last:
                continue
            total: dict[int, int | float] = defaultdict(int)
            for b, number in sums[k].items():
                for a, ways in chains[b]:
                    total[a] = _sum(total[a], _product(ways, number))
            for item in range(first, last):
                numbers[item] = total[int(symbols[item])]
                e = chart.heads[k, symbols[item]]
                while e >= 0:
                    of_start, parent = sums[int(chart.edge_starts[e])], int(chart.edge_parents[e])
                    more = _product(numbers[int(chart.edge_items[e])], numbers[item])
                    of_start[parent] = _sum(of_start[parent], more)
                    e = chart.edge_nexts[e]
    cell = length * (length + 1) // 2 + length - 1
    whole = range(int(cells[cell]), int(cells[cell + 1]))
    return next((numbers[item] for item in whole if symbols[item] == 0), 0)
