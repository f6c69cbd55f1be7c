"""numba kernels over a finished chart: posteriors of spans, of open constituents, and choices from the root down."""

import math

import numpy as np

from ..sentences.philox import compiled, compiled_within
from .sparse_chart import plus, times


@compiled
def outside(tables, kind, length, chart, chains, binary_weights, chart_end, counts, outs, token_outs):
    """How often every item occurs in a derivation of the sentence, and the outside of every cell of one token.

    The reverse of the sweep: what an item passed on, it gets back. Items over a span pass to each other by chains of
    units; the outside of a symbol counts it wherever in a chain it stands.

    Args:
        chains (tuple of int64, int64, float64 arrays): of symbol a, the symbols b that it becomes, (I - U)^-1[a, b].
        binary_weights (float array): the weights of the rows of `binary`, numbers of the kind.
        chart_end (float): B[root, 0, n], a number of the kind.
        counts (float array): `(items,)`, filled with expected numbers (not logarithms).
        outs (float array): `(length + 1, symbols)`, working space.
        token_outs (float array): `(length, symbols)`, filled with numbers of the kind: outside of token cells.
    """
    starts, below, weights = chains
    zero, one = (0.0, 1.0) if kind == 0 else (-math.inf, 0.0)
    item_outs = np.full(chart.sizes[0], zero)
    edge_outs = np.full(chart.sizes[1], zero)
    outs[:] = zero
    for j in range(length, 0, -1):
        cell = j * (j + 1) // 2
        for c in range(tables.num_symbols):
            e = chart.heads[j, c]
            while e >= 0:
                item, weight = chart.edge_items[e], binary_weights[chart.edge_rows[e]]
                item_outs[item] = plus(item_outs[item], times(weight, edge_outs[e], kind), kind)
                e = chart.edge_nexts[e]
        for k in range(j):
            first, last = chart.cells[cell + j - 1 - k], chart.cells[cell + j - k]
            for item in range(first, last):
                symbol, value = chart.item_symbols[item], chart.item_values[item]
                if j == length and k == 0 and symbol == 0:
                    item_outs[item] = one / chart_end if kind == 0 else one - chart_end
                e = chart.heads[k, symbol]
                while e >= 0:
                    out = outs[chart.edge_starts[e], chart.edge_parents[e]]
                    if out > zero:
                        item_outs[item] = plus(item_outs[item], times(chart.edge_weights[e], out, kind), kind)
                        edge_outs[e] = plus(edge_outs[e], times(value, out, kind), kind)
                    e = chart.edge_nexts[e]
            for item in range(first, last):
                out = item_outs[item]
                if out > zero:
                    a = chart.item_symbols[item]
                    for e in range(starts[a], starts[a + 1]):
                        outs[k, below[e]] = plus(outs[k, below[e]], times(weights[e], out, kind), kind)
            for item in range(first, last):
                both = times(outs[k, chart.item_symbols[item]], chart.item_values[item], kind)
                counts[item] = both if kind == 0 else math.exp(both)
            if k == j - 1:
                token_outs[k] = outs[k]
        for k in range(j):
            outs[k] = zero


@compiled
def opened(tables, kind, tokens, length, chart, begins, result):
    """How many constituents of every symbol contain token i, given the tokens up to it, for all i.

    Given token i, mass lies on what begins at i, flows along edges to the constituents that wait, and on to those that
    they begin with. `begins[a, x]` is the sum over symbols b of (I - P_L)^-1[a, b] E[b, x].

    Args:
        result (float array): `(length, starts, symbols)`, zeros; filled with expected numbers by where constituents
            begin, or over all places where `starts` is 1.
    """
    size = tables.num_symbols
    zero, one = (0.0, 1.0) if kind == 0 else (-math.inf, 0.0)
    mass, direct = np.zeros((length, size)), np.zeros(size)
    for i in range(length):
        mass[: i + 1] = 0.0
        for k in range(i, -1, -1):
            place = k if result.shape[1] > 1 else 0
            direct[:] = 0.0
            if k == i:
                for a in range(size):
                    more = begins[a, tokens[i]]
                    if more > 0:
                        result[i, place, a] += more * share(chart.begun[i, a], one, chart.scales[i], kind)
                        direct[a] = more * share(chart.begun_direct[i, a], one, chart.scales[i], kind)
            else:
                for c in range(size):
                    if chart.begun[k, c] == zero:
                        continue
                    # Symbols a with mass, c above them along the left edge, or the same.
                    for e in range(tables.corners_starts[c], tables.corners_starts[c + 1]):
                        a, weight = tables.corners_symbols[e], tables.corners_weights[e]
                        if mass[k, a] == 0.0:
                            continue
                        above = share(chart.begun[k, c], weight, chart.begun[k, a], kind) * mass[k, a]
                        if a == c:  # a itself, which is counted already, is one of those at no distance
                            above -= mass[k, a]
                        result[i, place, c] += max(above, 0.0)
                        direct[c] += share(chart.begun_direct[k, c], weight, chart.begun[k, a], kind) * mass[k, a]
            for c in range(size):
                if direct[c] > 0:
                    e = chart.heads[k, c]
                    while e >= 0:
                        a, start = chart.edge_parents[e], chart.edge_starts[e]
                        more = direct[c] * share(
                            chart.begun[start, a], chart.edge_weights[e], chart.begun_direct[k, c], kind
                        )
                        mass[start, a] += more
                        result[i, start if result.shape[1] > 1 else 0, a] += more
                        e = chart.edge_nexts[e]


@compiled_within
def share(a, b, c, kind):
    """a b / c as a number, of numbers of a kind."""
    if kind == 0:
        return a * b / c
    return math.exp(a + b - c) if a > -math.inf else 0.0


