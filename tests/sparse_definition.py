"""Small sparse grammars that tests of several parts share, and their laws straight from the definition."""

import itertools
import math

import numpy as np

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.sparse import SparseGrammar


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


def patches(children: list, empty: tuple, sparsity: int, placement: str):
    """Every way to write children (tuples of tokens) in one patch, all equally likely."""
    size, width = len(children), sparsity + 1
    for slots in itertools.combinations(range(size * width), size):
        if placement == "B" or all(slot // width == child for child, slot in enumerate(slots)):
            written = [empty] * (size * width)
            for child, slot in zip(children, slots, strict=True):
                written[slot] = child
            yield tuple(itertools.chain.from_iterable(written))


def sparse_law(grammar: SparseGrammar) -> dict[tuple[int, ...], float]:
    """Every sentence with its probability: rules from the base's arrays, all placements of all nodes, one by one."""
    base = grammar.base

    def length(generation):
        return math.prod(r.shape[2] * (grammar.sparsity + 1) for r in base.rules[generation:])

    def below(symbol, generation):
        if generation == base.depth:
            return {(symbol,): 1.0}
        law = {}
        empty = (base.vocab_size,) * length(generation + 1)
        for rule, p in zip(base.rules[generation][symbol], base.rule_probs[generation][symbol], strict=True):
            if p == 0:
                continue
            for choice in itertools.product(*(below(int(child), generation + 1).items() for child in rule)):
                written = list(patches([block for block, _ in choice], empty, grammar.sparsity, grammar.placement))
                for tokens in written:
                    assert tokens not in law, "ambiguous"
                    law[tokens] = p * math.prod(q for _, q in choice) / len(written)
        return law

    law = {}
    for symbol, p in enumerate(base.root_probs):
        if p > 0:
            law |= {tokens: p * q for tokens, q in below(symbol, 0).items()}
    return law
