"""`FixedTree`: sources whose sentences all have one tree, with nodes by level and position."""

import math

import numpy as np

from ..checks import NonNegativeIndex, NonNegativeInt, Seed
from .source import Source


class FixedTree(Source):
    """Sentences of one length whose hidden symbols lie on the levels 1 .. `depth` of one tree.

    A subclass has the attributes `depth` and `sentence_length`, the methods that raise `NotImplementedError` here, and
    what [`Source`] asks for. Level 0 holds the tokens; level `depth` has one node, whose symbol is the class.
    """

    has_blocks = True

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0 (tokens) .. L (root)."""
        raise NotImplementedError

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        raise NotImplementedError

    def block_length(self, level: int) -> int:
        """The number of tokens below one node of a level, 0..L."""
        return math.prod(self.tuple_size_at(below) for below in range(1, self._checked_level(level, 0) + 1))

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels 0 .. `parsed_depth` that given sentences `(num, sentence_length)` determine, tokens first."""
        raise NotImplementedError

    @property
    def max_length(self) -> int:
        """d, in tokens."""
        return self.sentence_length

    @property
    def parsed_depth(self) -> int:
        """The highest level that tokens determine: L where rules are unambiguous."""
        return self.depth

    @property
    def num_classes(self) -> int:
        """n_c, the number of symbols of the one node of level L."""
        return self.num_symbols_at(self.depth)

    def num_nodes_at(self, level: int) -> int:
        """The number of nodes of a level, 0..L."""
        return self.sentence_length // self.block_length(level)

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[np.ndarray]:
        """The derivations of the sentences of `sample`: entry ℓ = 0..L of shape `(num, nodes at level ℓ)`, 0 the
        tokens."""
        return self.parse(self.sample(num, seed, split, sampling, start, disjoint))

    def classes(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> np.ndarray:
        """The root's symbols of the same sentences: int64 `(num,)`."""
        return self.derivations(num, seed, split, sampling, start, disjoint)[-1][:, 0].astype(np.int64)
