"""The number of sentences of a finite language, exact: ambiguity counts for nothing, and no sentence is listed.

What may follow a prefix is a set of *stacks*: the symbols that are still to be written, one stack for every way in
which the prefix may have come about. Prefixes with the same set have the same continuations, so the sets are the
states of a deterministic automaton without loops, and a state's sentences are those of the states that follow it.
"""

from .production_rules import Rules


STACKS_LIMIT = 2**19  # symbols expanded, over all states

Stack = tuple[int, ...]


def count_sentences(rules: Rules, limit: int | None = None) -> int | None:
    """The number of sentences of positive probability, a Python integer.

    Args:
        rules ([`Rules`]): of a finite language: no symbol contains itself but alone.
        limit (`int`, *optional*, defaults to 2^19): expansions of a symbol at the top of a stack.

    Returns:
        `int`, or None where the limit is reached: the number is not known.
    """
    right_sides, left = _writing(rules), STACKS_LIMIT if limit is None else limit
    start = frozenset([(rules.vocab_size,)])
    counts: dict[frozenset, int] = {}
    following: dict[frozenset, tuple[bool, list[frozenset]]] = {}
    agenda = [start]
    while agenda:
        state = agenda[-1]
        if state in counts:
            agenda.pop()
        elif state not in following:
            ends, after, used = _read(state, right_sides, rules.vocab_size, left)
            left -= used
            if left < 0:
                return None
            following[state] = ends, after
            agenda += [other for other in after if other not in counts]
        else:
            ends, after = following.pop(state)
            counts[state] = ends + sum(counts[other] for other in after)
            agenda.pop()
    return counts[start]


def _writing(rules: Rules) -> dict[int, list[Stack]]:
    """The right sides of every symbol, without the symbols that write nothing ever: loops would make them pile up."""
    v = rules.vocab_size
    write, grows = set(range(v)), True
    pairs = list(zip((rules.lefts + v).tolist(), rules.right_sides, strict=True))
    while grows:
        found = {left for left, right in pairs if write.intersection(right)} - write
        write, grows = write | found, bool(found)
    sides: dict[int, list[Stack]] = {}
    for left, right in pairs:
        sides.setdefault(left, []).append(tuple(code for code in right if code in write))
    return sides


def _read(state: frozenset, right_sides: dict[int, list[Stack]], v: int, left: int):
    """Whether a sentence may end in a state, the states after each token, and how many symbols were expanded."""
    ends, by_token, seen, used = False, {}, set(state), 0
    agenda = list(state)
    while agenda and used <= left:
        stack = agenda.pop()
        if not stack:
            ends = True
        elif stack[0] < v:
            by_token.setdefault(stack[0], set()).add(stack[1:])
        else:
            used += 1
            for right in right_sides[stack[0]]:
                new = right + stack[1:]
                if new not in seen:
                    seen.add(new)
                    agenda.append(new)
    return ends, [frozenset(stacks) for stacks in by_token.values()], used
