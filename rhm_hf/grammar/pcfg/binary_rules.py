"""The binarised grammar: tables of rules with one or two children, without empty ones, that the chart works on.

Long rules read their children from the left: `A -> B C D` becomes `[B C] -> B C` (certain) and `A -> [B C] D`, and
rules with the same beginning share it. A token inside a rule of several children gets a symbol of its own. With
eps[a] = P(a yields nothing) and only spans that are not empty,

    B[., i, i+1] = (I - U)^-1 E[., x_i]        B[., i, j] = (I - U)^-1 sum_k sum_bc R[., b, c] B[b, i, k] B[c, k, j]

where U holds the unit rules and the binary rules one of whose children is empty. Left corners are
P_L[a, b] = U[a, b] + sum_c R[a, b, c] (1 - eps[c]). (Jelinek and Lafferty, 1991; Stolcke, 1995.)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .production_rules import Rules


@dataclass(frozen=True, eq=False)
class BinaryGrammar:
    """Rules as rows of arrays. Symbols 0 .. N-1 are those of the grammar, the others are auxiliary.

    Args:
        rules ([`Rules`]): what was binarised.
        num_symbols (`int`): with the auxiliary ones.
        prefixes (`dict`): of an auxiliary symbol, the right side (or the beginning of one) that it stands for, as
            symbols of this grammar.
        lexical, unary, binary (`np.ndarray`): int64 `(rows, 2 or 3)`: parent and token, parent and child, parent and
            both children.
        lexical_probs, unary_probs, binary_probs (`np.ndarray`): float64 `(rows,)`.
        lexical_rules, unary_rules, binary_rules (`np.ndarray`): int64 `(rows,)`: the rule of the grammar that ends
            with this row, -1 where an auxiliary symbol is the parent.
        empty_rules (`dict[int, list[int]]`): the empty rules of a symbol.
    """

    rules: Rules
    num_symbols: int
    prefixes: dict[int, tuple[int, ...]]
    lexical: np.ndarray
    unary: np.ndarray
    binary: np.ndarray
    lexical_probs: np.ndarray
    unary_probs: np.ndarray
    binary_probs: np.ndarray
    lexical_rules: np.ndarray
    unary_rules: np.ndarray
    binary_rules: np.ndarray
    empty_rules: dict[int, list[int]]

    @cached_property
    def empty(self) -> np.ndarray:
        """float64 `(symbols,)`: P(a symbol yields nothing), the least fixed point of the rules' equations.

        Newton's steps from 0 ascend to it (Etessami and Yannakakis, 2009); the equations themselves, which add
        positive terms only, then mend the last digits of small ones. Exactly 0 where a symbol cannot be empty.
        """
        written = np.zeros(self.num_symbols)
        for symbol, rules in self.empty_rules.items():
            written[symbol] = self.rules.probs[rules].sum()
        eps = np.zeros(self.num_symbols)
        if not written.any():
            return eps
        parent, left, right = self.binary.T

        def right_sides(values: np.ndarray) -> np.ndarray:
            total = written.copy()
            np.add.at(total, self.unary[:, 0], self.unary_probs * values[self.unary[:, 1]])
            np.add.at(total, parent, self.binary_probs * values[left] * values[right])
            return total

        possible = np.zeros(self.num_symbols)
        for _ in range(self.num_symbols):
            possible = (right_sides(possible) > 0).astype(np.float64)
        for _ in range(200):
            slope = np.zeros((self.num_symbols,) * 2)
            np.add.at(slope, (self.unary[:, 0], self.unary[:, 1]), self.unary_probs)
            np.add.at(slope, (parent, left), self.binary_probs * eps[right])
            np.add.at(slope, (parent, right), self.binary_probs * eps[left])
            step = np.linalg.solve(np.eye(self.num_symbols) - slope, right_sides(eps) - eps)
            eps = np.clip(eps + step, 0.0, 1.0) * possible
            if np.abs(step).max() <= 1e-15:
                break
        for _ in range(self.num_symbols):
            eps = right_sides(eps) * possible
        return eps

    @cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The ways in which a symbol becomes one other symbol over the same span.

        Returns:
            int64 `(rows, 4)`: parent, child, 0 for a row of `unary`, 1 for a row of `binary` whose right child is
            empty, 2 for one whose left child is, and the number of that row; float64 `(rows,)`, their probabilities.
        """
        rows = [(a, b, 0, k) for k, (a, b) in enumerate(self.unary.tolist())]
        probs = self.unary_probs.tolist()
        for k, (a, b, c) in enumerate(self.binary.tolist()):
            for child, other, kind in ((b, c, 1), (c, b, 2)):
                if self.empty[other] > 0:
                    rows.append((a, child, kind, k))
                    probs.append(self.binary_probs[k] * self.empty[other])
        return np.array(rows, dtype=np.int64).reshape(-1, 4), np.array(probs, dtype=np.float64)

    @cached_property
    def units(self) -> np.ndarray:
        """U, float64 `(symbols, symbols)`."""
        matrix = np.zeros((self.num_symbols,) * 2)
        rows, probs = self.steps
        np.add.at(matrix, (rows[:, 0], rows[:, 1]), probs)
        return matrix

    @cached_property
    def closure(self) -> np.ndarray:
        """(I - U)^-1: entry [a, b] is how often, weighted, a becomes b over the same span."""
        return _closed(self.units)

    @cached_property
    def corners(self) -> np.ndarray:
        """(I - P_L)^-1: entry [a, b] is how many symbols b are expected along the left edge below a, a included."""
        matrix = self.units.copy()
        np.add.at(
            matrix,
            (self.binary[:, 0], self.binary[:, 1]),
            self.binary_probs * (1 - self.empty[self.binary[:, 2]]),
        )
        return _closed(matrix)

    @cached_property
    def best_steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The most probable chain of steps between any two symbols.

        Steps whose other child is empty count with its most probable empty derivation.

        Returns:
            float64 `(symbols, symbols)` log probabilities, 0 on the diagonal; int64 `(symbols, symbols)`: the row of
            `steps` that a chain begins with, -1 on the diagonal and where there is none.
        """
        size = self.num_symbols
        best, first = np.full((size, size), -np.inf), np.full((size, size), -1)
        np.fill_diagonal(best, 0.0)
        for row, (a, b, kind, k) in enumerate(self.steps[0].tolist()):
            log = np.log(self.unary_probs[k]) if kind == 0 else np.log(self.binary_probs[k])
            if kind:
                log += self.best_empty[0][self.binary[k, 2 if kind == 1 else 1]]
            if a != b and log > best[a, b]:
                best[a, b], first[a, b] = log, row
        for middle in range(size):
            above, below = np.flatnonzero(best[:, middle] > -np.inf), np.flatnonzero(best[middle] > -np.inf)
            if len(above) == 1 or len(below) == 1:  # the symbol itself
                continue
            part = np.ix_(above, below)
            through = best[above, middle, None] + best[middle, below]
            better = (through > best[part]) & (above[:, None] != below)
            best[part] = np.where(better, through, best[part])
            first[part] = np.where(better, first[above, middle, None], first[part])
        return best, first

    @cached_property
    def best_empty(self) -> tuple[np.ndarray, list[Any]]:
        """The most probable empty derivation of every symbol.

        Returns:
            float64 `(symbols,)` log probabilities, and for each symbol how it begins: `("empty", rule)`,
            `("unary", row)`, `("binary", row)` or None.
        """
        best, how = np.full(self.num_symbols, -np.inf), [None] * self.num_symbols
        for symbol, rules in self.empty_rules.items():
            rule = max(rules, key=lambda r: self.rules.probs[r])
            best[symbol], how[symbol] = np.log(self.rules.probs[rule]), ("empty", rule)
        changed = True
        while changed:  # ends: every improvement uses fewer symbols again than a loop would
            changed = False
            ways = [(a, np.log(p) + best[b], ("unary", k)) for k, ((a, b), p) in enumerate(_rows(self, "unary"))]
            ways += [
                (a, np.log(p) + best[b] + best[c], ("binary", k))
                for k, ((a, b, c), p) in enumerate(_rows(self, "binary"))
            ]
            for a, log, way in ways:
                if log > best[a]:
                    best[a], how[a], changed = log, way, True
        return best, how


def _rows(grammar: BinaryGrammar, kind: str):
    return zip(getattr(grammar, kind).tolist(), getattr(grammar, f"{kind}_probs").tolist(), strict=True)


def _closed(matrix: np.ndarray) -> np.ndarray:
    """(I - matrix)^-1 = I + matrix + matrix^2 + .. by elimination, symbol by symbol.

    Nothing but positive terms is added, so small entries keep their digits, and those without a path are exactly 0:
    what is improbable stays possible, and what is impossible impossible.
    """
    paths = matrix.copy()
    for middle in range(len(matrix)):
        above, below = np.flatnonzero(paths[:, middle]), np.flatnonzero(paths[middle])
        if len(above) and len(below):
            into = paths[above, middle] / (1 - paths[middle, middle])
            paths[np.ix_(above, below)] += into[:, None] * paths[middle, below]
    return np.eye(len(matrix)) + paths


def binarised(rules: Rules) -> BinaryGrammar:
    """The binary grammar of the same sentences and derivations."""
    v, size = rules.vocab_size, rules.num_symbols
    prefixes: dict[int, tuple[int, ...]] = {}
    known: dict[tuple[int, ...], int] = {}
    lexical, unary, binary, empty = [], [], [], {}

    def auxiliary(right: tuple[int, ...]) -> tuple[int, bool]:
        """The symbol of a beginning, and whether it is new."""
        new = right not in known
        if new:
            known[right] = size + len(prefixes)
            prefixes[known[right]] = right
        return known[right], new

    def child(code: int) -> int:
        if code >= v:
            return code - v
        symbol, new = auxiliary((-1 - code,))
        if new:
            lexical.append((symbol, code, 1.0, -1))
        return symbol

    for rule, (left, right) in enumerate(zip(rules.lefts.tolist(), rules.right_sides, strict=True)):
        p = float(rules.probs[rule])
        if not right:
            empty.setdefault(left, []).append(rule)
        elif len(right) == 1:
            (unary if right[0] >= v else lexical).append((left, right[0] - v if right[0] >= v else right[0], p, rule))
        else:
            children = tuple(child(code) for code in right)
            begun = children[0]
            for end in range(2, len(children)):
                symbol, new = auxiliary(children[:end])
                if new:
                    binary.append((symbol, begun, children[end - 1], 1.0, -1))
                begun = symbol
            binary.append((left, begun, children[-1], p, rule))
    columns = []
    for rows, width in ((lexical, 2), (unary, 2), (binary, 3)):
        numbers = np.array([row[:width] + row[-1:] for row in rows], dtype=np.int64).reshape(-1, width + 1)
        columns.append((numbers[:, :-1], np.array([row[-2] for row in rows], dtype=np.float64), numbers[:, -1]))
    parts, probs, sources = zip(*columns, strict=True)
    return BinaryGrammar(rules, size + len(prefixes), prefixes, *parts, *probs, *sources, empty)
