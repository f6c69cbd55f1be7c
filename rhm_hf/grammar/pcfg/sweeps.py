"""Runs the kernel of `sparse_chart` over sentences, with logarithms for those that need them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .binary_rules import BinaryGrammar
from .chart_tables import LOGS, PROBS, Chart, Tables, larger, new_chart, tables_of


CAPACITY = 2**14  # items and edges that a chart has room for to begin with


@dataclass(frozen=True, eq=False)
class Sweeps:
    """The sweeps of a grammar. A row of tokens is read up to its length; what is behind it may be anything."""

    grammar: BinaryGrammar

    def tables(self, kind: int) -> Tables:
        """The kernel's tables, made once for each kind of numbers."""
        if kind not in self._tables:
            self._tables[kind] = tables_of(self.grammar, kind)
        return self._tables[kind]

    @cached_property
    def _tables(self) -> dict:
        return {}

    def rows(self, tokens: np.ndarray, lengths: np.ndarray, positions: int) -> tuple[np.ndarray, ...]:
        """Laws and log probabilities of rows.

        Args:
            tokens (`np.ndarray`): int64 `(n, t)`.
            lengths (`np.ndarray`): int64 `(n,)`: how many tokens of each row to read.
            positions (`int`): how many laws to give.

        Returns:
            float64 laws `(n, positions, v + 1)`, uniform where they are not valid; bool `(n, positions)`; float64
            `(n, 2)`: the log probability of what was read as a prefix, and that of END after it. The working memory is
            one chart: 16 bytes for each item, 36 for each edge, 8 for each of n (n + 1) / 2 cells of n tokens, and
            36 (n + 1) for each symbol.
        """
        from .sparse_chart import FAINT

        outcomes = self.grammar.rules.vocab_size + 1
        laws = np.full((len(tokens), positions, outcomes), 1 / outcomes)
        valid, logs = np.zeros((len(tokens), positions), dtype=bool), np.zeros((len(tokens), 2))
        states = np.full(len(tokens), FAINT)
        tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        lengths = np.ascontiguousarray(lengths, dtype=np.int64)
        chart = new_chart(int(lengths.max(initial=0)), self.grammar.num_symbols, CAPACITY)
        nothing = np.zeros((0, 0, 0))
        chart = self._sweep(PROBS, tokens, nothing, lengths, chart, laws, valid, logs, states)
        if (faint := states == FAINT).any():
            some = [array[faint] for array in (tokens, lengths, laws, valid, logs)]
            self._sweep(LOGS, some[0], nothing, some[1], chart, *some[2:], np.full(len(some[0]), FAINT))
            laws[faint], valid[faint], logs[faint] = some[2:]
        laws[~valid] = 1 / outcomes
        return laws, valid, logs

    def _sweep(
        self,
        kind: int,
        tokens: np.ndarray,
        evidence: np.ndarray,
        lengths: np.ndarray,
        chart: Chart,
        *filled: np.ndarray,
    ) -> Chart:
        """Fills laws, valid, logs and states of all rows; returns the chart, with room for the largest of them."""
        from .sparse_chart import sweep_rows

        row, tables = 0, self.tables(kind)
        while (row := sweep_rows(tables, kind, tokens, evidence, lengths, chart, *filled, row)) < len(tokens):
            chart = larger(chart)
        return chart

    def chart(
        self, tokens: np.ndarray, evidence: np.ndarray | None = None, kind: int | None = None
    ) -> tuple[int, tuple[Any, ...], np.ndarray]:
        """The chart of one sentence.

        Args:
            tokens (`np.ndarray`): int64 `(length,)`; not read where there is evidence.
            evidence (`np.ndarray`, *optional*): float64 `(length, v)`: likelihoods of the tokens, >= 0.
            kind (`int`, *optional*): of the numbers; by default PROBS, or LOGS where those are too small.

        Returns:
            The kind of its numbers, the chart, and the log probabilities of the whole and of END after it.
        """
        from .sparse_chart import FAINT

        v, length = self.grammar.rules.vocab_size, len(tokens if evidence is None else evidence)
        tokens, lengths = np.ascontiguousarray(tokens, dtype=np.int64)[None], np.array([length])
        chart, given = new_chart(length, self.grammar.num_symbols, CAPACITY), np.zeros((0, 0, 0))
        no_laws, logs = (np.zeros((1, 0, v + 1)), np.zeros((1, 0), dtype=bool)), np.zeros((1, 2))
        states = np.full(1, FAINT)
        for trying in (PROBS, LOGS) if kind is None else (kind,):
            if evidence is not None:
                with np.errstate(divide="ignore"):
                    given = np.array(evidence if trying == PROBS else np.log(evidence), dtype=np.float64)[None]
            chart = self._sweep(trying, tokens, given, lengths, chart, *no_laws, logs, states)
            if states[0] != FAINT:
                break
        return trying, chart, logs[0]
