"""The outside pass from left to right: every next-token law, END and log P from one sweep over a chart.

O_l[a, i] is the probability that the tokens before i fill finished nodes exactly and a level-l node a starts at i:

    O_L[., 0] = root;   O_(l-1)[x, i] += sum over k, states s and symbols a of O_l[a, k] S[s, k, i] opening[s, x, a]

with the state of no child for i = k. Then P(x_<i, x_i = x) = O_0[x, i] and P(x_<i, END) = sum_a root[a] B_L[a, 0, i];
the next-token law is their normalisation.
"""

from dataclasses import dataclass

import torch

from .span_rows import NOWHERE, Frame, Rows, chunk_of, rescaled, summed
from .tree_charts import Level
from .tree_tables import LevelTables, TreeTables


LN2 = 0.6931471805599453


@dataclass(frozen=True)
class Starts:
    """Vectors at the places (sentence, position 0..T): `vectors[place] * 2^exponents[place]`; NOWHERE marks zero."""

    vectors: torch.Tensor
    exponents: torch.Tensor


def prefix_pass(frame: Frame, tables: TreeTables, levels: list[Level]) -> list[Starts]:
    """O_l for the levels 0..L, each of shape `(places, symbols)`."""
    vectors = torch.zeros(frame.num_places, len(tables.root_probs), dtype=tables.dtype, device=tables.device)
    vectors[:: frame.longest + 1] = tables.root_probs
    exponents = torch.full((frame.num_places,), NOWHERE, device=tables.device)
    exponents[:: frame.longest + 1] = 0
    passed = [Starts(vectors, exponents)]
    for level in range(tables.depth, 0, -1):
        passed.append(_children(frame, tables[level], passed[-1], levels[level - 1].states))
    return passed[::-1]


def alive(frame: Frame, rows: Rows, starts: Starts) -> torch.Tensor:
    """Which rows start where anything can start."""
    return (starts.exponents[frame.places(rows.sentence, rows.start)] > NOWHERE).nonzero().squeeze(1)


def _children(frame: Frame, t: LevelTables, above: Starts, states: list[Rows]) -> Starts:
    begun = (above.exponents > NOWHERE).nonzero().squeeze(1)
    places, exponents = [begun], [above.exponents[begun]]
    values = [above.vectors[begun] @ t.opening[0][0].T]
    for length, rows in enumerate(states, start=1):
        rows = rows.select(alive(frame, rows, above))
        place = frame.places(rows.sentence, rows.start)
        table = t.opening[length].view(t.num_states[length], -1)
        size = chunk_of(table, table.shape[1])
        for part in torch.arange(len(rows), device=place.device).split(size):
            opened = rows.select(part).times(table).view(-1, t.num_child_symbols, t.num_symbols)
            values.append(torch.bmm(opened, above.vectors[place[part], :, None]).squeeze(2))
        places.append(frame.places(rows.sentence, rows.end))
        exponents.append(above.exponents[place] + rows.exponents)
    values, exponents = torch.cat(values), torch.cat(exponents)
    place, width = torch.cat(places), t.num_child_symbols
    sums, top = summed(frame, place, frame.num_places, exponents, lambda part: values[part], width, values.dtype)
    largest = sums.amax(1)
    is_zero = largest == 0
    sums, top = rescaled(sums, top, largest + is_zero)
    return Starts(sums, torch.where(is_zero, NOWHERE, top))


def ends(frame: Frame, tables: TreeTables, top: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """P(x_<i, END) at every place: mantissas and exponents `(places,)`."""
    values = torch.zeros(frame.num_places, dtype=tables.dtype, device=tables.device)
    exponents = torch.full((frame.num_places,), NOWHERE, device=tables.device)
    place = frame.places(top.sentence, top.end)
    weights = top.vectors * tables.root_probs
    values[place] = weights.amax(1) if frame.maximise else weights.sum(1)
    exponents[place] = torch.where(values[place] > 0, top.exponents, NOWHERE)
    return values, exponents


def next_laws(
    frame: Frame, tables: TreeTables, levels: list[Level]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Laws `(n, T + 1, v + 1)` of the next token or END, whether they exist `(n, T + 1)`, and log P(x_<i) in nats."""
    tokens = prefix_pass(frame, tables, levels)[0]
    end, end_exponents = ends(frame, tables, levels[-1].symbols)
    top = torch.maximum(tokens.exponents, end_exponents)
    laws = torch.cat([tokens.vectors, end[:, None]], 1)
    dtype = tables.dtype
    laws[:, :-1] *= torch.exp2((tokens.exponents - top).to(dtype))[:, None]
    laws[:, -1] *= torch.exp2((end_exponents - top).to(dtype))
    total = laws.sum(1)
    valid = total > 0
    laws += ~valid[:, None]
    laws /= (total + ~valid * laws.shape[1])[:, None]
    logs = torch.where(valid, total.double().log() + LN2 * top.double(), -torch.inf)
    shape = frame.num_sentences, frame.longest + 1
    return laws.view(*shape, -1), valid.view(shape), logs.view(shape)
