"""The rules of a general grammar as flat arrays, checked: proper, consistent, nothing useless."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from .rules_text import Writing, quoted, read


SUM_TOLERANCE = 1e-6
ROUNDING = 1e-14  # laws that sum to 1 up to this are kept to the last bit: checking twice changes nothing


@dataclass(frozen=True, eq=False)
class Rules:
    """Production rules, those of a symbol one after the other.

    Args:
        terminals (`tuple[str, ...]`): the strings of the tokens 0 .. v-1.
        symbols (`tuple[str, ...]`): the names of the symbols, the start symbol first.
        lefts (`np.ndarray`): int32 `(rules,)`, ascending: the symbol that a rule expands.
        starts (`np.ndarray`): int32 `(rules + 1,)`: rule r has the right side `rights[starts[r] : starts[r + 1]]`.
        rights (`np.ndarray`): int32; token k is k, symbol a is v + a.
        probs (`np.ndarray`): float64 `(rules,)`, positive, those of a symbol sum to 1.
    """

    terminals: tuple[str, ...]
    symbols: tuple[str, ...]
    lefts: np.ndarray
    starts: np.ndarray
    rights: np.ndarray
    probs: np.ndarray

    @property
    def vocab_size(self) -> int:
        """v, the number of terminals."""
        return len(self.terminals)

    @property
    def num_symbols(self) -> int:
        """The number of symbols that have rules."""
        return len(self.symbols)

    @property
    def num_rules(self) -> int:
        """The number of rules of positive probability."""
        return len(self.lefts)

    @cached_property
    def right_sides(self) -> list[tuple[int, ...]]:
        """The right side of every rule."""
        bounds = self.starts.tolist()
        flat = self.rights.tolist()
        return [tuple(flat[begin:end]) for begin, end in pairwise(bounds)]

    @cached_property
    def first_rules(self) -> np.ndarray:
        """int64 `(symbols + 1,)`: symbol a has the rules `first_rules[a] .. first_rules[a + 1] - 1`."""
        return np.searchsorted(self.lefts, np.arange(self.num_symbols + 1))

    def rules_of(self, symbol: int) -> range:
        """The rules of a symbol."""
        return range(int(self.first_rules[symbol]), int(self.first_rules[symbol + 1]))

    @cached_property
    def expected_children(self) -> np.ndarray:
        """float64 `(symbols, symbols)`: how many children b a symbol a has on average."""
        mean = np.zeros((self.num_symbols, self.num_symbols))
        for rule, right in enumerate(self.right_sides):
            for child in right:
                if child >= self.vocab_size:
                    mean[self.lefts[rule], child - self.vocab_size] += self.probs[rule]
        return mean

    @cached_property
    def expected_tokens(self) -> np.ndarray:
        """float64 `(symbols, v)`: how many tokens a symbol writes itself on average."""
        mean = np.zeros((self.num_symbols, self.vocab_size))
        for rule, right in enumerate(self.right_sides):
            for child in right:
                if child < self.vocab_size:
                    mean[self.lefts[rule], child] += self.probs[rule]
        return mean

    @cached_property
    def spectral_radius(self) -> float:
        """The largest absolute eigenvalue of [`expected_children`]: below 1 where derivations end."""
        return float(np.abs(np.linalg.eigvals(self.expected_children)).max())

    def name_of(self, code: int) -> str:
        """A token, quoted, or a symbol's name."""
        v = self.vocab_size
        return self.symbols[code - v] if code >= v else quoted(self.terminals[code])

    def to_text(self) -> str:
        """The rules as text that [`from_text`] reads, one symbol a line, the same to the last bit."""
        lines = []
        for a, name in enumerate(self.symbols):
            alternatives = (
                " ".join([*map(self.name_of, self.right_sides[r]), f"[{float(self.probs[r])!r}]"])
                for r in self.rules_of(a)
            )
            lines.append(f"{name} -> " + " | ".join(alternatives))
        return "\n".join(lines) + "\n"


