"""Where the informative children of a sparse patch can be: all placements of one level, numbered.

A patch has s (s0 + 1) slots for s informative children. Placement "A" gives each child a sub-patch of s0 + 1 slots of
its own; placement "B" lets the children be anywhere in their order (Tomasini and Wyart, arXiv 2404.10727).
"""

import itertools
import math

import numpy as np


KINDS = ("A", "B")
PLACEMENT_LIMIT = 2**20  # placements of one patch that are listed at most


def count_placements(tuple_size: int, sparsity: int, kind: str) -> int:
    """The number of placements of a patch; `ValueError` for an unknown kind or more than 2^20."""
    if kind not in KINDS:
        raise ValueError(
            f"placement={kind!r} is unknown: use 'A' (a sub-patch for each child) or 'B' (anywhere, in order)"
        )
    width = sparsity + 1
    count = width**tuple_size if kind == "A" else math.comb(tuple_size * width, tuple_size)
    if count > PLACEMENT_LIMIT:
        raise ValueError(
            f"sparsity={sparsity} is too large: with tuple_size={tuple_size} and placement={kind!r} a patch has "
            f"{count} placements; at most {PLACEMENT_LIMIT} are supported"
        )
    return count


class Placements:
    """The placements of one level's patches; the rank of one is its place in lexicographic order.

    Args:
        tuple_size (`int`): s, informative children.
        sparsity (`int`): s0, uninformative slots for each of them.
        kind (`str`): `"A"` or `"B"`.

    Attributes:
        slots (`np.ndarray`): int32 of shape `(count, s)`: the slots of the children, increasing.
        count (`int`): their number, (s0 + 1)^s or s (s0 + 1) over s.
    """

    def __init__(self, tuple_size: int, sparsity: int, kind: str):
        self.tuple_size: int = tuple_size
        self.sparsity: int = sparsity
        self.kind: str = kind
        self.width: int = sparsity + 1  # of a sub-patch
        self.num_slots: int = tuple_size * self.width
        self.count: int = count_placements(tuple_size, sparsity, kind)
        if kind == "A":
            digits = np.unravel_index(np.arange(self.count), (self.width,) * tuple_size)
            slots = np.stack(digits, 1) + self.width * np.arange(tuple_size)
        else:
            slots = np.array(list(itertools.combinations(range(self.num_slots), tuple_size)))
        self.slots: np.ndarray = slots.astype(np.int32)
        self.slots.setflags(write=False)

    def rank(self, slots: np.ndarray) -> np.ndarray:
        """The ranks of increasing slots `(n, s)`, -1 where they are no placement (a child outside its sub-patch)."""
        slots = slots.astype(np.int64)
        if self.kind == "A":
            digits = slots - self.width * np.arange(self.tuple_size)
            inside = ((digits >= 0) & (digits < self.width)).all(1)
            return np.where(inside, digits @ self.width ** np.arange(self.tuple_size)[::-1], -1)
        # s (s0 + 1) over s is at most PLACEMENT_LIMIT, so that (s (s0 + 1))^s stays far below 2^63.
        weights = self.num_slots ** np.arange(self.tuple_size, dtype=np.int64)[::-1]
        return np.searchsorted(self.slots @ weights, slots @ weights)

    def hazards(self) -> np.ndarray:
        """P(a child is in slot t | k children are before it, all in allowed slots), shape `(slots, s + 1)`.

        A: 1 / (slots left in the sub-patch) for its own child, else 0; B: (s - k) / (slots left).
        """
        slot, placed = np.arange(self.num_slots)[:, None], np.arange(self.tuple_size + 1)
        if self.kind == "A":
            return np.where(placed == slot // self.width, 1 / (self.width - slot % self.width), 0.0)
        return np.minimum((self.tuple_size - placed) / (self.num_slots - slot), 1.0)

    def occupancy(self) -> np.ndarray:
        """P(child c is in slot t), shape `(slots, s)`."""
        counts = [np.bincount(self.slots[:, child], minlength=self.num_slots) for child in range(self.tuple_size)]
        return np.stack(counts, 1) / self.count


def sparse_suffix(sparsity: int, placement: str) -> str:
    """What the name of a sparse grammar adds to its base's: `-sparse1`, and `-sparse1b` for placement B."""
    return f"-sparse{sparsity}" + "b" * (placement == "B")
