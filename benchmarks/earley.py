"""Next-token laws with END against an Earley parser in Python.

genlm-grammar's (the extra `benchmark`) where it is installed, else a plain one. One thread for both sides.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.plain_earley import PlainEarley, Rule
from benchmarks.timing import Row, compare
from rhm_hf.grammar import Source
from rhm_hf.inference import prefix_probs


GENLM = "genlm's EarleyLM"
Reader = Callable[[Sequence[int]], list[Any]]  # a sentence's laws, what a law is made of


def parser_of(rules: list[Rule], start: int, vocab_size: int) -> tuple[str, Reader]:
    """The name of a parser of these rules, and what gives all laws `(v,)` or `(v + 1,)` of a sentence."""
    try:
        from genlm.grammar import CFG, EarleyLM, Float
    except ImportError:
        return "a plain Earley parser", PlainEarley(rules, start, vocab_size).laws

    def name(code: int) -> str:
        return f"t{code}" if code < vocab_size else f"N_{code}"

    lines = (f"{p}: {name(left)} -> {' '.join(map(name, right))}" for left, right, p in rules)
    parser = EarleyLM(CFG.from_string("\n".join(lines), Float, start=name(start)))

    def laws(sentence: Sequence[int]) -> list[Any]:
        parser.clear_cache()
        found = [parser.p_next(tuple(f"t{x}" for x in sentence[:i])) for i in range(len(sentence) + 1)]
        return [[law[f"t{k}"] for k in range(vocab_size)] for law in found]

    return GENLM, laws


def against_earley(
    name: str,
    grammar: Source,
    parser: tuple[str, Reader],
    given: Any,
    sentences: list[list[int]],
    few: int,
    goal: str,
) -> Row:
    """All laws of all sentences; theirs are timed on the first few, without a cache of prefixes, scaled by tokens.

    Args:
        name (`str`): of the row.
        grammar ([`~rhm_hf.grammar.Source`]): whose laws.
        parser (`tuple`): of [`parser_of`] the same rules.
        given: the sentences as `prefix_probs` takes them.
        sentences (`list[list[int]]`): the same, without padding.
        few (`int`): how many of them theirs reads.
        goal (`str`): of the ratio to genlm's.
    """
    theirs, read = parser

    def their_laws() -> list[Any]:
        return [law for row in sentences[:few] for law in read(row)]

    laws, _ = prefix_probs(grammar, given)
    ours = [laws[n, i] for n, row in enumerate(sentences[:few]) for i in range(len(row) + 1)]
    for law, their in zip(ours, their_laws(), strict=True):
        np.testing.assert_allclose(law[: grammar.vocab_size], their[: grammar.vocab_size], rtol=0, atol=1e-7)
    row = compare("", lambda: prefix_probs(grammar, given), their_laws, goal, repeats=3)
    total = sum(len(sentence) + 1 for sentence in sentences)
    scale = total / sum(len(sentence) + 1 for sentence in sentences[:few])
    speed = total / row.ours
    note = f"{speed:.0f} tokens/s, theirs {speed / row.ratio / scale:.0f} (of {few} sentences)"
    goal = goal if theirs == GENLM else f"- ({goal} vs genlm's)"
    return Row(f"{name}, vs {theirs}", row.ours, row.plain * scale, row.ratio * scale, goal, note)
