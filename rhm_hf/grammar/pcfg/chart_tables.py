"""What the kernels of the chart read and write: tables of the binary grammar, and the chart of a sentence."""

from typing import NamedTuple

import numpy as np

from .binary_rules import BinaryGrammar


PROBS, LOGS, BEST = 0, 1, 2  # kinds of numbers, see `sparse_chart`


class Tables(NamedTuple):
    """The binary grammar as the kernels read it: lists of entries for each token or symbol, numbers of one kind.

    `lexical_*`: of token x, the symbols that write it. `tokens_*`: of symbol a, the tokens it writes. `closure_*`: of
    symbol b, the symbols a that become it, with (I - U)^-1[a, b]. `rules_*`: of symbol b, the rules a -> b c.
    `corners_*`: of symbol c, the symbols a along the left edge below it.
    """

    num_symbols: int
    vocab_size: int
    empty: float
    lexical_starts: np.ndarray
    lexical_symbols: np.ndarray
    lexical_weights: np.ndarray
    tokens_starts: np.ndarray
    tokens_ids: np.ndarray
    tokens_weights: np.ndarray
    closure_starts: np.ndarray
    closure_symbols: np.ndarray
    closure_weights: np.ndarray
    rules_starts: np.ndarray
    rules_parents: np.ndarray
    rules_rights: np.ndarray
    rules_weights: np.ndarray
    rules_rows: np.ndarray
    corners_starts: np.ndarray
    corners_symbols: np.ndarray
    corners_weights: np.ndarray


class Chart(NamedTuple):
    """What a sweep writes, for sentences of up to some length.

    `begun`, `begun_direct` (n + 1, symbols): O and O_direct, divided by P(x_<i). `sums`, `touched`, `counts`: working
    space. `cells`: the items that end at j and start at k are numbers cells[j (j + 1) / 2 + j - 1 - k] up to the next
    entry.
    `item_*`: symbol, start, and value B. `heads` (n + 1, symbols): the first edge that waits for a symbol; `edge_*`:
    the next such edge, its start i, its parent a, its weight R B, the item of its first child, its row of
    `binary`. `scales` (n + 1,): P(x_i | x_<i). `sizes` (3,): the numbers of items, of edges, and of tokens read.
    """

    begun: np.ndarray
    begun_direct: np.ndarray
    sums: np.ndarray
    touched: np.ndarray
    counts: np.ndarray
    cells: np.ndarray
    item_symbols: np.ndarray
    item_starts: np.ndarray
    item_values: np.ndarray
    heads: np.ndarray
    edge_nexts: np.ndarray
    edge_starts: np.ndarray
    edge_parents: np.ndarray
    edge_weights: np.ndarray
    edge_items: np.ndarray
    edge_rows: np.ndarray
    scales: np.ndarray
    sizes: np.ndarray


def new_chart(length: int, num_symbols: int, capacity: int) -> Chart:
    """Space for sentences of up to `length` tokens, with `capacity` items and as many edges to begin with."""
    sums, integers, cells = (length + 1, num_symbols), np.int32, (length + 1) * (length + 2) // 2 + 1
    return Chart(
        begun=np.zeros(sums),
        begun_direct=np.zeros(sums),
        sums=np.zeros(sums),
        touched=np.zeros(sums, integers),
        counts=np.zeros(length + 1, np.int64),
        cells=np.zeros(cells, np.int64),
        item_symbols=np.zeros(capacity, integers),
        item_starts=np.zeros(capacity, integers),
        item_values=np.zeros(capacity),
        heads=np.zeros(sums, np.int64),
        edge_nexts=np.zeros(capacity, np.int64),
        edge_starts=np.zeros(capacity, integers),
        edge_parents=np.zeros(capacity, integers),
        edge_weights=np.zeros(capacity),
        edge_items=np.zeros(capacity, np.int64),
        edge_rows=np.zeros(capacity, integers),
        scales=np.zeros(length + 1),
        sizes=np.zeros(3, np.int64),
    )


def larger(chart: Chart) -> Chart:
    """An empty chart with room for twice as many items and edges."""
    length, num_symbols = chart.begun.shape[0] - 1, chart.begun.shape[1]
    return new_chart(length, num_symbols, 2 * (len(chart.item_symbols) + num_symbols))


def tables_of(grammar: BinaryGrammar, kind: int) -> Tables:
    """The tables of a kind of numbers."""
    size, v = grammar.num_symbols, grammar.rules.vocab_size

    def numbers(values):
        with np.errstate(divide="ignore"):
            return np.ascontiguousarray(values, dtype=np.float64) if kind == PROBS else np.log(values)

    def lists(keys, count, *columns):
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(count + 1)).astype(np.int64)
        return (starts, *(np.ascontiguousarray(column[order]) for column in columns))

    def pairs(matrix, weights):
        a, b = np.nonzero(matrix)
        return a.astype(np.int64), b.astype(np.int64), weights[a, b]

    symbols, tokens = grammar.lexical.T
    if kind == BEST:
        logs = grammar.best_steps[0]
        above, below, closure = pairs(logs > -np.inf, logs)
        empty = float(grammar.best_empty[0][0])
    else:
        above, below, closure = pairs(grammar.closure, numbers(grammar.closure))
        empty = float(numbers(grammar.empty[:1])[0])
    top, corner, edge = pairs(grammar.corners, numbers(grammar.corners))
    parent, left, right = grammar.binary.T
    return Tables(
        size,
        v,
        empty,
        *lists(tokens, v, symbols, numbers(grammar.lexical_probs)),
        *lists(symbols, size, tokens, numbers(grammar.lexical_probs)),
        *lists(below, size, above, closure),
        *lists(left, size, parent, right, numbers(grammar.binary_probs), np.arange(len(parent))),
        *lists(top, size, corner, edge),
    )
