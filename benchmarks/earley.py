"""Next-token laws with END against the Earley language model of genlm-grammar, in Python.

It is in the extra `benchmark`; without it there is nothing to compare with. One thread for both sides.
"""

from typing import Any

import numpy as np

from benchmarks.timing import Row, compare
from rhm_hf.grammar import Source
from rhm_hf.inference import prefix_probs


def is_installed(what: str) -> bool:
    """Whether genlm-grammar is there; says so where it is not."""
    try:
        import genlm.grammar  # noqa: F401
    except ImportError:
        print(f"{what}: genlm-grammar is not installed (extra `benchmark`): nothing to compare with")
        return False
    return True


def against_earley(
    name: str, grammar: Source, theirs: Any, given: Any, sentences: list[list[int]], few: int, goal: str
) -> Row:
    """All laws of all sentences; theirs are timed on the first few, without a cache of prefixes, scaled by tokens.

    Args:
        name (`str`): of the row.
        grammar ([`~rhm_hf.grammar.Source`]): whose laws.
        theirs: genlm's model of the same rules; tokens are `t0`, `t1`, ..
        given: the sentences as `prefix_probs` takes them.
        sentences (`list[list[int]]`): the same, without padding.
        few (`int`): how many of them theirs reads.
        goal (`str`): of the ratio.
    """

    def their_laws():
        theirs.clear_cache()
        return [theirs.p_next(tuple(f"t{x}" for x in row[:i])) for row in sentences[:few] for i in range(len(row) + 1)]

    laws, _ = prefix_probs(grammar, given)
    ours = [laws[n, i] for n, row in enumerate(sentences[:few]) for i in range(len(row) + 1)]
    for law, their in zip(ours, their_laws(), strict=True):
        np.testing.assert_allclose(law[:-1], [their[f"t{k}"] for k in range(grammar.vocab_size)], rtol=0, atol=1e-7)
    row = compare("", lambda: prefix_probs(grammar, given), their_laws, goal, repeats=3)
    total = sum(len(sentence) + 1 for sentence in sentences)
    scale = total / sum(len(sentence) + 1 for sentence in sentences[:few])
    speed = total / row.ours
    note = f"{speed:.0f} tokens/s, theirs {speed / row.ratio / scale:.0f} (of {few} sentences)"
    return Row(name, row.ours, row.plain * scale, row.ratio * scale, goal, note)
