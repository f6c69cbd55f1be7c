"""Sentences of varying length and their trees as a pure function of (grammar, seed, split, index)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...checks import SEED_LIMIT, check_integer
from ..sentences.expansion import alias_tables
from ..sentences.permutation import philox_key
from ..sentences.sampling import MAX_ATTEMPTS, REGIONS, SPLITS, resolve_sampling


BATCH_TOKENS = 2**22  # drawn at once, about: bounds the memory beside the result


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

    def __init__(self, grammar):
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
        self.row_starts, self.rule_counts = np.array(row_starts), np.array(counts)
        self.limits, self.aliases = np.concatenate(limits), np.concatenate(aliases)
        self.child_starts = np.concatenate([[0], np.cumsum(np.concatenate(starts))])
        self.children = np.concatenate(children).astype(np.int32)
        widest = [max(group.shape[2] for group in rules) for rules in grammar.rules]
        self.numbers_per_sentence = 1 + sum(int(np.prod(widest[:g], dtype=object)) for g in range(len(widest)))

    def draw(self, key, first: int, num: int, region, hash_key, with_trees: bool, dtype: np.dtype):
        from .tree_kernels import draw_trees

        return draw_trees(
            key,
            first,
            num,
            self.numbers_per_sentence,
            self.row_starts,
            self.rule_counts,
            self.limits,
            self.aliases,
            self.child_starts,
            self.children,
            region,
            hash_key,
            1 if region == (0, 10) else MAX_ATTEMPTS,
            with_trees,
            np.empty(0, dtype),
        )


class DrawnTrees:
    """How a source of trees draws sentences and derivations; a mixin of [`TreeGrammar`]."""

    @cached_property
    def _plan(self) -> TreePlan:
        return TreePlan(self)

    def sample(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
        return_lengths: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Sentences `start .. start + num - 1` of a split, padded with PAD = v + 1.

        Args:
            num (`int`): number of sentences.
            seed (`int`, *optional*, defaults to 0): picks the sentences, in `[0, 2^63)`.
            split (`str`, *optional*, defaults to `"train"`): `"train"`, `"validation"`, `"test"` or `"evaluation"`.
            sampling (`str`, *optional*): `"iid"`, the default and the only choice: sentences are not equiprobable.
            start (`int`, *optional*, defaults to 0): index of the first sentence.
            disjoint (`bool`, *optional*, defaults to `False`): keeps the splits from sharing any sentence: each owns a
                region of a keyed hash, and a sentence is the first of its draws that falls into it.
            return_lengths (`bool`, *optional*, defaults to `False`): also return the numbers of tokens.

        Returns:
            `np.ndarray` of shape `(num, longest of these)` and `token_dtype`; with `return_lengths` also int64 `(num,)`.

        Raises:
            `ValueError`: for arguments out of range, and for `sampling="unique"`.
        """
        parts = [part[:2] for part in self._drawn(num, seed, split, sampling, start, disjoint, with_trees=False)]
        from .tree_kernels import pad_rows

        longest = max((int(lengths.max()) for _, lengths in parts if len(lengths)), default=0)
        rows, at = np.empty((num, longest), dtype=self.token_dtype), 0
        for flat, lengths in parts:
            pad_rows(flat, lengths, self.token_dtype.type(self.vocab_size + 1), rows[at : at + len(lengths)])
            at += len(lengths)
        if not return_lengths:
            return rows
        return rows, np.concatenate([np.zeros(0, np.int64), *(lengths for _, lengths in parts)])

    def derivations(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
    ) -> list[Tree]:
        """The trees that were drawn for the same sentences: what tokens alone do not determine."""
        trees = []
        for flat, _, sizes, arities in self._drawn(num, seed, split, sampling, start, disjoint, with_trees=True):
            symbols = np.split(flat, np.cumsum(sizes.ravel())[:-1])
            inner = np.split(arities, np.cumsum(sizes[:, :-1].ravel())[:-1])
            per_tree = self.depth + 1
            for i in range(len(sizes)):
                levels = symbols[i * per_tree : (i + 1) * per_tree][::-1]
                counts = inner[i * self.depth : (i + 1) * self.depth][::-1]
                trees.append(Tree(levels, [np.zeros(0, np.int32), *counts]))
        return trees

    def _drawn(self, num, seed, split, sampling, start, disjoint, with_trees):
        num, start = check_integer("num", num, 0), check_integer("start", start, 0)
        seed = check_integer("seed", seed, 0, SEED_LIMIT)
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown: use one of {', '.join(SPLITS)}")
        if split == "evaluation" and disjoint:
            raise ValueError(
                "split='evaluation' is sampled with replacement: it cannot have disjoint=True; use 'test'"
            )
        resolve_sampling(self, sampling)
        plan = self._plan
        if (start + num) * plan.numbers_per_sentence >= 2**63:
            raise ValueError(
                f"start={start} with num={num} is too large: a split has "
                f"{2**63 // plan.numbers_per_sentence} sentences at most"
            )
        region = REGIONS[split] if disjoint else (0, 10)
        keys = philox_key(seed, split), philox_key(seed, "disjoint")
        size = max(int(BATCH_TOKENS / self.mean_length), 1)
        parts = []
        for begin in range(0, num, size):
            count = min(size, num - begin)
            part = plan.draw(keys[0], start + begin, count, region, keys[1], with_trees, self.token_dtype)
            if (part[1] < 0).any():
                raise ValueError(
                    f"disjoint=True leaves split={split!r} (almost) without sentences: none of {MAX_ATTEMPTS} draws "
                    f"from {self.name} with seed={seed} fell into its region; use disjoint=False or a larger grammar"
                )
            parts.append(part)
        return parts
