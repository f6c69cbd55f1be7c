"""Next-token laws with END of general grammars against the Earley language model of genlm-grammar, in Python.

It is in the extra `benchmark`; without it there is nothing to compare with, and no rows. One thread for both sides.
"""

import numpy as np

from benchmarks.timing import Row, compare
from rhm_hf.grammar import PCFG
from rhm_hf.inference import prefix_probs


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


def against_earley(name: str, rows: list[list[int]], few: int, goal: str) -> Row:
    """All laws of all rows; theirs are timed on a few rows, without its cache of prefixes, and scaled by tokens."""
    grammar = PCFG.from_name(name)
    theirs = earley_of(grammar)

    def their_laws():
        theirs.clear_cache()
        return [theirs.p_next(tuple(f"t{x}" for x in row[:i])) for row in rows[:few] for i in range(len(row) + 1)]

    laws, _ = prefix_probs(grammar, rows)
    ours = [laws[n, i] for n, row in enumerate(rows[:few]) for i in range(len(row) + 1)]
    for law, their in zip(ours, their_laws(), strict=True):
        np.testing.assert_allclose(law[:-1], [their[f"t{k}"] for k in range(grammar.vocab_size)], rtol=0, atol=1e-7)
    row = compare("", lambda: prefix_probs(grammar, rows), their_laws, goal, repeats=3)
    scale = sum(len(r) + 1 for r in rows) / sum(len(r) + 1 for r in rows[:few])
    speed = sum(len(r) + 1 for r in rows) / row.ours
    return Row(
        f"next-token laws with END, {name}, {len(rows)} sentences of {len(rows[0])} tokens, vs genlm's EarleyLM",
        row.ours,
        row.plain * scale,
        row.ratio * scale,
        goal,
        f"{speed:.0f} tokens/s, theirs {speed / row.ratio / scale:.0f} (of {few} sentences)",
    )


def rows():
    """The rows of the benchmark table."""
    try:
        import genlm.grammar  # noqa: F401
    except ImportError:
        print("general_grammars: genlm-grammar is not installed (extra `benchmark`): nothing to compare with")
        return
    for name, length, few, goal in (
        ("pcfg-dyck2", 64, 2, ">= 50"),
        ("pcfg-arithmetic", 64, 2, ">= 50"),
        ("pcfg-v3-m2-s2.3-L6", 300, 1, ">= 20"),
        ("pcfg-v3-m4-s2.3-L6", 300, 1, ">= 20"),
    ):
        grammar = PCFG.from_name(name)
        drawn = 100_000 if length == 64 else 1000
        yield against_earley(name, rows_of_length(grammar, length, 64, drawn), few, goal)
