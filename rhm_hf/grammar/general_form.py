"""Layered grammars as general ones: the same sentences and derivations, for what is written for general rules only."""

from dataclasses import dataclass

import numpy as np

from .pcfg.pcfg_grammar import PCFG
from .pcfg.production_rules import make_rules
from .refusal import NotSupported
from .source import Source


RULES_LIMIT = 2**16  # of the general grammar


@dataclass(frozen=True)
class GeneralForm:
    """A grammar and its general form.

    Args:
        grammar ([`PCFG`]): of the same sentences, END included.
        token_ids (`np.ndarray`): int64 `(v + 2,)`: the general grammar's id of every token, END and PAD; -1 for tokens
            that no rule writes.
        rule_names, symbol_names (`list[str]`): of its rules and symbols: symbol a of level l is `l.a`.
        rule_levels, symbol_levels (`list[int | None]`): their levels, L at the root; None where there are none.
    """

    grammar: PCFG
    token_ids: np.ndarray
    rule_names: list[str]
    rule_levels: list[int | None]
    symbol_names: list[str]
    symbol_levels: list[int | None]


def general_form(source: Source, what: str) -> GeneralForm:
    """The general grammar of a source with rules at every level, or of one that is general.

    Args:
        source ([`Source`]): fixed trees, sparse ones included, trees of varying shape, or a [`PCFG`].
        what (`str`): what it is needed for.

    Raises:
        [`NotSupported`]: for sources without rules at every level, or with more than 2^16.
    """
    if isinstance(source, PCFG):
        rules = source.rules
        names = [_written(rules.symbols[a], map(rules.name_of, right)) for a, right in _pairs(rules)]
        ids = np.arange(source.vocab_size + 2)
        return GeneralForm(source, ids, names, [None] * len(names), list(rules.symbols), [None] * rules.num_symbols)
    try:
        depth = source.depth
    except NotSupported:
        raise NotSupported(what, source, "it has no rules that are known here") from None
    levels = [_rules_of(source, level, what) for level in range(depth, 0, -1)]
    if sum(map(len, levels)) > RULES_LIMIT:
        raise NotSupported(what, source, f"it has more than {RULES_LIMIT} rules", "take a smaller grammar")
    rules, names = [], {}
    for level, mine in zip(range(depth, 0, -1), levels, strict=True):
        for a, right, p in mine:
            left = "S" if level == depth else f"{level}.{a}"
            p = p * float(source.root_probs[a]) if level == depth else p
            if p > 0:
                below = [str(c) if level == 1 else f"{level - 1}.{c}" for c in right]
                rules.append((left, [(name, level == 1) for name in below], p))
                names.setdefault(left, []).append((_written(f"{level}.{a}", below), level))
    tokens = [str(token) for token in range(source.vocab_size)]
    grammar = PCFG(make_rules(rules, "S", drop_unreachable=True, terminals=tokens))
    ids = np.full(source.vocab_size + 2, -1)
    ids[[int(name) for name in grammar.terminals]] = range(grammar.vocab_size)
    ids[-2:] = grammar.vocab_size, grammar.vocab_size + 1
    of_rules = [entry for symbol in grammar.symbols for entry in names[symbol]]
    found = [names[symbol][0][1] for symbol in grammar.symbols]
    shown = ["(root)", *grammar.symbols[1:]]
    return GeneralForm(grammar, ids, [n for n, _ in of_rules], [level for _, level in of_rules], shown, found)


def _pairs(rules) -> list[tuple[int, tuple[int, ...]]]:
    return list(zip(rules.lefts.tolist(), rules.right_sides, strict=True))


def _written(left: str, right) -> str:
    return f"{left} -> {' '.join(right)}".rstrip()


def _rules_of(source: Source, level: int, what: str) -> list[tuple[int, list[int], float]]:
    """(symbol, right side, probability) of the rules of a level."""
    try:
        rules, probs = source.rules_at(level), source.rule_probs_at(level)
    except (AttributeError, ValueError):
        raise NotSupported(what, source, f"it has no rules at level {level}") from None
    groups = zip(rules, probs, strict=True) if isinstance(rules, list | tuple) else [(rules, probs)]
    return [
        (a, right, float(p))
        for group, of_group in groups
        for a, (mine, ps) in enumerate(zip(group.tolist(), of_group.tolist(), strict=True))
        for right, p in zip(mine, ps, strict=True)
        if p > 0
    ]
