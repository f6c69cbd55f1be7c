"""Brute force, sharing no code with the package but a grammar's arrays: all derivations with their probabilities."""

import itertools
from dataclasses import dataclass

import numpy as np

from rhm_hf.grammar import Grammar


@dataclass(frozen=True)
class Enumeration:
    """All sentences of positive probability: `levels[l]` of shape `(sentences, nodes)`, 0 the tokens; `probs`."""

    levels: list
    probs: np.ndarray
    num_symbols: list

    @property
    def tokens(self):
        return self.levels[0]

    def law(self, weights, level=0, node=None):
        """The normalised law of one node (all nodes where None) under weights of the sentences; None if they are 0."""
        total = weights.sum()
        if total == 0:
            return None
        nodes = range(self.levels[level].shape[1]) if node is None else [node]
        laws = [np.bincount(self.levels[level][:, k], weights, self.num_symbols[level]) / total for k in nodes]
        return np.stack(laws) if node is None else laws[0]

    def agreeing(self, tokens, positions):
        """The sentences' probabilities, 0 where they differ from `tokens` at any of the positions."""
        positions = list(positions)
        return self.probs * (self.tokens[:, positions] == np.asarray(tokens)[positions]).all(1)


def enumerate_grammar(grammar) -> Enumeration:
    depth = len(grammar.rules)

    def subtrees(generation, symbol):
        """(probability, [symbols of this node's level, of the next, .. , tokens]) of every subtree."""
        if generation == depth:
            return [(1.0, [(symbol,)])]
        found = []
        for rule, p in zip(grammar.rules[generation][symbol], grammar.rule_probs[generation][symbol], strict=True):
            if p == 0:
                continue
            for parts in itertools.product(*(below(generation + 1, int(child)) for child in rule)):
                layers = [sum(layer, ()) for layer in zip(*(layers for _, layers in parts), strict=True)]
                found.append((p * np.prod([q for q, _ in parts]), [(symbol,), *layers]))
        return found

    memory = {}

    def below(generation, symbol):
        if (generation, symbol) not in memory:
            memory[generation, symbol] = subtrees(generation, symbol)
        return memory[generation, symbol]

    rows = [(root * p, layers) for a, root in enumerate(grammar.root_probs) if root > 0 for p, layers in below(0, a)]
    levels = [np.array([layers[depth - level] for _, layers in rows]) for level in range(depth + 1)]
    sizes = [grammar.vocab_size] + [len(rules) for rules in grammar.rules[::-1]]
    return Enumeration(levels, np.array([p for p, _ in rows]), sizes)


def mixed_grammar(seed: int = 0) -> Grammar:
    """Three levels of 3, 2 and 2 children, nothing uniform, a class and two rules of probability 0: 12 tokens."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 2, 2, 4), (4, 2, 3, 3), (3, 2, 2, 3)]  # symbols, rules, children, child symbols; root first
    rules = []
    for symbols, count, children, below in shapes:
        chosen = rng.permutation(below**children)[: symbols * count]
        rules.append(np.stack(np.unravel_index(chosen, (below,) * children), -1).reshape(symbols, count, children))
    probs = [rng.dirichlet(np.ones(r.shape[1]), r.shape[0]) for r in rules]
    probs[0][1], probs[1][2] = [1.0, 0.0], [0.0, 1.0]
    return Grammar.from_rules(rules, probs, [0.3, 0.7, 0.0], vocab_size=3)


MORE = {
    "v3-m2-s2-L3": lambda: Grammar.from_name("v3-m2-s2-L3", rules_seed=2),
    "v2-m3-s4-L2": lambda: Grammar.from_name("v2-m3-s4-L2", rules_seed=3),
    "mixed": mixed_grammar,
}
