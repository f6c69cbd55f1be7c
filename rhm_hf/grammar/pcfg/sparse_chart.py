"""One sweep from left to right fills the chart of a sentence and gives the law of every next token, END and log P.

Of the binary grammar (see `binary_rules`), with O[a, i] = P(x_<i, and a symbol a begins at i),

    O_direct[root, 0] = 1;   O_direct[c, i] += sum_(k < i) sum_ab O[a, k] R[a, b, c] B[b, k, i];
    O = O_direct (I - P_L)^-1;   P(x_<i, x_i = x) = sum_a O[a, i] E[a, x];   P(x_<n, END) = B[root, 0, n]

Cells are sparse: for every end j, *items* (symbol, start) are completed from the latest start to the earliest, and
each meets only what waits for its symbol at its start. What waits at k are *edges*: a rule a -> b c whose b spans
i..k, kept only where O[a, i] > 0, that is where the prefix allows an a at i (Earley, 1970; Stolcke, 1995). The values
of a token's items are divided by its law given the prefix, so O sums to about 1 for sentences of any length: no
underflow, but for derivations of the prefix that are e^-650 as probable as all. What is lost of them is bounded, as a
share of what the prefix as read so far leaves; where the bound is not negligible, the sentence is done again with
logarithms.

`kind` says how numbers are added and multiplied: PROBS as they are, LOGS as logarithms, BEST as logarithms of which
the largest is taken for the sum (the most probable parse).
"""

import math

import numpy as np

from ..sentences.philox import compiled, compiled_within


TINY = 1e-290  # smaller products may have lost digits, or all of them, ..
LOST = 1e-285  # .. and then this share of all derivations of the prefix at most
NOTICED = 1e-25  # a share that would be: nothing above is lost
COMPLETE, IMPOSSIBLE, FULL, FAINT = 0, 1, 2, 3  # how a sweep ended


# Kernels of one file call each other only: numba's cache does not notice changes elsewhere.


@compiled_within
def times(a, b, kind):
    """The product of two numbers of a kind."""
    return a * b if kind == 0 else a + b


@compiled_within
def plus(a, b, kind):
    """The sum of two numbers of a kind."""
    if kind == 0:
        return a + b
    high, low = (a, b) if a > b else (b, a)
    if kind == 2 or low == -math.inf:
        return high
    return high + math.log1p(math.exp(low - high))


@compiled_within
def add(chart, position, symbol, value, zero, kind):
    """Adds to the sum of a start and a symbol, and notes which sums are no longer zero."""
    if chart.sums[position, symbol] == zero:
        chart.touched[position, chart.counts[position]] = symbol
        chart.counts[position] += 1
        chart.sums[position, symbol] = value
    else:
        chart.sums[position, symbol] = plus(chart.sums[position, symbol], value, kind)


@compiled_within
def token_items(tables, kind, token, evidence, j, chart, zero):
    """Adds what token j writes, given its scale, to the sums of the cell j .. j + 1."""
    hard, scale = evidence.shape[0] == 0, chart.scales[j]
    for x in range(token if hard else 0, token + 1 if hard else tables.vocab_size):
        weight = (1.0 if kind == 0 else 0.0) if hard else evidence[j, x]
        if weight == zero:
            continue
        weight = weight / scale if kind == 0 else weight - scale
        for e in range(tables.lexical_starts[x], tables.lexical_starts[x + 1]):
            a = tables.lexical_symbols[e]
            if chart.begun[j, a] > zero:
                add(chart, j, a, times(tables.lexical_weights[e], weight, kind), zero, kind)


@compiled_within
def close_cell(tables, kind, k, j, chart, num_items, zero):
    """Makes items of the sums of the cell k .. j, through chains of units; returns the number of items then.

    `heads[j]`, which has no edges yet, holds -2 - item for the symbols that have one.
    """
    first = num_items
    for q in range(chart.counts[k]):
        b = chart.touched[k, q]
        value = chart.sums[k, b]
        chart.sums[k, b] = zero
        for e in range(tables.closure_starts[b], tables.closure_starts[b + 1]):
            a = tables.closure_symbols[e]
            if chart.begun[k, a] > zero:
                more = times(tables.closure_weights[e], value, kind)
                if chart.heads[j, a] < -1:
                    item = -2 - chart.heads[j, a]
                    chart.item_values[item] = plus(chart.item_values[item], more, kind)
                else:
                    chart.heads[j, a] = -2 - num_items
                    chart.item_symbols[num_items] = a
                    chart.item_starts[num_items] = k
                    chart.item_values[num_items] = more
                    num_items += 1
    chart.counts[k] = 0
    for item in range(first, num_items):
        chart.heads[j, chart.item_symbols[item]] = -1
    return num_items


