"""Sentences of varying length and their trees as a pure function of (grammar, seed, split, index)."""

from dataclasses import dataclass

import numpy as np

from ..sentences.keys import philox_key
from ..sentences.sampling import MAX_ATTEMPTS
from ..source import Source


@dataclass(frozen=True)
class Tree:
    """One derivation.

    Args:
        levels (`list[np.ndarray]`): entry ℓ = 0..L holds the symbols of the nodes of level ℓ from left to right; 0 the
            tokens, L the root alone.
        num_children (`list[np.ndarray]`): entry ℓ holds how many children each node of level ℓ has; empty for the
            tokens' level.
    """

    levels: list[np.ndarray]
    num_children: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.levels[0])

    def spans(self, level: int) -> np.ndarray:
        """The tokens `[start, end)` below every node of a level: int64 `(nodes, 2)`."""
        widths = np.ones(len(self), dtype=np.int64)
        for counts in self.num_children[1 : level + 1]:
            ends = np.cumsum(counts)
            total = np.concatenate([[0], np.cumsum(widths)])
            widths = total[ends] - total[ends - counts]
        ends = np.cumsum(widths)
        return np.stack([ends - widths, ends], axis=1)


class TreePlan:
    """The alias tables and children that [`draw_trees`] reads, and who owns which random numbers."""

    def __init__(self, grammar: Source):
        from ..sentences.expansion import alias_tables  # numba takes a moment to import

        row_starts, counts, limits, aliases, starts, children, total = [], [], [], [], [], [], 0
        roots = np.arange(grammar.num_classes, dtype=np.int32)[None, :, None]
        levels = [([roots], [grammar.root_probs[None]]), *zip(grammar.rules, grammar.rule_probs, strict=True)]
        for rules, probs in levels:
            p = np.concatenate(probs, axis=1)
            limit, alias = np.empty(p.shape, np.uint64), np.empty(p.shape, np.int32)
            alias_tables(p, limit, alias)
            row_starts.append(total)
            counts.append(p.shape[1])
            limits.append(limit.ravel())
            aliases.append(alias.ravel().astype(np.int64) + total)
            total += p.size
            widths = np.concatenate([np.full(group.shape[1], group.shape[2]) for group in rules])
            starts.append(np.tile(widths, len(p)))
            children.append(np.concatenate([group.reshape(len(p), -1) for group in rules], axis=1).ravel())
        self.row_starts: np.ndarray = np.array(row_starts)
        self.rule_counts: np.ndarray = np.array(counts)
        self.limits: np.ndarray = np.concatenate(limits)
        self.aliases: np.ndarray = np.concatenate(aliases)
        self.child_starts: np.ndarray = np.concatenate([[0], np.cumsum(np.concatenate(starts))])
        self.children: np.ndarray = np.concatenate(children).astype(np.int32)
        widest = [max(group.shape[2] for group in rules) for rules in grammar.rules]
        self.numbers_per_sentence: int = 1 + sum(int(np.prod(widest[:g], dtype=object)) for g in range(len(widest)))

    def draw(
        self, key: np.ndarray, attempt: int, indices: np.ndarray, with_trees: bool, dtype: np.dtype
    ) -> tuple[np.ndarray, ...]:
        """What [`~rhm_hf.grammar.trees.tree_kernels.draw_trees`] returns for some sentences."""
        from .tree_kernels import draw_trees

        return draw_trees(
            key,
            attempt,
            indices,
            self.numbers_per_sentence,
            self.row_starts,
            self.rule_counts,
            self.limits,
            self.aliases,
            self.child_starts,
            self.children,
            with_trees,
            np.empty(0, dtype),
        )

    def trees(self, key: np.ndarray, attempt: int, indices: np.ndarray, dtype: np.dtype) -> list[Tree]:
        """The derivations of the same sentences."""
        flat, _, sizes, arities = self.draw(key, attempt, indices, True, dtype)
        depth = len(self.rule_counts) - 1
        symbols = np.split(flat, np.cumsum(sizes.ravel())[:-1])
        inner = np.split(arities, np.cumsum(sizes[:, :-1].ravel())[:-1])
        none = np.zeros(0, np.int32)
        return [
            Tree(
                symbols[i * (depth + 1) : (i + 1) * (depth + 1)][::-1],
                [none, *inner[i * depth : (i + 1) * depth][::-1]],
            )
            for i in range(len(sizes))
        ]


def drawn_derivations(
    source: Source, plan: TreePlan, sentences: np.ndarray, seed: int, split: str, start: int
) -> list[Tree]:
    """The trees from which the sentences of `sample` were drawn.

    With `disjoint=True` a sentence is the first of several draws that falls into its split's region: the first draw
    that gives these tokens.
    """
    key, lengths = philox_key(seed, split), source.lengths_of(sentences)
    found: list[Tree | None] = [None] * len(sentences)
    missing = np.arange(len(sentences))
    for attempt in range(MAX_ATTEMPTS):
        if not len(missing):
            break
        for i, tree in zip(missing, plan.trees(key, attempt, start + missing, source.token_dtype), strict=True):
            if np.array_equal(tree.levels[0], sentences[i, : lengths[i]]):
                found[i] = tree
        missing = np.array([i for i in missing if found[i] is None], dtype=np.int64)
    return found