def rules_from_text(text: str, start: str | None = None) -> Rules:
    """Reads rules in the forms that [`~rhm_hf.grammar.pcfg.rules_text`] describes.

    Args:
        text (`str`): the rules.
        start (`str`, *optional*, defaults to the first left side): the start symbol. Where it is given, rules that it
            does not reach are left out; elsewhere they are refused.

    Raises:
        `ValueError`: naming the line or the symbol, and the remedy.
    """
    return rules_of_writing(read(text), start)


def rules_of_writing(writing: Writing, start: str | None = None) -> Rules:
    """The same for what was read already."""
    lefts = list(dict.fromkeys(rule.left for rule in writing.rules))
    asked = start if start is not None else writing.start
    if asked not in lefts:
        raise ValueError(f"start={asked!r} has no rule: the symbols with rules are {', '.join(lefts)}")
    known = set(lefts)
    rules, lines = [], {}
    for rule in writing.rules:
        right = tuple((text, is_quoted or text not in known) for text, is_quoted in rule.right)
        rules.append((rule.left, right, rule.prob))
        lines.setdefault(rule.left, rule.line)
    return make_rules(rules, asked, drop_unreachable=start is not None, lines=lines)


def make_rules(
    rules: Iterable[tuple[str, Sequence[tuple[str, bool]], float | None]],
    start: str,
    drop_unreachable: bool = False,
    lines: dict[str, int] | None = None,
    terminals: Sequence[str] | None = None,
) -> Rules:
    """Checked rules from names.

    Args:
        rules: triples of a left side, the right side as pairs (name, whether it is a terminal), and a probability, or
            None for rules of equal probability.
        start (`str`): the start symbol.
        drop_unreachable (`bool`): leave out what the start symbol does not reach, rather than refuse it.
        lines (`dict`, *optional*): the line of a symbol, for errors.
        terminals (`Sequence[str]`, *optional*): the order of the terminals; by default that of their appearance.

    Raises:
        `ValueError`: where probabilities do not sum to one, symbols are useless, or derivations need not end.
    """
    places = {name: f" (line {line})" for name, line in (lines or {}).items()}
    by_left: dict[str, list] = {}
    for left, right, prob in rules:
        by_left.setdefault(left, []).append((tuple(right), prob))
    laws = {left: _law(left + places.get(left, ""), [prob for _, prob in those]) for left, those in by_left.items()}
    by_left = {
        left: [(right, p) for (right, _), p in zip(those, laws[left], strict=True) if p > 0]
        for left, those in by_left.items()
    }
    reached = _reached(by_left, start)
    if not drop_unreachable and (useless := [left for left in by_left if left not in reached]):
        raise ValueError(
            f"symbol {useless[0]!r}{places.get(useless[0], '')} is never reached from {start!r}: delete its rules, "
            f"name another start symbol, or give start={start!r} to leave such rules out"
        )
    symbols = [start] + [left for left in by_left if left in reached and left != start]
    used = [right for left, those in by_left.items() if left in reached for right, _ in those]
    appearing = dict.fromkeys(name for right in used for name, is_token in right if is_token)
    if terminals is not None:
        appearing = [name for name in terminals if name in appearing]
    tokens = {name: k for k, name in enumerate(appearing)}
    numbers = {name: len(tokens) + a for a, name in enumerate(symbols)}
    if not tokens:
        raise ValueError("the grammar has no terminal: its only sentence is the empty one; write at least one token")
    lefts, rights, probs, starts = [], [], [], [0]
    for a, name in enumerate(symbols):
        for right, p in by_left[name]:
            lefts.append(a)
            probs.append(p)
            rights += [tokens[child] if is_token else numbers[child] for child, is_token in right]
            starts.append(len(rights))
    made = Rules(
        tuple(tokens),
        tuple(symbols),
        np.array(lefts, dtype=np.int32),
        np.array(starts, dtype=np.int32),
        np.array(rights, dtype=np.int32),
        np.array(probs, dtype=np.float64),
    )
    check_derivations_end(made, places)
    return made


