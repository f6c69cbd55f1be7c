"""Next-token laws with END of general grammars against an Earley parser in Python."""

from collections.abc import Iterator

import numpy as np

from benchmarks.earley import against_earley, parser_of
from benchmarks.plain_earley import Rule
from benchmarks.timing import Row
from rhm_hf.grammar import PCFG


def rules_of(grammar: PCFG) -> list[Rule]:
    """(left, right, probability); token k is k, symbol a is v + a."""
    v, rules = grammar.vocab_size, grammar.rules
    return [
        (v + left, right, p)
        for left, right, p in zip(rules.lefts.tolist(), rules.right_sides, rules.probs.tolist(), strict=True)
    ]


def rows_of_length(grammar: PCFG, length: int, num: int, drawn: int) -> list[list[int]]:
    """Of some drawn sentences, those whose lengths are nearest."""
    tokens, lengths = grammar.sample(drawn, return_lengths=True)
    nearest = np.argsort(np.abs(lengths - length), kind="stable")[:num]
    return [tokens[row, : lengths[row]].tolist() for row in nearest]


def rows() -> Iterator[Row]:
    """The rows of the benchmark table."""
    for name, length, few, goal in (
        ("pcfg-dyck2", 64, 2, ">= 50"),
        ("pcfg-arithmetic", 64, 2, ">= 50"),
        ("pcfg-v3-m2-s2.3-L6", 300, 1, ">= 20"),
        ("pcfg-v3-m4-s2.3-L6", 300, 1, ">= 20"),
    ):
        grammar = PCFG.from_name(name)
        drawn = 100_000 if length == 64 else 1000
        rows = rows_of_length(grammar, length, 64, drawn)
        title = f"next-token laws with END, {name}, {len(rows)} sentences of {len(rows[0])} tokens"
        parser = parser_of(rules_of(grammar), grammar.vocab_size, grammar.vocab_size)
        yield against_earley(title, grammar, parser, rows, rows, few, goal)
