"""General grammars by brute force, which shares no code with the package but a grammar's list of rules."""

import math
from collections import defaultdict


# Ambiguous; recursive on both sides with unit cycles and empty rules; what nests; finite and ambiguous.
TEXTS = {
    "ambiguous": "S -> S S [0.3] | a [0.5] | b [0.2]",
    "loops": """
        S -> A [0.3] | S B [0.15] | 'a' [0.35] | [0.2]
        A -> S [0.4] | B A [0.1] | 'b' B B [0.2] | b [0.3]
        B -> [0.3] | 'b' [0.6] | B B [0.1]
    """,
    "few loops": """
        S -> A [0.3] | S B [0.15] | a [0.55]
        A -> S [0.1] | B b [0.9]
        B -> [0.1] | b [0.9]
    """,
    "sums": """
        E -> E + T [0.3] | T [0.7]
        T -> T * F [0.2] | F [0.8]
        F -> ( E ) [0.2] | x [0.8]
    """,
    "brackets": "S -> ( S ) S [0.2] | [ S ] S [0.1] | [0.7]",
    "finite": """
        S -> A B C [0.5] | B A [0.3] | C [0.2]
        A -> a [0.4] | B [0.3] | C C [0.3]
        B -> b [0.5] | C [0.3] | [0.2]
        C -> a [0.6] | b a [0.4]
    """,
}
# What is finite: ambiguous, and nested in brackets.
FINITE = {
    "ambiguous": TEXTS["finite"],
    "nested": """
        S -> ( A ) [0.5] | A A [0.5]
        A -> [ B ] [0.3] | x [0.7]
        B -> A2 y | A2
        A2 -> x [0.5] | [0.2] | y y [0.3]
    """,
}


def rules_of(grammar):
    """Of every symbol, pairs (probability, right side); tokens are integers, symbols strings."""
    r, v = grammar.rules, grammar.vocab_size
    rules = defaultdict(list)
    for left, right, p in zip(r.lefts.tolist(), r.right_sides, r.probs.tolist(), strict=True):
        rules[grammar.symbols[left]].append((p, tuple(c if c < v else grammar.symbols[c - v] for c in right)))
    return dict(rules)


def string_laws(grammar, longest):
    """P(symbol yields exactly a string), P(symbol yields something that begins with a string), up to a length.

    Both by iterating the rules on all strings at once until nothing changes.
    """
    rules = rules_of(grammar)
    full = {a: {} for a in rules}
    while True:
        new = {}
        for a, those in rules.items():
            total = defaultdict(float)
            for p, right in those:
                for string, q in _concatenated(full, right, longest).items():
                    total[string] += p * q
            new[a] = dict(total)
        last, full = full, new
        if _same(last, full):
            break
    begun = {a: {} for a in rules}
    while True:
        new = {}
        for a, those in rules.items():
            total = defaultdict(float)
            for p, right in those:
                for place, child in enumerate(right):
                    before = _concatenated(full, right[:place], longest)
                    after = {(child,): 1.0} if isinstance(child, int) else begun[child]
                    for string, q in before.items():
                        for rest, r in after.items():
                            if len(string) + len(rest) <= longest:
                                total[string + rest] += p * q * r
            new[a] = dict(total)
        last, begun = begun, new
        if _same(last, begun):
            break
    start = grammar.symbols[0]
    return full[start], {(): 1.0, **begun[start]}


def _same(laws, others):
    """Whether all numbers agree but for their last bits."""
    pairs = ((laws[a].get(string, 0.0), p) for a, law in others.items() for string, p in law.items())
    return all(abs(p - q) <= 4e-16 * q for p, q in pairs)


def _concatenated(full, right, longest):
    result = {(): 1.0}
    for child in right:
        below = {(child,): 1.0} if isinstance(child, int) else full[child]
        total = defaultdict(float)
        for string, p in result.items():
            for rest, q in below.items():
                if len(string) + len(rest) <= longest:
                    total[string + rest] += p * q
        result = total
    return result


def derivations(grammar, tokens=None, smallest=0.0):
    """All leftmost derivations (of a sentence, or of all) of more than the smallest probability.

    Returns:
        Triples: probability, rule numbers, and constituents (symbol, start, end) in the order of the rules.
    """
    r, v = grammar.rules, grammar.vocab_size
    found, shortest = [], shortest_lengths(grammar)
    # A state: probability, rules, written tokens, agenda (codes; negative numbers close the node -1 - k), spans.
    stack = [(1.0, (), (), (v,), ())]
    while stack:
        p, used, written, agenda, spans = stack.pop()
        while agenda:
            code, rest = agenda[0], agenda[1:]
            if code < 0:
                node = -1 - code
                spans = (*spans[:node], (*spans[node][:2], len(written)), *spans[node + 1 :])
            elif code < v:
                if tokens is not None and (len(written) == len(tokens) or tokens[len(written)] != code):
                    break
                written = (*written, code)
            else:
                if tokens is not None and len(written) + sum(shortest[c] for c in agenda if c >= 0) > len(tokens):
                    break
                opened = (*spans, (grammar.symbols[code - v], len(written), None))
                for rule in r.rules_of(code - v):
                    q = p * float(r.probs[rule])
                    if q > smallest:
                        below = (*r.right_sides[rule], -1 - len(spans), *rest)
                        stack.append((q, (*used, rule), written, below, opened))
                break
            agenda = rest
        else:
            if tokens is None or len(written) == len(tokens):
                found.append((p, used, spans, written))
    return found


def shortest_lengths(grammar):
    """The fewest tokens that a token or a symbol writes."""
    r, v = grammar.rules, grammar.vocab_size
    lengths = dict.fromkeys(range(v), 1) | dict.fromkeys(range(v, v + len(grammar.symbols)), math.inf)
    for _ in grammar.symbols:
        for left, right in zip(r.lefts.tolist(), r.right_sides, strict=True):
            lengths[v + left] = min(lengths[v + left], sum(lengths[c] for c in right))
    return lengths