def checked_rules(terminals: Any, symbols: Any, lefts: Any, starts: Any, rights: Any, probs: Any) -> Rules:
    """Rules from arrays that may come from a file: everything is checked; `ValueError` says what is wrong."""
    lefts, starts, rights = (np.asarray(array) for array in (lefts, starts, rights))
    for name, array in (("lefts", lefts), ("starts", starts), ("rights", rights)):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}: it must be a row of integers")
    v, num = len(terminals), len(symbols)
    if len(set(terminals)) != v or len(set(symbols)) != num or not v or not num:
        raise ValueError("terminals and symbols must be two lists of different names, none empty")
    if len(starts) != len(lefts) + 1 or len(probs) != len(lefts) or not len(lefts):
        raise ValueError(
            f"{len(lefts)} left sides, {len(probs)} probs and {len(starts)} starts do not belong together"
        )
    if (np.diff(starts) < 0).any() or starts[0] != 0 or starts[-1] != len(rights):
        raise ValueError("starts must ascend from 0 to the length of rights")
    if lefts.min() < 0 or lefts.max() >= num or (len(rights) and (rights.min() < 0 or rights.max() >= v + num)):
        raise ValueError(f"a rule holds a number out of range: {v} terminals, {num} symbols, so 0 to {v + num - 1}")
    names = [*((name, True) for name in terminals), *((name, False) for name in symbols)]
    rules = [
        (symbols[left], [names[code] for code in rights[begin:end]], float(prob))
        for left, begin, end, prob in zip(lefts, starts, starts[1:], probs, strict=False)
    ]
    made = make_rules(rules, symbols[0], terminals=terminals)
    if made.terminals != tuple(terminals):
        raise ValueError("some terminals stand in no rule of positive probability: leave them out")
    return made


def _law(place: str, probs: list[float | None]) -> np.ndarray:
    given = [p for p in probs if p is not None]
    if not given:
        return np.full(len(probs), 1 / len(probs))
    if len(given) < len(probs):
        raise ValueError(
            f"symbol {place} has rules with a probability and rules without: give it to all of its rules, or to none"
        )
    law = np.array(probs, dtype=np.float64)
    if not np.isfinite(law).all() or (law < 0).any():
        raise ValueError(f"symbol {place} has a rule of probability {law[~(law >= 0)][0]}: it must be >= 0")
    if abs(law.sum() - 1) > SUM_TOLERANCE:
        raise ValueError(
            f"the rules of symbol {place} have probabilities that sum to {law.sum():.9g} instead of 1: divide each by "
            "the sum"
        )
    return law if abs(law.sum() - 1) <= ROUNDING else law / law.sum()


def _reached(by_left: dict[str, list], start: str) -> set[str]:
    reached, agenda = {start}, [start]
    while agenda:
        for right, _ in by_left[agenda.pop()]:
            for name, is_token in right:
                if not is_token and name not in reached:
                    reached.add(name)
                    agenda.append(name)
    return reached


def check_derivations_end(rules: Rules, places: dict[str, str] | None = None) -> None:
    """Raises a `ValueError` where some symbol has no finite derivation, or derivations have infinite mean size."""
    ending = np.zeros(rules.num_symbols, dtype=bool)
    v, changed = rules.vocab_size, True
    while changed:
        changed = False
        for left, right in zip(rules.lefts, rules.right_sides, strict=True):
            if not ending[left] and all(child < v or ending[child - v] for child in right):
                ending[left] = changed = True
    if not ending.all():
        name = rules.symbols[int(np.flatnonzero(~ending)[0])]
        raise ValueError(
            f"symbol {name!r}{(places or {}).get(name, '')} never becomes a finite string: each of its rules needs a "
            "symbol that does not end either; add a rule that ends"
        )
    if rules.spectral_radius >= 1 - 1e-12:
        raise ValueError(
            f"the grammar is not consistent: the matrix of expected children has the spectral radius "
            f"{rules.spectral_radius:.9g}, and derivations have a finite mean size only below 1; make the recursive "
            "rules less probable"
        )