@compiled_within
def weighed(value, high, kind):
    """A number as a weight: where the best is wanted, 1 for the highest and 0 for all others."""
    if kind == 0:
        return value
    if kind == 2:
        return 1.0 if value == high and high > -math.inf else 0.0
    return math.exp(value - high) if value > -math.inf else 0.0


@compiled_within
def direct_sums(tables, kind, chart, tokens, evidence, i, j, sums):
    """Fills `sums` with what each symbol has over the span i .. j by its own rules, not by units."""
    zero, one = (0.0, 1.0) if kind == 0 else (-math.inf, 0.0)
    hard, cell = evidence.shape[0] == 0, j * (j + 1) // 2
    sums[:] = zero
    if j == i + 1:
        for x in range(tokens[i] if hard else 0, tokens[i] + 1 if hard else tables.vocab_size):
            weight = one if hard else evidence[i, x]
            for e in range(tables.lexical_starts[x], tables.lexical_starts[x + 1]):
                b = tables.lexical_symbols[e]
                sums[b] = plus(sums[b], times(tables.lexical_weights[e], weight, kind), kind)
    for k in range(i + 1, j):
        for item in range(chart.cells[cell + j - 1 - k], chart.cells[cell + j - k]):
            e = chart.heads[k, chart.item_symbols[item]]
            while e >= 0:
                if chart.edge_starts[e] == i:
                    b, more = chart.edge_parents[e], times(chart.edge_weights[e], chart.item_values[item], kind)
                    sums[b] = plus(sums[b], more, kind)
                e = chart.edge_nexts[e]


@compiled_within
def choose_end(kind, chains, symbol, sums, uniform):
    """Which symbol a symbol becomes by units before it uses a rule of its own."""
    starts, below, weights = chains
    total, high, end = 0.0, -math.inf, -1
    for e in range(starts[symbol], starts[symbol + 1]):
        high = max(high, times(weights[e], sums[below[e]], kind))
    for e in range(starts[symbol], starts[symbol + 1]):
        total += weighed(times(weights[e], sums[below[e]], kind), high, kind)
    left = uniform * total
    for e in range(starts[symbol], starts[symbol + 1]):
        more = weighed(times(weights[e], sums[below[e]], kind), high, kind)
        if more > 0:
            end = below[e]
            if left < more:
                return end
            left -= more
    return end  # by rounding


@compiled_within
def choose_way(tables, kind, chart, tokens, evidence, lexical_rows, i, j, symbol, high, left):
    """Which rule of its own a symbol uses over a span.

    Returns:
        Its row of `lexical` and -1 three times, or its row of `binary`, its children's items, the second's start.
    """
    hard, cell = evidence.shape[0] == 0, j * (j + 1) // 2
    one = 1.0 if kind == 0 else 0.0
    row, first, second, middle = -1, -1, -1, -1
    if j == i + 1:
        for x in range(tokens[i] if hard else 0, tokens[i] + 1 if hard else tables.vocab_size):
            weight = one if hard else evidence[i, x]
            for e in range(tables.lexical_starts[x], tables.lexical_starts[x + 1]):
                if tables.lexical_symbols[e] == symbol:
                    more = weighed(times(tables.lexical_weights[e], weight, kind), high, kind)
                    if more > 0:
                        row = lexical_rows[e]
                        if left < more:
                            return row, first, second, middle
                        left -= more
    for k in range(i + 1, j):
        for item in range(chart.cells[cell + j - 1 - k], chart.cells[cell + j - k]):
            e = chart.heads[k, chart.item_symbols[item]]
            while e >= 0:
                if chart.edge_starts[e] == i and chart.edge_parents[e] == symbol:
                    more = weighed(times(chart.edge_weights[e], chart.item_values[item], kind), high, kind)
                    if more > 0:
                        row, first, second, middle = np.int64(chart.edge_rows[e]), chart.edge_items[e], item, k
                        if left < more:
                            return row, first, second, middle
                        left -= more
                e = chart.edge_nexts[e]
    return row, first, second, middle  # by rounding


@compiled
def choose(tables, kind, chart, chains, length, tokens, evidence, lexical_rows, uniform, nodes):
    """Chooses a derivation from the root down: the best one where `kind` is BEST, one at random elsewhere.

    Args:
        chains: see [`outside`]; where `kind` is BEST, of the most probable chains.
        lexical_rows (int64 array): the rows of `lexical` in the order of `tables.lexical_symbols`.
        uniform (float array): `(4 length,)`, uniform numbers of [0, 1).
        nodes (int64 array): `(2 length, 4)`, filled from the root down, the left child's nodes first: the symbol, the
            symbol that it becomes by units, 1 for a row of `binary` and 0 for one of `lexical`, the row.

    Returns:
        The number of nodes, 2 length - 1.
    """
    sums, stack = np.zeros(tables.num_symbols), np.zeros((2 * length + 2, 3), np.int64)
    stack[0, 2] = length  # the root spans all tokens
    depth, count = 1, 0
    while depth > 0:
        depth -= 1
        symbol, i, j = stack[depth]
        direct_sums(tables, kind, chart, tokens, evidence, i, j, sums)
        end = choose_end(kind, chains, symbol, sums, uniform[2 * count])
        high = sums[end]
        left = weighed(high, high, kind) * uniform[2 * count + 1]
        row, first, second, middle = choose_way(
            tables, kind, chart, tokens, evidence, lexical_rows, i, j, end, high, left
        )
        nodes[count, 0], nodes[count, 1], nodes[count, 2], nodes[count, 3] = symbol, end, first >= 0, row
        count += 1
        if first >= 0:
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = chart.item_symbols[second], middle, j
            stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2] = chart.item_symbols[first], i, middle
            depth += 2
    return count
