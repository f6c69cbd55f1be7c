"""Which rule every token decides, given the tokens before it: the exact law of the next token, rule by rule.

A token that begins a symbol (the highest one that begins there and is not empty) decides the rule that expands it; a
token inside of a rule whose beginning is read decides that rule, which may have become the only one left; END decides
nothing but that the sentence ends. With O_direct[a, i] the expected number of symbols a that begin at i, not on the
left edge of another one, and F[r, x] the probability that what rule r yields begins with token x,

    P(x_i = x, and it decides r | x_<i) = O_direct[a, i] p_r F[r, x] + P(x stands inside r at i | x_<i),

both of the sweep over the chart; the sum over all rules and END is the next-token law.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...sentences.philox import compiled, compiled_within
from ..binary_rules import BinaryGrammar
from ..chart_tables import PROBS
from .pcfg_inputs import checked_rows


class Decisions(NamedTuple):
    """P(x_i = x, it decides group g | x_<i) = sum over entries e of (x, g) of openers[n, i, e.opener] * e.weight.

    Args:
        openers (`np.ndarray`): float64 `(n, t + 1, openers)`; 0 where a prefix is impossible, and beyond END.
        opener, outcome, group (`np.ndarray`): int64 `(entries,)`; the last group is END, the others are the rules.
        weights (`np.ndarray`): float64 `(entries,)`.
    """

    openers: np.ndarray
    opener: np.ndarray
    outcome: np.ndarray
    group: np.ndarray
    weights: np.ndarray


class RuleSlots:
    """What is the same for all sentences. Openers are the symbols, then tokens inside of rules, then END.

    Args:
        grammar ([`BinaryGrammar`]): of the rules.
    """

    def __init__(self, grammar: BinaryGrammar):
        self.grammar, self.rules = grammar, grammar.rules
        v = self.rules.vocab_size
        inside = sorted({(r, c) for r, right in enumerate(self.rules.right_sides) for c in right[1:] if c < v})
        self.slots = {slot: self.rules.num_symbols + k for k, slot in enumerate(inside)}
        self.num_openers = self.rules.num_symbols + len(inside) + 1
        self.num_groups = self.rules.num_rules + 1

    @cached_property
    def entries(self) -> tuple[np.ndarray, ...]:
        """Opener, outcome, group and weight of every entry."""
        v, found = self.rules.vocab_size, []
        for r, law in enumerate(self._first_tokens):
            left, p = int(self.rules.lefts[r]), float(self.rules.probs[r])
            found += [(left, x, r, p * law[x]) for x in np.flatnonzero(law).tolist()]
        found += [(slot, x, r, 1.0) for (r, x), slot in self.slots.items()]
        found.append((self.num_openers - 1, v, self.num_groups - 1, 1.0))
        opener, outcome, group, weights = zip(*found, strict=True)
        return *(np.array(column, np.int64) for column in (opener, outcome, group)), np.array(weights)

    @property
    def _first_tokens(self) -> list[np.ndarray]:
        """F: the laws `(v,)` of the first token that every rule yields; they sum to P(it yields any)."""
        v, grammar = self.rules.vocab_size, self.grammar
        written = np.zeros((grammar.num_symbols, v))
        np.add.at(written, tuple(grammar.lexical.T), grammar.lexical_probs)
        begins, laws = grammar.corners @ written, []
        for right in self.rules.right_sides:
            law, empty = np.zeros(v), 1.0
            for code in right:
                law += empty * (np.eye(v)[code] if code < v else begins[code - v])
                empty *= 0.0 if code < v else grammar.empty[code - v]
            laws.append(law)
        return laws

    @cached_property
    def inside(self) -> tuple[np.ndarray, ...]:
        """What the kernel reads of the tokens inside of rules.

        An edge waits for a token's symbol with a parent: the left side of a rule that ends with the token, or the
        beginning of several rules, up to the token. `waited`: the tokens' symbols. `last`: of every row of `binary`
        the opener of its rule's last token. `starts`, `lefts`, `logs`, `slots`: of every parent the rules that it may
        be the beginning of: left side, log probability, opener.
        """
        v, grammar = self.rules.vocab_size, self.grammar
        symbols = {right: symbol for symbol, right in grammar.prefixes.items()}
        found: list[list[tuple[int, float, int]]] = [[] for _ in range(grammar.num_symbols)]
        for r, right in enumerate(self.rules.right_sides):
            children = tuple(code - v if code >= v else symbols.get((-1 - code,), -1) for code in right)
            for end in range(1, len(right) - 1):
                if right[end] < v:
                    entry = (int(self.rules.lefts[r]), np.log(self.rules.probs[r]), self.slots[r, right[end]])
                    found[symbols[children[: end + 1]]].append(entry)
        rules = [(r, self.rules.right_sides[r]) if r >= 0 else (r, ()) for r in grammar.binary_rules.tolist()]
        last = np.array([self.slots.get((r, right[-1]), -1) if right else -1 for r, right in rules], np.int64)
        waited = np.array([symbols.get((-1 - x,), -1) for x in range(v)], np.int64)
        starts = np.cumsum([0, *map(len, found)]).astype(np.int64)
        flat = [entry for of_parent in found for entry in of_parent]
        lefts, logs, slots = (np.array([entry[k] for entry in flat]) for k in range(3))
        return waited, last, starts, lefts.astype(np.int64), logs.astype(np.float64), slots.astype(np.int64)


def decided_rules(laws: Any, slots: RuleSlots, tokens: Any) -> Decisions:
    """The rules that the next tokens of rows decide.

    Args:
        laws ([`~rhm_hf.grammar.pcfg.laws.PCFGLaws`]): of the grammar.
        slots ([`RuleSlots`]): of its binary grammar.
        tokens: rows of tokens.

    Returns:
        [`Decisions`].
    """
    rows, size = checked_rows(laws.source, tokens), slots.rules.num_symbols
    n, t = rows.tokens.shape
    of_tokens, valid, _ = laws.sweeps.rows(rows.tokens, rows.lengths, t + 1)
    openers = np.zeros((n, t + 1, slots.num_openers))
    for row, length in enumerate(rows.lengths.tolist()):
        kind, chart, _ = laws.sweeps.chart(rows.tokens[row, :length])
        read = int(chart.sizes[2]) + 1
        direct = chart.begun_direct[:read, :size]
        openers[row, :read, :size] = direct if kind == PROBS else np.exp(direct)
        _inside(kind, read, chart, *slots.inside, openers[row])
        openers[row, :read, -1] = of_tokens[row, :read, -1]
    openers[~valid] = 0
    return Decisions(openers, *slots.entries)


@compiled
def _inside(kind, read, chart, waited, last, starts, lefts, logs, slots, openers):
    """Adds to `openers` the tokens that stand inside of a rule at every position."""
    for j in range(read):
        for x in range(waited.shape[0]):
            e = chart.heads[j, waited[x]] if waited[x] >= 0 else -1
            while e >= 0:
                parent, k = chart.edge_parents[e], chart.edge_starts[e]
                more = _share(kind, chart.begun[k, parent], chart.edge_weights[e])
                if last[chart.edge_rows[e]] >= 0:
                    openers[j, last[chart.edge_rows[e]]] += more
                else:  # the rules with this beginning: as probable as their left sides are to begin at k
                    whole = 0.0
                    for r in range(starts[parent], starts[parent + 1]):
                        whole += _share(kind, chart.begun[k, lefts[r]], 1.0 if kind == 0 else 0.0) * np.exp(logs[r])
                    for r in range(starts[parent], starts[parent + 1]):
                        mine = _share(kind, chart.begun[k, lefts[r]], 1.0 if kind == 0 else 0.0) * np.exp(logs[r])
                        openers[j, slots[r]] += more * mine / whole
                e = chart.edge_nexts[e]


@compiled_within
def _share(kind, a, b):
    """The product of two numbers of a kind, as a probability."""
    return a * b if kind == 0 else np.exp(a + b)
