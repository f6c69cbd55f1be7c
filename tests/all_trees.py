"""Brute force for trees of every shape: all derivations of a small grammar, sharing no code with the package."""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from rhm_hf.grammar.trees.tree_grammar import TreeGrammar


@dataclass(frozen=True)
class Derivation:
    """`levels[l]` and `arities[l - 1]`: symbols and numbers of children of the nodes of level l, 0 the tokens."""

    prob: float
    levels: tuple
    arities: tuple

    @property
    def shape(self):
        return self.levels, self.arities

    def spans(self, level):
        """(start, end, symbol) of every node of a level."""
        widths = [1] * len(self.levels[0])
        for counts in self.arities[:level]:
            below = iter(widths)
            widths = [sum(next(below) for _ in range(count)) for count in counts]
        ends = list(itertools.accumulate(widths))
        return [(e - w, e, x) for e, w, x in zip(ends, widths, self.levels[level], strict=True)]


def all_derivations(grammar) -> dict[tuple[int, ...], list[Derivation]]:
    """The derivations of every sentence of positive probability."""
    found = defaultdict(list)

    def expand(level, symbols, prob, levels, arities):
        if level == 0:
            found[levels[-1]].append(Derivation(prob, tuple(levels[::-1]), tuple(arities[::-1])))
            return
        choices = []
        for a in symbols:
            groups = zip(grammar.rules_at(level), grammar.rule_probs_at(level), strict=True)
            choices.append(
                [
                    (tuple(r.tolist()), p)
                    for rules, probs in groups
                    for r, p in zip(rules[a], probs[a], strict=True)
                    if p > 0
                ]
            )
        for chosen in itertools.product(*choices):
            children = sum((rule for rule, _ in chosen), ())
            counts = tuple(len(rule) for rule, _ in chosen)
            weight = prob * float(np.prod([p for _, p in chosen]))
            expand(level - 1, children, weight, [*levels, children], [*arities, counts])

    for root, p in enumerate(grammar.root_probs):
        if p > 0:
            expand(grammar.depth, (root,), float(p), [(root,)], [])
    return dict(found)


def sentence_probs(derivations) -> dict[tuple[int, ...], float]:
    return {tokens: sum(d.prob for d in own) for tokens, own in derivations.items()}


def span_law(derivations: list[Derivation], level: int) -> Counter:
    """P(a node of the level has this span and this symbol) given one of these derivations."""
    total, law = sum(d.prob for d in derivations), Counter()
    for d in derivations:
        for span in d.spans(level):
            law[span] += d.prob / total
    return law


def ambiguous_trees(seed: int) -> TreeGrammar:
    """Two levels with different arities, nothing uniform, tuples shared by symbols, and a rule of probability 0."""
    rng = np.random.default_rng(seed)
    high = [rng.integers(0, 3, (2, 2, 2)), rng.integers(0, 3, (2, 1, 3))]
    high[0][:, 1, 0] = (high[0][:, 0, 0] + 1) % 3  # two different rules
    low = [rng.integers(0, 2, (3, 1, 1)), rng.integers(0, 2, (3, 1, 2)), rng.integers(0, 2, (3, 1, 4))]
    probs = []
    for level in (high, low):
        law = rng.dirichlet(np.ones(sum(r.shape[1] for r in level)), len(level[0]))
        probs.append(np.split(law, np.cumsum([r.shape[1] for r in level])[:-1], axis=1))
    probs[1][2][0] = 0
    probs[1][0][0], probs[1][1][0] = 0.25, 0.75
    return TreeGrammar([high, low], probs, rng.dirichlet(np.ones(2)), 2)


SMALL = {
    "trees-v3-s2m1-s3m2-L2": lambda: TreeGrammar.from_name("trees-v3-s2m1-s3m2-L2", rules_seed=3),
    "trees-v3-s1m1p0.4-s2m2p0.6-L2-c2": lambda: TreeGrammar.from_name(
        "trees-v3-s1m1p0.4-s2m2p0.6-L2-c2", rules_seed=3
    ),
    "three levels": lambda: TreeGrammar.from_name("trees-v2-s2m1@3-s1m1@2-s2m1@2-s2m1@1-s3m2@1-L3-c1", rules_seed=1),
    "ambiguous 0": lambda: ambiguous_trees(0),
    "ambiguous 1": lambda: ambiguous_trees(1),
}
