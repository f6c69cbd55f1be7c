"""Checks of rules and probabilities given by hand. Every error names the argument, its value and the remedy."""

from typing import Any

import numpy as np

from ..fixed_tree import FixedTree
from ..names import checked_vocabulary


SUM_TOLERANCE = 1e-6
ROUNDING = 1e-14  # laws that sum to 1 up to this are kept to the last bit: checking twice changes nothing


def checked(
    rules: Any, rule_probs: Any, root_probs: Any, vocab_size: Any
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, int]:
    """Returns rules (int32), probabilities (float64, rows that sum to 1) and the vocabulary size, or raises."""
    if isinstance(rules, np.ndarray) and rules.ndim == 3:
        raise ValueError("rules must be a list of arrays, one for each level, root first: write [rules] for one level")
    rules = [_rule_array(f"rules[{g}]", r) for g, r in enumerate(rules)]
    if not rules:
        raise ValueError("rules=[] is empty: give at least one level of rules")
    largest = int(rules[-1].max())
    vocab_size = checked_vocabulary(vocab_size, largest)
    for g, r in enumerate(rules):
        last = g + 1 == len(rules)
        allowed = vocab_size if last else rules[g + 1].shape[0]
        below = f"vocab_size={vocab_size}" if last else f"rules[{g + 1}] expands {allowed} symbols"
        if r.min() < 0 or r.max() >= allowed:
            bad = r[(r < 0) | (r >= allowed)][0]
            raise ValueError(f"rules[{g}] holds the symbol {bad}, out of range: {below}, so 0 to {allowed - 1} exist")
    if rule_probs is None:
        rule_probs = [np.full(r.shape[:2], 1 / r.shape[1]) for r in rules]
    elif len(rule_probs) != len(rules):
        raise ValueError(
            f"rule_probs has {len(rule_probs)} entries but rules has {len(rules)}: give one for each level"
        )
    else:
        rule_probs = [law(f"rule_probs[{g}]", rule_probs[g], r.shape[:2]) for g, r in enumerate(rules)]
    classes = rules[0].shape[0]
    root_probs = np.full(classes, 1 / classes) if root_probs is None else law("root_probs", root_probs, (classes,))
    return rules, rule_probs, root_probs, vocab_size


def _rule_array(name: str, value) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is ragged: pad symbols that have fewer rules with rules of probability 0") from None
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: it must be (symbols, rules per symbol, children), none 0")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}: symbols must be integers")
    return array


def law(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """float64 probabilities of a shape, their last axis divided by its sum where that is not 1 up to rounding."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: the rules ask for {shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"{name} holds {array[~(array >= 0) | np.isinf(array)][0]}: probabilities must be >= 0")
    sums = array.sum(axis=-1, keepdims=True)
    if (np.abs(sums - 1) > SUM_TOLERANCE).any():
        worst = sums.ravel()[np.abs(sums - 1).argmax()]
        raise ValueError(f"{name} sums to {worst:.9g} instead of 1: divide each law by its sum")
    return np.where(np.abs(sums - 1) <= ROUNDING, array, array / sums)


def check_unambiguous(grammar: FixedTree) -> None:
    """Raises a `ValueError` that names two rules with the same tuple, where a level has such."""
    for generation in range(grammar.depth):
        level = grammar.depth - generation
        tree = grammar.prefix_tree(level)
        if (pair := tree.duplicate()) is not None:
            (a, i), (b, j) = (divmod(flat, tree.rules_per_symbol) for flat in pair)
            raise ValueError(
                f"rules[{generation}] (level {level}) is ambiguous: rule {i} of symbol {a} and rule {j} of symbol {b} "
                f"are both {grammar.rules[generation][a, i].tolist()}; every tuple may belong to one rule only"
            )
