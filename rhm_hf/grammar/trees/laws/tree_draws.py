"""Trees from a chart, from the root down: drawn from their posterior, or the most probable ones.

A node's rule and the spans of its children are chosen together: first the last child's span with the rule, then, from
right to left, where the other children begin. Every choice is the smallest of exponential random numbers divided by
the alternatives' weights, which falls on each with a probability proportional to its weight; the most probable tree
takes the largest weight, from a chart of maxima.
"""

from typing import Any

import torch

from ..tree_sampling import Tree
from .span_posteriors import whole_sentences
from .span_rows import Frame, Rows
from .tree_charts import Level
from .tree_tables import LevelTables, TreeTables


class RowIndex:
    """Finds rows by their span, and those that start at a place."""

    def __init__(self, frame: Frame, rows: Rows):
        self.frame: Frame = frame
        self.rows: Rows = rows
        places = frame.places(rows.sentence, rows.start)
        self.keys: torch.Tensor = places * (frame.longest + 1) + rows.end
        counts = torch.bincount(places, minlength=frame.num_places)
        self.first: torch.Tensor = counts.cumsum(0) - counts
        self.counts: torch.Tensor = counts

    def find(self, sentence: Any, start: int, end: Any) -> torch.Tensor:
        """The row of each span, -1 where it has none."""
        key = self.frame.places(sentence, start) * (self.frame.longest + 1) + end
        if not len(self.keys):
            return torch.full_like(key, -1)
        at = torch.searchsorted(self.keys, key).clamp_(max=len(self.keys) - 1)
        return torch.where(self.keys[at] == key, at, -1)

    def starting(self, sentence: Any, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """All rows that start at the given places: which place, and which row."""
        place = self.frame.places(sentence, start)
        counts = self.counts[place]
        which = torch.repeat_interleave(torch.arange(len(place), device=place.device), counts)
        row = torch.arange(len(which), device=place.device) + (self.first[place] - counts.cumsum(0) + counts)[which]
        return which, row


class Chooser:
    """Chooses one alternative for every node, see the module."""

    def __init__(self, generator: torch.Generator | None, best: bool):
        self.generator: torch.Generator | None = generator
        self.best: bool = best

    def scores(self, weights: torch.Tensor) -> torch.Tensor:
        """The smallest wins; infinite where a weight is 0."""
        if self.best:
            return torch.where(weights > 0, -weights, torch.inf)
        noise = torch.empty_like(weights).exponential_(generator=self.generator)
        return torch.where(weights > 0, noise / weights, torch.inf)


def lowest(scores: torch.Tensor, node: torch.Tensor, num_nodes: int) -> torch.Tensor:
    """For each node the alternative with the lowest score; every node has one with a finite score."""
    best = torch.full((num_nodes,), torch.inf, dtype=scores.dtype, device=scores.device)
    best.scatter_reduce_(0, node, scores, "amin")
    winners = ((scores == best[node]) & (scores < torch.inf)).nonzero().squeeze(1)
    chosen = torch.full((num_nodes,), -1, device=node.device)
    return chosen.scatter_reduce_(0, node[winners], winners, "amax")


def trees(
    frame: Frame,
    tables: TreeTables,
    tokens: Rows,
    levels: list[Level],
    lengths: Any,
    generator: torch.Generator | None = None,
    best: bool = False,
) -> list[Tree | None]:
    """One tree a sentence; None where no tree derives it."""
    chooser = Chooser(generator, best)
    top = levels[-1].symbols
    whole = whole_sentences(top, lengths)
    joint = top.vectors[whole] * tables.root_probs
    possible = (joint > 0).any(1)
    row, joint = whole[possible], joint[possible]
    symbol = chooser.scores(joint).argmin(1)
    sentence = top.sentence[row]
    found = [(sentence, symbol, None)]
    for level in range(tables.depth, 0, -1):
        below = tokens if level == 1 else levels[level - 2].symbols
        split = _Split(frame, tables[level], levels[level - 1], below, row, symbol, chooser)
        row, symbol, counts = split.all_children()
        found.append((below.sentence[row], symbol, counts))
    return _as_trees(frame.num_sentences, found)


class _Split:
    """The nodes of one level, to be split into children: row `row[k]` of the level's chart with symbol `symbol[k]`."""

    def __init__(self, frame: Frame, t: LevelTables, level: Level, below: Rows, row, symbol, chooser: Chooser):
        self.t, self.level, self.below, self.chooser = t, level, below, chooser
        self.row, self.symbol = row, symbol
        nodes = level.symbols
        self.sentence, self.start, self.end = nodes.sentence[row], nodes.start[row], nodes.end[row]
        self.index = RowIndex(frame, below)
        self.state_indices = [RowIndex(frame, states) for states in level.states]
        self.children: list[tuple] = []  # (node, place among its children, row below, symbol)

    def all_children(self):
        """Rows and symbols of the level below, in order, and how many each node has."""
        arity, left, last, rule = self._rules()
        for k, rules in self.t.rules_of.items():
            node = (arity == k).nonzero().squeeze(1)
            chosen = self.symbol[node], rule[node]
            self._emit(node, k - 1, last[node], rules.last[chosen])
            state, state_row = rules.states[chosen], left[node]
            for length in range(k - 1, 1, -1):
                state, state_row = self._last_of_state(length, node, state, state_row)
            if k > 1:
                first = self.level.states[0]
                row = self.index.find(first.sentence[state_row], first.start[state_row], first.end[state_row])
                self._emit(node, 0, row, state)
        node, place, row, symbol = (torch.cat(column) for column in zip(*self.children, strict=True))
        order = torch.argsort(node * self.t.longest + place)
        return row[order], symbol[order], arity

    def _emit(self, node, place: int, row, symbol) -> None:
        self.children.append((node, torch.full_like(node, place), row, symbol))

    def _rules(self):
        """Of every node: arity, row of the state of all children but the last (or -1), row of the last child, rule."""
        parts = [self._alternatives(arity) for arity in self.t.closing]
        arity, node, left, last, rule, score = (torch.cat(column) for column in zip(*parts, strict=True))
        chosen = lowest(score, node, len(self.row))
        return arity[chosen], left[chosen], last[chosen], rule[chosen]

    def _alternatives(self, arity: int):
        """The spans that the last child of a rule of an arity can have; for each the best rule and its score."""
        if arity == 1:
            last = self.index.find(self.sentence, self.start, self.end)
            node = (last >= 0).nonzero().squeeze(1)
            left, last = torch.full_like(node, -1), last[node]
        else:
            states = self.level.states[arity - 2]
            node, left = self.state_indices[arity - 2].starting(self.sentence, self.start)
            last = self.index.find(self.sentence[node], states.end[left], self.end[node])
            kept = (last >= 0).nonzero().squeeze(1)
            node, left, last = node[kept], left[kept], last[kept]
        rules, a = self.t.rules_of[arity], self.symbol[node]
        weights = rules.probs[a] * self.below.vectors[last].gather(1, rules.last[a])
        exponents = self.below.exponents[last] - self.level.symbols.exponents[self.row[node]]
        if arity > 1:
            weights = weights * states.vectors[left].gather(1, rules.states[a])
            exponents = exponents + states.exponents[left]
        score, rule = self.chooser.scores(weights * torch.exp2(exponents.to(weights.dtype))[:, None]).min(1)
        return torch.full_like(node, arity), node, left, last, rule, score

    def _last_of_state(self, length: int, node, state, state_row):
        """Splits the last child off states of `length` children, 2 or more; returns what is left of them."""
        parent, symbol = self.t.split(length, state)
        states, longer = self.level.states[length - 2], self.level.states[length - 1]
        which, before = self.state_indices[length - 2].starting(self.sentence[node], self.start[node])
        child = self.index.find(self.sentence[node][which], states.end[before], longer.end[state_row[which]])
        kept = (child >= 0).nonzero().squeeze(1)
        which, before, child = which[kept], before[kept], child[kept]
        weights = states.vectors[before, parent[which]] * self.below.vectors[child, symbol[which]]
        shift = states.exponents[before] + self.below.exponents[child] - longer.exponents[state_row[which]]
        scores = self.chooser.scores(weights * torch.exp2(shift.to(weights.dtype)))
        chosen = lowest(scores, which, len(node))
        self._emit(node, length - 1, child[chosen], symbol)
        return parent, before[chosen]


def _as_trees(num_sentences: int, found) -> list[Tree | None]:
    """Splits the levels, root first, into one tree a sentence."""
    depth = len(found) - 1
    levels: list[list] = [[None] * (depth + 1) for _ in range(num_sentences)]
    counts: list[list] = [[None] * (depth + 1) for _ in range(num_sentences)]
    for below_root, (sentence, symbol, arity) in enumerate(found):
        sizes = torch.bincount(sentence, minlength=num_sentences).tolist()
        for i, part in enumerate(symbol.split(sizes)):
            levels[i][depth - below_root] = part.cpu().numpy()
        if arity is not None:
            above = torch.bincount(found[below_root - 1][0], minlength=num_sentences).tolist()
            for i, part in enumerate(arity.split(above)):
                counts[i][depth - below_root + 1] = part.cpu().numpy()
    empty = torch.zeros(0, dtype=torch.int64).numpy()
    return [
        Tree(level, [empty, *count[1:]]) if len(level[depth]) else None
        for level, count in zip(levels, counts, strict=True)
    ]
