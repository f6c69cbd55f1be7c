"""Next-token laws with END of general grammars against the Earley language model of genlm-grammar, in Python."""

import numpy as np

from benchmarks.earley import against_earley, is_installed
from rhm_hf.grammar import PCFG


def earley_of(grammar: PCFG):
    """genlm's model of the same rules; tokens are `t0`, `t1`, .."""
    from genlm.grammar import CFG, EarleyLM, Float

    v, rules = grammar.vocab_size, grammar.rules

    def name(code: int) -> str:
        return f"t{code}" if code < v else f"N_{code - v}"

    lines = (
        f"{p}: N_{left} -> {' '.join(map(name, right))}"
        for left, right, p in zip(rules.lefts.tolist(), rules.right_sides, rules.probs.tolist(), strict=True)
    )
    return EarleyLM(CFG.from_string("\n".join(lines), Float, start="N_0"))


def rows_of_length(grammar: PCFG, length: int, num: int, drawn: int) -> list[list[int]]:
    """Of some drawn sentences, those whose lengths are nearest."""
    tokens, lengths = grammar.sample(drawn, return_lengths=True)
    nearest = np.argsort(np.abs(lengths - length), kind="stable")[:num]
    return [tokens[row, : lengths[row]].tolist() for row in nearest]


def rows():
    """The rows of the benchmark table."""
    if not is_installed("general_grammars"):
        return
    for name, length, few, goal in (
        ("pcfg-dyck2", 64, 2, ">= 50"),
        ("pcfg-arithmetic", 64, 2, ">= 50"),
        ("pcfg-v3-m2-s2.3-L6", 300, 1, ">= 20"),
        ("pcfg-v3-m4-s2.3-L6", 300, 1, ">= 20"),
    ):
        grammar = PCFG.from_name(name)
        drawn = 100_000 if length == 64 else 1000
        rows = rows_of_length(grammar, length, 64, drawn)
        title = (
            f"next-token laws with END, {name}, {len(rows)} sentences of {len(rows[0])} tokens, vs genlm's EarleyLM"
        )
        yield against_earley(title, grammar, earley_of(grammar), rows, rows, few, goal)
