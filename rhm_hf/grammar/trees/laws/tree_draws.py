"""Trees from a chart, from the root down: drawn from their posterior, or the most probable ones.

A node's rule and the spans of its children are chosen together: first the last child's span with the rule, then, from
right to left, where the other children begin. Every choice is the smallest of exponential random numbers divided by
the alternatives' weights, which falls on each with a probability proportional to its weight; the most probable tree
takes the largest weight, from a chart of maxima.
"""

import torch

from ..tree_sampling import Tree
from .charts import Level
from .rows import Frame, Rows
from .span_posteriors import whole_sentences
from .tree_tables import LevelTables, TreeTables


class RowIndex:
    """Finds rows by their span, and those that start at a place."""

    def __init__(self, frame: Frame, rows: Rows):
        self.frame, self.rows = frame, rows
        places = frame.places(rows.sentence, rows.start)
        self.keys = places * (frame.longest + 1) + rows.end
        counts = torch.bincount(places, minlength=frame.num_places)
        self.first, self.counts = counts.cumsum(0) - counts, counts

    def find(self, sentence, start, end) -> torch.Tensor:
        """The row of each span, -1 where it has none."""
        key = self.frame.places(sentence, start) * (self.frame.longest + 1) + end
        if not len(self.keys):
            return torch.full_like(key, -1)
        at = torch.searchsorted(self.keys, key).clamp_(max=len(self.keys) - 1)
        return torch.where(self.keys[at] == key, at, -1)

    def starting(self, sentence, start) -> tuple[torch.Tensor, torch.Tensor]:
        """All rows that start at the given places: which place, and which row."""
        place = self.frame.places(sentence, start)
        counts = self.counts[place]
        which = torch.repeat_interleave(torch.arange(len(place), device=place.device), counts)
        row = torch.arange(len(which), device=place.device) + (self.first[place] - counts.cumsum(0) + counts)[which]
        return which, row


class Chooser:
    """Chooses one alternative for every node, see the module."""

    def __init__(self, generator: torch.Generator | None, best: bool):
        self.generator, self.best = generator, best

    def scores(self, weights: torch.Tensor) -> torch.Tensor:
        """The smallest wins; infinite where a weight is 0."""
        if self.best:
            return torch.where(weights > 0, -weights, torch.inf)
        noise = torch.empty_like(weights).exponential_(generator=self.generator)
        return torch.where(weights > 0, noise / weights, torch.inf)

    def choose(self, weights: torch.Tensor, node: torch.Tensor, num_nodes: int) -> torch.Tensor:
        """For each node the number of the alternative that it takes, of those with `node` equal to it."""
        scores = self.scores(weights)
        lowest = torch.full((num_nodes,), torch.inf, dtype=scores.dtype, device=scores.device)
        lowest.scatter_reduce_(0, node, scores, "amin")
        winner = (scores == lowest[node]) & (scores < torch.inf)
        chosen = torch.full((num_nodes,), -1, device=node.device)
        winners = winner.nonzero().squeeze(1)
        chosen.scatter_reduce_(0, node[winners], winners, "amax")
        return chosen


