"""The brute force of grammars whose trees differ in shape: every derivation listed, or many drawn rule by rule."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np


Symbol = tuple[int, int]  # (level, symbol); level 0 holds the tokens, -1 the symbols of a grammar without levels
STEPS = 100_000  # rules of one drawn derivation at most


@dataclass(frozen=True)
class Productions:
    """Rules as lists.

    Args:
        rules (`dict`): symbol -> its rules, each a probability and the symbols that it writes.
        starts (`list`): probabilities and symbols of the root.
        vocab_size (`int`): v.
    """

    rules: dict[Symbol, list[tuple[float, tuple[Symbol, ...]]]]
    starts: list[tuple[float, Symbol]]
    vocab_size: int

    @classmethod
    def of(cls, source: Any) -> "Productions":
        """Reads the rules of a source of trees by levels, or of a general grammar.

        Raises:
            `ValueError`: for a family without such rules.
        """
        v = source.vocab_size
        if hasattr(getattr(source, "rules", None), "right_sides"):
            found: dict[Symbol, list] = defaultdict(list)
            written = source.rules
            for left, right, p in zip(written.lefts, written.right_sides, written.probs, strict=True):
                children = tuple((0, code) if code < v else (-1, code - v) for code in right)
                found[-1, int(left)].append((float(p), children))
            return cls(dict(found), [(1.0, (-1, 0))], v)
        if hasattr(source, "root_probs") and hasattr(source, "arities_at"):
            found = {}
            for level in range(1, source.depth + 1):
                for rules, probs in zip(source.rules_at(level), source.rule_probs_at(level), strict=True):
                    for symbol in range(len(rules)):
                        for rule, p in zip(rules[symbol].tolist(), probs[symbol].tolist(), strict=True):
                            if p > 0:
                                children = tuple((level - 1, child) for child in rule)
                                found.setdefault((level, symbol), []).append((p, children))
            starts = [(p, (source.depth, a)) for a, p in enumerate(source.root_probs.tolist()) if p > 0]
            return cls(found, starts, v)
        raise ValueError(
            f"{source.name} is of the family {source.family}, which rhm verify has no brute force for: it knows "
            "trees, chains and grammars of production rules"
        )

    def num_derivations(self) -> float:
        """How many derivations there are; infinite where a symbol may come again below itself."""
        known: dict[Symbol, float] = {}

        def count(symbol: Symbol, above: frozenset[Symbol]) -> float:
            if symbol[0] == 0:
                return 1
            if symbol in above:
                return math.inf
            if symbol not in known:
                inside = above | {symbol}
                known[symbol] = sum(
                    math.prod(count(child, inside) for child in rule) for _, rule in self.rules[symbol]
                )
            return known[symbol]

        return sum(count(symbol, frozenset()) for _, symbol in self.starts)

    def derivations(self) -> list[tuple[float, list[tuple[int, ...]]]]:
        """The probability and the tokens of every derivation of a grammar that has finitely many."""
        known: dict[Symbol, list[tuple[float, tuple[int, ...]]]] = {}

        def expand(symbol: Symbol) -> list[tuple[float, tuple[int, ...]]]:
            if symbol[0] == 0:
                return [(1.0, (symbol[1],))]
            if symbol not in known:
                found = []
                for p, rule in self.rules[symbol]:
                    parts = [(p, ())]
                    for child in rule:
                        parts = [(q * r, left + right) for q, left in parts for r, right in expand(child)]
                    found += parts
                known[symbol] = found
            return known[symbol]

        return [(p * q, [tokens]) for p, symbol in self.starts for q, tokens in expand(symbol)]

    def draw(self, num: int, seed: int) -> list[tuple[int, ...]]:
        """Sentences drawn rule by rule with random numbers of its own.

        Raises:
            `ValueError`: where a derivation does not end within 100 000 rules.
        """
        rng = np.random.default_rng(seed)
        laws = {symbol: np.cumsum([p for p, _ in rules]) for symbol, rules in self.rules.items()}
        roots = np.cumsum([p for p, _ in self.starts])
        found = []
        for _ in range(num):
            stack = [self.starts[_pick(roots, rng.random())][1]]
            tokens: list[int] = []
            steps = 0
            while stack:
                symbol = stack.pop()
                if symbol[0] == 0:
                    tokens.append(symbol[1])
                    continue
                if (steps := steps + 1) > STEPS:
                    raise ValueError(
                        f"a derivation did not end within {STEPS} rules: its sentences are too long to check"
                    )
                stack += reversed(self.rules[symbol][_pick(laws[symbol], rng.random())][1])
            found.append(tuple(tokens))
        return found


def _pick(cumulative: np.ndarray, number: float) -> int:
    return min(int(np.searchsorted(cumulative, number * cumulative[-1], side="right")), len(cumulative) - 1)
