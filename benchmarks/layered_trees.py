"""Next-token laws with END of trees of every shape against the Earley language model of genlm-grammar, in Python."""

import numpy as np

from benchmarks.earley import against_earley, is_installed
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar


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


def rows():
    """The rows of the benchmark table."""
    if not is_installed("layered_trees"):
        return
    for name, few, goal in (("trees-v16-s2m4-s3m64-L3", 2, ">= 500"), ("trees-v8-s2m2-s3m16-L3", 4, ">= 200")):
        grammar = TreeGrammar.from_name(name)
        tokens, lengths = grammar.sample(256, return_lengths=True)
        sentences = [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)]
        title = f"next-token laws with END, {name}, {len(sentences)} sentences, vs genlm's EarleyLM"
        yield against_earley(title, grammar, earley_of(grammar), tokens, sentences, few, goal)