def trees(
    frame: Frame, tables: TreeTables, tokens: Rows, levels: list[Level], lengths, generator=None, best: bool = False
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
        row, symbol, counts = _children(frame, tables[level], levels[level - 1], below, row, symbol, chooser)
        found.append((below.sentence[row], symbol, counts))
    return _as_trees(frame.num_sentences, found)


def _children(frame, t: LevelTables, level: Level, below: Rows, row, symbol, chooser: Chooser):
    """The children of all nodes of a level, in order: rows and symbols of the level below, and how many each has."""
    nodes = level.symbols
    sentence, start, end = nodes.sentence[row], nodes.start[row], nodes.end[row]
    index = RowIndex(frame, below)
    state_indices = [RowIndex(frame, states) for states in level.states]
    # Alternatives: (arity, left state row or -1, last child's row) with a weight for each rule of the symbol.
    parts = []
    for arity in t.closing:
        if arity == 1:
            last = index.find(sentence, start, end)
            node = (last >= 0).nonzero().squeeze(1)
            left, last = torch.full_like(node, -1), last[node]
        else:
            states = level.states[arity - 2]
            node, left = state_indices[arity - 2].starting(sentence, start)
            last = index.find(sentence[node], states.end[left], end[node])
            kept = (last >= 0).nonzero().squeeze(1)
            node, left, last = node[kept], left[kept], last[kept]
        parts.append(
            (
                torch.full_like(node, arity),
                node,
                left,
                last,
                *_rule_choice(t, level, below, arity, nodes, row, symbol, node, left, last, chooser),
            )
        )
    arity, node, left, last, rule, score = (torch.cat(column) for column in zip(*parts, strict=True))
    lowest = torch.full((len(row),), torch.inf, dtype=score.dtype, device=score.device)
    lowest.scatter_reduce_(0, node, score, "amin")
    winners = ((score == lowest[node]) & (score < torch.inf)).nonzero().squeeze(1)
    chosen = torch.full((len(row),), -1, device=row.device)
    chosen.scatter_reduce_(0, node[winners], winners, "amax")
    arity, left, last, rule = arity[chosen], left[chosen], last[chosen], rule[chosen]
    # From right to left: the other children.
    node = torch.arange(len(row), device=row.device)
    out_node, out_place, out_row, out_symbol = [], [], [], []

    def emit(which, place, child_row, child_symbol):
        out_node.append(which)
        out_place.append(place)
        out_row.append(child_row)
        out_symbol.append(child_symbol)

    for k in t.closing:
        own = (arity == k).nonzero().squeeze(1)
        rules = t.rules_of[k]
        emit(own, torch.full_like(own, k - 1), last[own], rules.last[symbol[own], rule[own]])
        state, state_row = rules.states[symbol[own], rule[own]], left[own]
        for length in range(k - 1, 1, -1):
            own_parent, own_symbol = t.split(length, state)
            states, longer = level.states[length - 2], level.states[length - 1]
            which, before = state_indices[length - 2].starting(sentence[own], start[own])
            child = index.find(sentence[own][which], states.end[before], longer.end[state_row[which]])
            kept = (child >= 0).nonzero().squeeze(1)
            which, before, child = which[kept], before[kept], child[kept]
            weights = states.vectors[before, own_parent[which]] * below.vectors[child, own_symbol[which]]
            shift = states.exponents[before] + below.exponents[child] - longer.exponents[state_row[which]]
            best = chooser.choose(weights * torch.exp2(shift.to(weights.dtype)), which, len(own))
            emit(own, torch.full_like(own, length - 1), child[best], own_symbol)
            state, state_row = own_parent, before[best]
        if k > 1:
            first = level.states[0]
            begin = index.find(first.sentence[state_row], first.start[state_row], first.end[state_row])
            emit(own, torch.zeros_like(own), begin, state)
    order = torch.argsort(torch.cat(out_node) * t.longest + torch.cat(out_place))
    return torch.cat(out_row)[order], torch.cat(out_symbol)[order], arity


def _rule_choice(t, level: Level, below: Rows, arity, nodes: Rows, row, symbol, node, left, last, chooser):
    """For every alternative the rule that its node's symbol would take there, and its score."""
    rules = t.rules_of[arity]
    a = symbol[node]
    weights = rules.probs[a] * below.vectors[last].gather(1, rules.last[a])
    exponents = below.exponents[last] - nodes.exponents[row[node]]
    if arity > 1:
        states = level.states[arity - 2]
        weights = weights * states.vectors[left].gather(1, rules.states[a])
        exponents = exponents + states.exponents[left]
    weights = weights * torch.exp2(exponents.to(weights.dtype))[:, None]
    score, rule = chooser.scores(weights).min(1)
    return rule, score


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
