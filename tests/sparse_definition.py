"""Small sparse grammars that tests of several parts share, and their laws straight from the definition."""

import functools
import itertools
import math

import numpy as np

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.sparse.sparse_grammar import SparseGrammar


def zipf_base(vocab_size: int, tuple_size: int, depth: int, rules_seed: int = 1) -> Grammar:
    """Two rules of probabilities 0.7 and 0.3 for each symbol, and classes of unequal probability."""
    rules = Grammar.from_name(f"v{vocab_size}-m2-s{tuple_size}-L{depth}", rules_seed).rules
    probs = [np.tile([0.7, 0.3], (len(level), 1)) for level in rules]
    root = np.arange(1.0, len(rules[0]) + 1)
    return Grammar.from_rules(rules, probs, root / root.sum(), vocab_size)


def rule_of_probability_zero() -> Grammar:
    """Two levels of 2 and 3 children; a class and a rule of each level are impossible."""
    rules = [[[[0, 1], [1, 1]], [[1, 0], [0, 0]]], [[[0, 1, 1], [1, 1, 0]], [[1, 0, 0], [0, 0, 0]]]]
    return Grammar.from_rules(rules, [[[0.4, 0.6], [1, 0]], [[0.25, 0.75], [0, 1]]], [1, 0], vocab_size=2)


SMALL = {
    "uniform L1 A": lambda: SparseGrammar(Grammar.from_name("v3-m2-s2-L1", rules_seed=1), 2, "A"),
    "uniform L1 B": lambda: SparseGrammar(Grammar.from_name("v3-m2-s2-L1", rules_seed=1), 2, "B"),
    "uniform L2 A": lambda: SparseGrammar(Grammar.from_name("v2-m2-s2-L2", rules_seed=1), 1, "A"),
    "uniform L2 B": lambda: SparseGrammar(Grammar.from_name("v2-m2-s2-L2", rules_seed=1), 1, "B"),
    "skewed A": lambda: SparseGrammar(zipf_base(3, 2, 2), 1, "A"),
    "skewed B": lambda: SparseGrammar(zipf_base(2, 2, 2), 1, "B"),
    "s3 L1 A": lambda: SparseGrammar(zipf_base(2, 3, 1), 1, "A"),
    "s3 L1 B": lambda: SparseGrammar(zipf_base(2, 3, 1), 1, "B"),
    "zero A": lambda: SparseGrammar(rule_of_probability_zero(), 1, "A"),
}


def small_sparse_grammar(name: str) -> SparseGrammar:
    return SMALL[name]()


def placements(size: int, sparsity: int, placement: str):
    """Every choice of increasing slots, all equally likely."""
    width = sparsity + 1
    for slots in itertools.combinations(range(size * width), size):
        if placement == "B" or all(slot // width == child for child, slot in enumerate(slots)):
            yield slots


def sparse_derivations(grammar: SparseGrammar) -> tuple[list[np.ndarray], np.ndarray]:
    """Every derivation, one by one: the symbols of all levels, `(derivations, nodes)` each, and the probabilities."""
    base, depth = grammar.base, grammar.base.depth
    sizes = [*(len(rules) for rules in base.rules), base.vocab_size]  # root first; the empty symbols below the root

    def empty(generation):
        """Layers of symbols, from this node's down to the tokens."""
        slots = [rules.shape[2] * (grammar.sparsity + 1) for rules in base.rules[generation:]]
        return [(sizes[generation + k],) * math.prod(slots[:k]) for k in range(depth - generation + 1)]

    @functools.cache
    def below(generation, symbol):
        if generation == depth:
            return [(1.0, [(symbol,)])]
        found = []
        for rule, p in zip(base.rules[generation][symbol], base.rule_probs[generation][symbol], strict=True):
            if p == 0:
                continue
            slots_of = list(placements(len(rule), grammar.sparsity, grammar.placement))
            for parts in itertools.product(*(below(generation + 1, int(child)) for child in rule)):
                q = p * math.prod(part for part, _ in parts) / len(slots_of)
                for slots in slots_of:
                    written = [empty(generation + 1)] * (len(rule) * (grammar.sparsity + 1))
                    for slot, (_, layers) in zip(slots, parts, strict=True):
                        written[slot] = layers
                    found.append((q, [(symbol,), *(sum(layer, ()) for layer in zip(*written, strict=True))]))
        return found

    rows = [(root * p, layers) for a, root in enumerate(base.root_probs) if root > 0 for p, layers in below(0, a)]
    levels = [np.array([layers[depth - level] for _, layers in rows]) for level in range(depth + 1)]
    return levels, np.array([p for p, _ in rows])


def sparse_law(grammar: SparseGrammar) -> dict[tuple[int, ...], float]:
    """Every sentence with its probability."""
    (tokens, *_), probs = sparse_derivations(grammar)
    law = dict(zip(map(tuple, tokens.tolist()), probs.tolist(), strict=True))
    assert len(law) == len(tokens), "ambiguous"
    return law
