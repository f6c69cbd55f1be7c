"""Next-token laws with END of trees of every shape against the Earley language model of genlm-grammar, in Python.

It is in the extra `benchmark`; without it there is nothing to compare with, and no rows. One thread for both sides.
"""

import numpy as np

from benchmarks.timing import Row, compare
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar
from rhm_hf.inference import prefix_probs


def earley_of(grammar: TreeGrammar):
    """genlm's model of the same rules; symbol a of level l is `N_l_a`, tokens are `t0`, `t1`, .."""
    from genlm.grammar import CFG, EarleyLM, Float

    def name(level: int, symbol: int) -> str:
        return f"N_{level}_{symbol}" if level else f"t{symbol}"

    lines = [f"{p}: S -> {name(grammar.depth, a)}" for a, p in enumerate(grammar.root_probs.tolist())]
    for level in range(grammar.depth, 0, -1):
        for rules, probs in zip(grammar.rules_at(level), grammar.rule_probs_at(level), strict=True):
            for a, k in zip(*np.nonzero(probs), strict=True):
                children = " ".join(name(level - 1, x) for x in rules[a, k].tolist())
                lines.append(f"{probs[a, k]}: {name(level, a)} -> {children}")
    return EarleyLM(CFG.from_string("\n".join(lines), Float, start="S"))


def against_earley(name: str, num: int, few: int, goal: str) -> Row:
    """All laws of all sentences; theirs are timed on a few, without its cache of prefixes, and scaled by tokens."""
    grammar = TreeGrammar.from_name(name)
    theirs = earley_of(grammar)
    tokens, lengths = grammar.sample(num, return_lengths=True)
    sentences = [row[:n].tolist() for row, n in zip(tokens[:few], lengths[:few], strict=True)]

    def their_laws():
        theirs.clear_cache()
        return [theirs.p_next(tuple(f"t{x}" for x in row[:i])) for row in sentences for i in range(len(row) + 1)]

    laws, _ = prefix_probs(grammar, tokens)
    ours = [laws[n, i] for n, row in enumerate(sentences) for i in range(len(row) + 1)]
    for law, their in zip(ours, their_laws(), strict=True):
        np.testing.assert_allclose(law[:-1], [their[f"t{k}"] for k in range(grammar.vocab_size)], rtol=0, atol=1e-7)
    row = compare("", lambda: prefix_probs(grammar, tokens), their_laws, goal, repeats=3)
    scale = (lengths + 1).sum() / (lengths[:few] + 1).sum()
    speed = (lengths + 1).sum() / row.ours
    return Row(
        f"next-token laws with END, {name}, {num} sentences, vs genlm's EarleyLM",
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
        print("layered_trees: genlm-grammar is not installed (extra `benchmark`): nothing to compare with")
        return
    yield against_earley("trees-v16-s2m4-s3m64-L3", 256, 2, ">= 500")
    yield against_earley("trees-v8-s2m2-s3m16-L3", 256, 4, ">= 200")
