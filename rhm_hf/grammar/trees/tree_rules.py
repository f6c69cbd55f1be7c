"""Random rules of several arities, and checks of rules given by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layered.random_rules import distinct_tuples, raw_stream
from ..layered.validation import law
from ..names import check_rules, checked_vocabulary
from .tree_parameters import TreeParameters


BYTES_PER_TOKEN = 2**11  # of lengths, counts and laws by token, some of them Python numbers


def random_tree_rules(parameters: TreeParameters) -> list[list[np.ndarray]]:
    """Draws the rules of every level, root first: for each arity an ordered sample of tuples without replacement.

    The k-th smallest arity of level L - g has the Philox stream of key (rules_seed, g + 2^32 k), so that trees of one
    arity have the rules of the ordinary RHM with the same seed.

    Returns:
        `list[list[np.ndarray]]`: per level and arity int32 `(symbols, rules per symbol, arity)`.
    """
    p, levels = parameters, []
    check_rules(
        p.name,
        (
            (p.num_classes if generation == 0 else p.vocab_size, count, arity)
            for generation, choices in enumerate(p.num_rules)
            for arity, count in choices
        ),
    )
    for generation, choices in enumerate(p.num_rules):
        symbols, groups = p.num_classes if generation == 0 else p.vocab_size, []
        for rank, (arity, count) in enumerate(choices):
            stream = raw_stream(p.rules_seed, generation + (rank << 32))
            tuples = distinct_tuples(p.vocab_size, arity, symbols * count, stream)
            groups.append(tuples.reshape(symbols, count, arity))
        levels.append(groups)
    return levels


def rule_laws(parameters: TreeParameters) -> list[list[np.ndarray]]:
    """The probabilities of these rules: that of the arity, shared equally by its rules."""
    p = parameters
    return [
        [
            np.full((p.num_classes if generation == 0 else p.vocab_size, count), prob / count)
            for (_, count), prob in zip(choices, probs, strict=True)
        ]
        for generation, (choices, probs) in enumerate(zip(p.num_rules, p.arity_probs, strict=True))
    ]


def checked_trees(
    rules: Any, rule_probs: Any, root_probs: Any, vocab_size: Any
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]], np.ndarray, int]:
    """Rules (int32, arities ascending), probabilities (float64), the root law and the vocabulary size, or an error."""
    if not isinstance(rules, Sequence) or not rules:
        raise ValueError("rules must be a list with one entry for each level, root first, and must not be empty")
    rules = [_checked_level(g, level) for g, level in enumerate(rules)]
    largest = max(int(group.max()) for group in rules[-1])
    vocab_size = checked_vocabulary(vocab_size, largest, BYTES_PER_TOKEN)
    for g, level in enumerate(rules):
        last = g + 1 == len(rules)
        allowed = vocab_size if last else rules[g + 1][0].shape[0]
        below = f"vocab_size={vocab_size}" if last else f"rules[{g + 1}] expands {allowed} symbols"
        for group in level:
            if group.min() < 0 or group.max() >= allowed:
                bad = group[(group < 0) | (group >= allowed)][0]
                raise ValueError(
                    f"rules[{g}] holds the symbol {bad}, out of range: {below}, so 0 to {allowed - 1} exist"
                )
    if rule_probs is None:
        rule_probs = [[np.full(r.shape[:2], 1 / (len(level) * r.shape[1])) for r in level] for level in rules]
    if len(rule_probs) != len(rules):
        raise ValueError(f"rule_probs has {len(rule_probs)} entries but rules has {len(rules)}: give one a level")
    rule_probs = [
        _checked_laws(g, level, probs) for g, (level, probs) in enumerate(zip(rules, rule_probs, strict=True))
    ]
    classes = rules[0][0].shape[0]
    root_probs = np.full(classes, 1 / classes) if root_probs is None else law("root_probs", root_probs, (classes,))
    return rules, rule_probs, root_probs, vocab_size


def _checked_level(generation: int, level) -> list[np.ndarray]:
    name = f"rules[{generation}]"
    groups = [np.asarray(group) for group in level]
    if not groups:
        raise ValueError(f"{name} is empty: give one array (symbols, rules per symbol, arity) for each arity")
    for group in groups:
        if group.ndim != 3 or 0 in group.shape or group.dtype.kind not in "iu":
            raise ValueError(
                f"{name} has an array of shape {group.shape} and dtype {group.dtype}: each must be integers of shape "
                "(symbols, rules per symbol, arity), none 0; pad with rules of probability 0"
            )
    if len({group.shape[0] for group in groups}) > 1:
        raise ValueError(f"{name} has arrays for {[len(g) for g in groups]} symbols: all must have the same number")
    arities = [group.shape[2] for group in groups]
    if sorted(set(arities)) != arities:
        raise ValueError(f"{name} has the arities {arities}: give one array an arity, in ascending order")
    return [np.ascontiguousarray(group, dtype=np.int32) for group in groups]


def _checked_laws(generation: int, level: list[np.ndarray], probs) -> list[np.ndarray]:
    """The laws of a level's rules: over all arities together they sum to one for every symbol."""
    name, shapes = f"rule_probs[{generation}]", [group.shape[:2] for group in level]
    probs = [np.asarray(group, dtype=np.float64) for group in probs]
    if [group.shape for group in probs] != shapes:
        raise ValueError(f"{name} has shapes {[group.shape for group in probs]}: the rules ask for {shapes}")
    together = law(name, np.concatenate(probs, axis=1), (shapes[0][0], sum(count for _, count in shapes)))
    split = np.split(together, np.cumsum([count for _, count in shapes])[:-1], axis=1)
    for group, p in zip(level, split, strict=True):
        symbol, rule = np.nonzero(p > 0)
        tuples = np.concatenate([symbol[:, None], group[symbol, rule]], axis=1)
        if len(np.unique(tuples, axis=0)) < len(tuples):
            raise ValueError(
                f"rules[{generation}] has a rule of arity {group.shape[2]} twice: add their probabilities"
            )
    return [np.ascontiguousarray(part) for part in split]
