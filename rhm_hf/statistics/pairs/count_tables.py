"""Where counts are kept: one dense table for every distance and block, or the sorted keys of the pairs that occur.

Small tables on the CPU are filled by the compiled kernel, everything else by torch: `bincount` into dense tables (on
CUDA), sorting into sparse ones.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from .count_kernels import count_pairs


# Sparse counts are sorted into the table when more than this many new entries wait, or more than the table has.
PENDING_ENTRIES = 2**22


@dataclass(frozen=True)
class Layout:
    """What is counted: the distances, the anchor, the shape of a table and how pairs are dealt to blocks."""

    distances: tuple[int, ...]
    only_last: bool
    num_left: int
    num_right: int
    num_blocks: int
    block_length: int

    @property
    def size(self) -> int:
        return self.num_left * self.num_right


@dataclass(frozen=True)
class Piece:
    """Some tokens of a corpus.

    Args:
        left, right (`torch.Tensor`): the ids that are counted as left and right members, shape `(n,)`.
        starts (`torch.Tensor`): int64 on the CPU, where documents start, and n.
        first (`int`): tokens before it are lent by an earlier piece, to be left members only.
        position (`int`): number of token `first` in the corpus.
    """

    left: torch.Tensor
    right: torch.Tensor
    starts: torch.Tensor
    first: int
    position: int

    def segments(self, layout: Layout) -> list[tuple[int, int, int]]:
        """Ranges of tokens that belong to one block: (block, first, last)."""
        n, length = len(self.right), layout.block_length
        found, at = [], self.first
        while at < n:
            number = self.position + at - self.first
            end = min(n, at + length - number % length)
            found.append((number // length % layout.num_blocks, at, end))
            at = end
        return found

    def keys(self, layout: Layout, distance: int) -> torch.Tensor:
        """One key (block, left, right) for every pair of a distance."""
        starts, n = self.starts.to(self.right.device), len(self.right)
        if layout.only_last:
            right = starts[1:] - 1
            right = right[(right - distance >= starts[:-1]) & (right >= self.first)]
            block = (right - self.first + self.position) // layout.block_length % layout.num_blocks
            key = block * layout.num_left + self.left[right - distance].long()
            return key * layout.num_right + self.right[right]
        low = max(self.first, distance)
        if low >= n:
            return torch.empty(0, dtype=torch.int64, device=starts.device)
        keys = (self.left[low - distance : n - distance].long() * layout.num_right).add_(self.right[low:])
        for block, first, last in self.segments(layout):
            keys[max(first - low, 0) : max(last - low, 0)] += block * layout.size
        if len(starts) > 2:
            document = torch.arange(len(starts) - 1, device=starts.device).repeat_interleave(starts.diff())
            keys = keys[document[low:] == document[low - distance : n - distance]]
        return keys


class DenseTables:
    """Counts `(distances, blocks, left, right)`, int64."""

    def __init__(self, layout: Layout, device: torch.device):
        self.layout = layout
        shape = (len(layout.distances), layout.num_blocks, layout.num_left, layout.num_right)
        self.counts: torch.Tensor = torch.zeros(shape, dtype=torch.int64, device=device)

    def count(self, piece: Piece, num_threads: int) -> None:
        """Adds the pairs of a piece; threads share the distances."""
        if self.counts.is_cuda:
            for table, distance in zip(self.counts, self.layout.distances, strict=True):
                keys = piece.keys(self.layout, distance)
                table += torch.bincount(keys, minlength=table.numel()).view(table.shape)
            return
        layout = self.layout
        left, right, starts = piece.left.numpy(), piece.right.numpy(), piece.starts.numpy()
        segments = np.array(piece.segments(layout), dtype=np.int64)

        def count_distance(index: int) -> None:
            tables = self.counts[index].view(layout.num_blocks, -1).numpy()
            scratch = np.zeros((4, layout.size), np.uint32)
            distance, only_last = layout.distances[index], layout.only_last
            count_pairs(left, right, starts, segments, distance, only_last, layout.num_right, tables, scratch)

        indices = range(len(self.layout.distances))
        if num_threads == 1:
            list(map(count_distance, indices))
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                list(pool.map(count_distance, indices))

    def merge(self, other: "DenseTables") -> None:
        self.counts += other.counts.to(self.counts.device)

    def entries(self, index: int) -> np.ndarray:
        """The counts of one distance, `(blocks, left, right)`."""
        return self.counts[index].cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts.cpu().numpy()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        self.counts.copy_(torch.from_numpy(state["counts"]))


class SparseTables:
    """For every distance the sorted keys of the pairs that occur, with their counts."""

    def __init__(self, layout: Layout, device: torch.device):
        self.layout = layout
        empty = torch.empty(0, dtype=torch.int64, device=device)
        self.tables: list[tuple[torch.Tensor, torch.Tensor]] = [(empty, empty) for _ in layout.distances]
        self.pending: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in layout.distances]

    def count(self, piece: Piece, num_threads: int) -> None:
        """Adds the pairs of a piece; torch's own threads do the sorting."""
        for index, distance in enumerate(self.layout.distances):
            self._append(index, *_distinct(piece.keys(self.layout, distance)))

    def _append(self, index: int, keys: torch.Tensor, counts: torch.Tensor) -> None:
        self.pending[index].append((keys, counts))
        if sum(len(keys) for keys, _ in self.pending[index]) > max(PENDING_ENTRIES, len(self.tables[index][0])):
            self._sorted(index)

    def _sorted(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.pending[index]:
            keys, counts = map(torch.cat, zip(self.tables[index], *self.pending[index], strict=True))
            keys, order = torch.sort(keys, stable=True)
            keys, ends = _distinct(keys, is_sorted=True)
            sums = counts[order].cumsum(0)[ends.cumsum(0) - 1]
            self.tables[index] = keys, sums.diff(prepend=sums.new_zeros(1))
            self.pending[index] = []
        return self.tables[index]

    def merge(self, other: "SparseTables") -> None:
        for index in range(len(self.tables)):
            keys, counts = other._sorted(index)
            self._append(index, keys.to(self.tables[index][0].device), counts.to(self.tables[index][0].device))

    def entries(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Sorted keys (block * left + left id) * right + right id, and their counts."""
        keys, counts = self._sorted(index)
        return keys.cpu().numpy(), counts.cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        state = {}
        for index in range(len(self.tables)):
            state[f"keys.{index}"], state[f"counts.{index}"] = self.entries(index)
        return state

    def load(self, state: dict[str, np.ndarray]) -> None:
        device = self.tables[0][0].device
        for index in range(len(self.tables)):
            self.tables[index] = tuple(torch.from_numpy(state[f"{k}.{index}"]).to(device) for k in ("keys", "counts"))


def _distinct(keys: torch.Tensor, is_sorted: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorted distinct keys and how often each occurs. On CPUs numpy does this several times faster than torch."""
    if keys.is_cuda:
        unique = torch.unique_consecutive if is_sorted else torch.unique
        return unique(keys, return_counts=True)
    array = keys.numpy()
    if not is_sorted:
        array.sort()  # in place: the keys were made for this
    is_edge = np.ones(len(array) + 1, dtype=bool)
    np.not_equal(array[1:], array[:-1], out=is_edge[1:-1])
    edges = np.flatnonzero(is_edge)
    return torch.from_numpy(array[edges[:-1]]), torch.from_numpy(edges[1:] - edges[:-1])
