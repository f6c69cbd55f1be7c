"""Next-token laws with END of trees of every shape against an Earley parser in Python."""

from collections.abc import Iterator

import numpy as np

from benchmarks.earley import against_earley, parser_of
from benchmarks.plain_earley import Rule
from benchmarks.timing import Row
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar


def rules_of(grammar: TreeGrammar) -> tuple[list[Rule], int]:
    """(left, right, probability) and the start symbol; token k is k, symbols follow level by level."""
    first, sizes = [0], [grammar.vocab_size]
    for level in range(1, grammar.depth + 1):
        first.append(first[-1] + sizes[-1])
        sizes.append(grammar.num_symbols_at(level))
    start = first[-1] + sizes[-1]
    found = [(start, (first[-1] + a,), p) for a, p in enumerate(grammar.root_probs.tolist()) if p > 0]
    for level in range(grammar.depth, 0, -1):
        for rules, probs in zip(grammar.rules_at(level), grammar.rule_probs_at(level), strict=True):
            for a, k in zip(*np.nonzero(probs), strict=True):
                right = tuple(first[level - 1] + x for x in rules[a, k].tolist())
                found.append((first[level] + int(a), right, float(probs[a, k])))
    return found, start


def rows() -> Iterator[Row]:
    """The rows of the benchmark table."""
    for name, few, goal in (("trees-v16-s2m4-s3m64-L3", 2, ">= 500"), ("trees-v8-s2m2-s3m16-L3", 4, ">= 200")):
        grammar = TreeGrammar.from_name(name)
        tokens, lengths = grammar.sample(256, return_lengths=True)
        sentences = [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)]
        title = f"next-token laws with END, {name}, {len(sentences)} sentences"
        yield against_earley(
            title, grammar, parser_of(*rules_of(grammar), grammar.vocab_size), tokens, sentences, few, goal
        )