@compiled_within
def meet(kind, first, last, k, chart, zero):
    """Adds what items that start at k make of the edges that wait for them there; returns how many were tiny."""
    tiny = 0
    for item in range(first, last):
        value = chart.item_values[item]
        e = chart.heads[k, chart.item_symbols[item]]
        while e >= 0:
            more = times(chart.edge_weights[e], value, kind)
            tiny += kind == 0 and more < TINY
            add(chart, chart.edge_starts[e], chart.edge_parents[e], more, zero, kind)
            e = chart.edge_nexts[e]
    return tiny


@compiled_within
def wait(tables, kind, first, last, j, chart, num_edges, zero):
    """Makes the edges at j of the items that end there; returns their number, -1 without room, and tiny ones."""
    tiny = 0
    for item in range(first, last):
        symbol, start = chart.item_symbols[item], chart.item_starts[item]
        low, high = tables.rules_starts[symbol], tables.rules_starts[symbol + 1]
        if num_edges + high - low > chart.edge_nexts.shape[0]:
            return -1, tiny
        for r in range(low, high):
            a, c = tables.rules_parents[r], tables.rules_rights[r]
            if chart.begun[start, a] > zero:
                weight = times(tables.rules_weights[r], chart.item_values[item], kind)
                more = times(chart.begun[start, a], weight, kind)
                tiny += kind == 0 and (more < TINY or weight < TINY)
                chart.edge_nexts[num_edges] = chart.heads[j, c]
                chart.edge_starts[num_edges] = start
                chart.edge_parents[num_edges] = a
                chart.edge_weights[num_edges] = weight
                chart.edge_items[num_edges] = item
                chart.edge_rows[num_edges] = tables.rules_rows[r]
                chart.heads[j, c] = num_edges
                chart.begun_direct[j, c] = plus(chart.begun_direct[j, c], more, kind)
                num_edges += 1
    return num_edges, tiny


@compiled_within
def begin(tables, kind, j, chart, zero):
    """O of position j from O_direct; returns how many products were tiny."""
    tiny = 0
    for c in range(tables.num_symbols):
        direct = chart.begun_direct[j, c]
        if direct > zero:
            for e in range(tables.corners_starts[c], tables.corners_starts[c + 1]):
                a, more = tables.corners_symbols[e], times(direct, tables.corners_weights[e], kind)
                tiny += kind == 0 and more < TINY
                chart.begun[j, a] = plus(chart.begun[j, a], more, kind)
    return tiny


@compiled_within
def scale_of(tables, kind, token, evidence, j, chart, zero):
    """P(x_j | x_<j), or the probability of the evidence there."""
    hard, scale = evidence.shape[0] == 0, zero
    for x in range(token if hard else 0, token + 1 if hard else tables.vocab_size):
        weight = (1.0 if kind == 0 else 0.0) if hard else evidence[j, x]
        for e in range(tables.lexical_starts[x], tables.lexical_starts[x + 1]):
            more = times(chart.begun[j, tables.lexical_symbols[e]], tables.lexical_weights[e], kind)
            scale = plus(scale, times(more, weight, kind), kind)
    return scale


@compiled_within
def write_law(tables, kind, j, end, chart, laws, zero):
    """Writes the law of token j, normalised, the last column END."""
    v, total = tables.vocab_size, 0.0
    law = laws[j]
    for x in range(v):
        law[x] = 0.0
    for a in range(tables.num_symbols):
        value = chart.begun[j, a]
        if value > zero:
            for e in range(tables.tokens_starts[a], tables.tokens_starts[a + 1]):
                more = times(value, tables.tokens_weights[e], kind)
                more = more if kind == 0 else math.exp(more)
                law[tables.tokens_ids[e]] += more
                total += more
    law[v] = end if kind == 0 else math.exp(end)
    total += law[v]
    for x in range(v + 1):
        law[x] /= total


