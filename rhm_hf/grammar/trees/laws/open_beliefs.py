"""Beliefs of all open nodes given every prefix, in one pass over a chart.

Token i has one ancestor on every level. Given the tokens up to i, the ancestor of level l is a with the probability

    sum over k of O_l[a, k] G_l[a, k, i],   normalised,

where G_l[a, k, i] is the probability that a node a which starts at k derives x_k .. x_i as the beginning of its
tokens: G_0 is 1 for the token itself, and

    G_l[a, k, i] = sum over k', states s and symbols x of S[s, k, k'] opening[s, x, a] G_(l-1)[x, k', i]:

what is finished before k', the child that holds i, and anything after it.
"""

import torch

from .span_rows import Frame, Rows, blocks, meeting, summed
from .tree_charts import Level, gathered_products, products
from .tree_prefixes import Starts, alive, prefix_pass
from .tree_tables import TreeTables


def beliefs(frame: Frame, tables: TreeTables, tokens: Rows, levels: list[Level]) -> list[torch.Tensor]:
    """Entry l = 0..L, `(n, T, symbols)`: the law of the level-l ancestor of token i given the tokens up to i.

    Zero where there is no token, and where the prefix is impossible.
    """
    starts = prefix_pass(frame, tables, levels)
    open_rows, laws = tokens.select(alive(frame, tokens, starts[0])), []
    for level in range(tables.depth + 1):
        if level:
            open_rows = _opened(frame, tables, level, levels[level - 1].states, open_rows, starts[level])
        laws.append(_joined(frame, open_rows, starts[level]))
    return laws


def _opened(frame: Frame, tables: TreeTables, level: int, states: list[Rows], below: Rows, starts: Starts) -> Rows:
    """The rows G_l of a level, from those of the level below."""
    t = tables[level]
    first = below.select(alive(frame, below, starts))
    found = [(first.sentence, first.start, first.end, first.exponents, first.times(t.opening[0][0]))]
    for length, rows in enumerate(states, start=1):
        for part in blocks(frame, rows.select(alive(frame, rows, starts)), below):
            left, right = meeting(frame, part, below)
            products_of = products(frame, t.opening[length], part, left, below, right)
            opened = gathered_products(frame, products_of, t.num_symbols)
            found.append((opened.sentence, opened.start, opened.end, opened.exponents, opened.vectors))
    columns = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return gathered_products(frame, columns, t.num_symbols)


def _joined(frame: Frame, rows: Rows, starts: Starts) -> torch.Tensor:
    place = frame.places(rows.sentence, rows.start)
    values, exponents = (
        rows.dense(starts.vectors.shape[1]) * starts.vectors[place],
        rows.exponents + starts.exponents[place],
    )
    last = frame.places(rows.sentence, rows.end - 1)
    width = values.shape[1]
    sums, _ = summed(frame, last, frame.num_places, exponents, lambda part: values[part], width, values.dtype)
    total = sums.sum(1, keepdim=True)
    laws = sums / (total + (total == 0))
    return laws.view(frame.num_sentences, frame.longest + 1, width)[:, :-1]
