"""The inside pass: which symbols of every level derive which spans, from the tokens up.

A level's rules are read from left to right: S_1 are the rows of the level below, S_(j+1) extends a state of j children
by one more that starts where they end, and closing a state with its last child gives the level's own rows,

    B_(l)[a, i, j] = sum over k and rules p_r S[state(r), i, k] B_(l-1)[last(r), k, j]

(arXiv 2602.06065 for the model; the recursion is CYK with a grammar of its own for every level).
"""

from dataclasses import dataclass
from typing import Any

import torch

from .span_rows import Frame, Rows, blocks, chunk_of, gathered, meeting
from .tree_tables import LevelTables, TreeTables


@dataclass(frozen=True)
class Level:
    """One level's part of the chart: rows of the states of length 1, 2, .. and of the level's symbols."""

    states: list[Rows]
    symbols: Rows


def token_rows(tokens: torch.Tensor, lengths: torch.Tensor, dtype: torch.dtype) -> Rows:
    """The tokens of padded sentences `(n, T)` as rows with a single 1 each."""
    inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    sentence, start = inside.nonzero(as_tuple=True)
    ones = torch.ones(len(sentence), 1, dtype=dtype, device=tokens.device)
    return Rows(sentence, start, start + 1, ones, torch.zeros_like(sentence), tokens[sentence, start])


def chart(frame: Frame, tables: TreeTables, tokens: Rows) -> list[Level]:
    """The chart of every level, 1..L. Of level L it holds only what starts with the sentence."""
    levels, below = [], tokens
    for level in range(1, tables.depth + 1):
        levels.append(_level(frame, tables[level], below, level == tables.depth))
        below = levels[-1].symbols
    return levels


def _level(frame: Frame, t: LevelTables, below: Rows, is_root: bool) -> Level:
    first = below.select((below.start == 0).nonzero().squeeze(1)) if is_root else below
    parts = [_block(frame, t, part, below) for part in blocks(frame, first, below)]
    if len(parts) == 1:
        return parts[0]
    states = [Rows.joined(list(column)) for column in zip(*(part.states for part in parts), strict=True)]
    return Level(states, Rows.joined([part.symbols for part in parts]))


def _block(frame: Frame, t: LevelTables, first: Rows, below: Rows) -> Level:
    """What starts where the rows `first` do."""
    states, found = [first], []
    if 1 in t.closing:
        vectors = first.times(t.closing[1][0], frame.maximise)
        found.append((first.sentence, first.start, first.end, first.exponents, vectors))
    for length in range(1, t.longest):
        left, right = meeting(frame, states[-1], below)
        if length + 1 in t.closing:
            found.append(products(frame, t.closing[length + 1], states[-1], left, below, right))
        if length + 1 < t.longest:
            states.append(_extended(frame, t, length, states[-1], left, below, right))
    columns = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
    return Level(states, gathered_products(frame, columns, t.num_symbols))


def _extended(frame, t: LevelTables, length: int, states: Rows, left, below: Rows, right) -> Rows:
    """States one child longer."""
    parents, symbols = t.parents[length + 1], t.symbols[length + 1]
    spans = states.sentence[left], states.start[left], below.end[right]
    exponents = states.exponents[left] + below.exponents[right]
    if states.single is not None and below.single is not None:  # neighbouring tokens: no two pairs have the same span
        state = t.join(length + 1, states.single[left], below.single[right])
        exists = (state >= 0).nonzero().squeeze(1)
        ones = states.vectors.new_ones(len(exists), 1)
        return Rows(*(part[exists] for part in spans), ones, exponents[exists], state[exists])

    def values_of(part: slice) -> torch.Tensor:
        before, added = states.vectors[left[part]], below.vectors[right[part]]
        if parents is None:
            return (before[:, :, None] * added[:, None, :]).flatten(1)
        return before[:, parents] * added[:, symbols]

    return gathered(frame, spans, exponents, values_of, t.num_states[length + 1], below.vectors.dtype)


def gathered_products(frame: Frame, columns: tuple[torch.Tensor, ...], width: int) -> Rows:
    """Sums up what `products` returns, over equal spans."""
    sentence, start, end, exponents, vectors = columns
    return gathered(frame, (sentence, start, end), exponents, lambda part: vectors[part], width, vectors.dtype)


def products(
    frame: Frame, table: torch.Tensor, states: Rows, left: Any, below: Rows, right: Any
) -> tuple[torch.Tensor, ...]:
    """Closes (or opens) states with one more symbol, pair by pair.

    Args:
        table (`torch.Tensor`): `(states, v, V)`.
        states, below ([`Rows`]): over the states and the v symbols.
        left, right (`torch.Tensor`): which of their rows meet, `(pairs,)`.

    Returns:
        Sentence, start, end, exponents and vectors `(pairs', V)` of the pairs that give anything.
    """
    num_states, v, size = table.shape
    vectors, pairs = [table.new_zeros(0, size)], [left[:0]]
    if not states.vectors.requires_grad and not below.vectors.requires_grad:
        (state, state_value, is_state), (symbol, symbol_value, is_symbol) = states.peaks, below.peaks
        both = is_state[left] & is_symbol[right]
        hot = both.nonzero().squeeze(1)
        entry = state[left[hot]] * v + symbol[right[hot]]
        flat = table.view(num_states * v, size)
        exists = (flat.index_select(0, entry) != 0).any(1).nonzero().squeeze(1)
        hot, entry = hot[exists], entry[exists]
        scale = state_value[left[hot]] * symbol_value[right[hot]]
        vectors.append(flat[entry] * scale[:, None])
        pairs.append(hot)
        rest = (~both).nonzero().squeeze(1)
    else:
        rest = torch.arange(len(left), device=left.device)
    if len(rest):
        needed, inverse = torch.unique(left[rest], return_inverse=True)
        frame.check(len(needed), v * size, table.element_size())
        applied = states.select(needed).times(table.view(num_states, v * size), frame.maximise).view(-1, v, size)
        chunk = chunk_of(table, v * size)
        for part in torch.arange(len(rest), device=left.device).split(chunk):
            factor = below.vectors[right[rest[part]]]
            if frame.maximise:
                vectors.append((factor[:, :, None] * applied[inverse[part]]).amax(1))
            else:
                vectors.append(torch.bmm(factor[:, None, :], applied[inverse[part]]).squeeze(1))
        pairs.append(rest)
    pairs, vectors = torch.cat(pairs), torch.cat(vectors)
    left, right = left[pairs], right[pairs]
    exponents = states.exponents[left] + below.exponents[right]
    return states.sentence[left], states.start[left], below.end[right], exponents, vectors