@compiled_within
def sweep(tables, kind, tokens, evidence, length, chart, laws, logs):
    """Fills the chart of one sentence.

    Args:
        tokens (int64 array): its tokens; not read where there is `evidence`.
        evidence (float array): `(length, v)`, numbers of the kind, likelihoods of the tokens; or `(0, 0)`.
        length (int): the number of tokens.
        laws (float array): `(positions, v + 1)`, positions up to length + 1: filled with the laws of the next token,
            the last column END, not as logarithms; rows after an impossible prefix stay as they are.
        logs (float array): `(2,)`: filled with log P(x_<n) of the prefix and log P(END | x_<n).

    Returns:
        COMPLETE; IMPOSSIBLE (then `chart.sizes[2]` is the length of the longest possible prefix); FULL (the chart is
        too small); FAINT (numbers too small for PROBS).
    """
    zero, one = (0.0, 1.0) if kind == 0 else (-math.inf, 0.0)
    num_items = num_edges = 0
    lost = 0.0
    logs[0], logs[1] = 0.0, -math.inf
    for j in range(length + 1):
        chart.counts[j] = 0
        for a in range(tables.num_symbols):
            chart.sums[j, a] = chart.begun[j, a] = chart.begun_direct[j, a] = zero
            chart.heads[j, a] = -1
        end, tiny = tables.empty, 0
        if j == 0:
            chart.begun_direct[0, 0] = one
        else:
            token_items(tables, kind, tokens[j - 1] if evidence.shape[0] == 0 else 0, evidence, j - 1, chart, zero)
            cell, ending = j * (j + 1) // 2, num_items
            for k in range(j - 1, -1, -1):
                first = num_items
                chart.cells[cell + j - 1 - k] = first
                if chart.counts[k] > 0:
                    if first + tables.num_symbols > chart.item_symbols.shape[0]:
                        return FULL
                    num_items = close_cell(tables, kind, k, j, chart, first, zero)
                    tiny += meet(kind, first, num_items, k, chart, zero)
            chart.cells[cell + j] = num_items
            num_edges, more = wait(tables, kind, ending, num_items, j, chart, num_edges, zero)
            if num_edges < 0:
                return FULL
            tiny += more
            end = zero
            for item in range(chart.cells[cell + j - 1], num_items):
                if chart.item_symbols[item] == 0:
                    end = chart.item_values[item]
        tiny += begin(tables, kind, j, chart, zero)
        lost += tiny * LOST
        if lost > NOTICED:
            return FAINT
        if j < laws.shape[0]:
            write_law(tables, kind, j, end, chart, laws, zero)
        chart.sizes[0], chart.sizes[1], chart.sizes[2] = num_items, num_edges, j
        if j == length:
            logs[1] = math.log(end) if kind == 0 else end
            return FAINT if lost > 0 and end == zero else COMPLETE
        chart.scales[j] = scale = scale_of(
            tables, kind, tokens[j] if evidence.shape[0] == 0 else 0, evidence, j, chart, zero
        )
        if scale == zero or (kind == 0 and scale < TINY):
            logs[0] = -math.inf
            return FAINT if lost > 0 or scale > zero else IMPOSSIBLE
        logs[0] += math.log(scale) if kind == 0 else scale
        lost /= scale if kind == 0 else 1.0
    return COMPLETE


@compiled
def sweep_rows(tables, kind, tokens, evidence, lengths, chart, laws, valid, logs, states, start):
    """[`sweep`] over rows, from row `start` on.

    Args:
        tokens (int64 array): `(n, t)`; of a row are read as many tokens as `lengths` says.
        evidence (float array): `(n, t, v)`, or `(0, 0, 0)` where tokens are read.
        lengths (int64 array): `(n,)`.
        laws (float array): `(n, positions, v + 1)`; positions are at most one more than the longest row.
        valid (bool array): `(n, positions)`: filled with where there is a law.
        logs (float array): `(n, 2)`.
        states (int64 array): `(n,)`: filled with how each row ended.

    Returns:
        The first row that the chart is too small for, or n.
    """
    given = np.zeros((0, 0))
    for i in range(start, tokens.shape[0]):
        positions = min(laws.shape[1], lengths[i] + 1)
        if evidence.shape[0] > 0:
            given = evidence[i]
        states[i] = sweep(tables, kind, tokens[i], given, lengths[i], chart, laws[i, :positions], logs[i])
        if states[i] == FULL:
            return i
        for j in range(valid.shape[1]):
            valid[i, j] = j < positions and j <= chart.sizes[2] and states[i] != FAINT
    return tokens.shape[0]
