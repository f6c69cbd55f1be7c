"""Sparse charts: the vectors of the spans that can be derived at all, and how two of them that meet make a third.

Most spans of a sentence derive from no symbol, so a chart is a list of rows, sorted by sentence, start and end. Row r
stands for the vector `vectors[r] * 2^exponents[r]`. Dividing by powers of two is exact, so nothing underflows in long
sentences and counts of derivations stay integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch


CHUNK_BYTES = {"cpu": 2**22, "cuda": 2**28}  # of temporary products of pairs
PAIRS = {"cpu": 2**19, "cuda": 2**24}  # of rows that meet, at a time: about 100 bytes each, beside their products
NOWHERE = -(2**40)  # the exponent of zero


class TooLarge(Exception):
    """A chart outgrew its budget: the caller takes fewer sentences at once."""


@dataclass(frozen=True)
class Frame:
    """The batch that charts belong to: n sentences of up to T tokens, the semiring, and how much memory they may take.

    Args:
        budget (`int`): bytes of all rows of a level; unlimited where it is 0.
        maximise (`bool`): whether alternatives are maximised instead of summed.
    """

    num_sentences: int
    longest: int
    budget: int = 0
    maximise: bool = False

    def places(self, sentence: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """One number for a position 0..T of a sentence."""
        return sentence * (self.longest + 1) + position

    @property
    def num_places(self) -> int:
        return self.num_sentences * (self.longest + 1)

    def check(self, rows: int, width: int, size: int) -> None:
        if self.budget and self.num_sentences > 1 and rows * width * size > self.budget:
            raise TooLarge


@dataclass(frozen=True)
class Rows:
    """Vectors of spans `[start, end)` of sentences, see the module.

    Where all vectors have one entry only, as those of observed tokens, `single` says where it is, and `vectors` is
    `(rows, 1)`.
    """

    sentence: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    vectors: torch.Tensor
    exponents: torch.Tensor
    single: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.sentence)

    def select(self, index: torch.Tensor) -> "Rows":
        fields = (self.sentence, self.start, self.end, self.vectors, self.exponents, self.single)
        return Rows(*(field if field is None else field.index_select(0, index) for field in fields))

    def dense(self, width: int) -> torch.Tensor:
        """The vectors with all their entries, `(rows, width)`."""
        if self.single is None:
            return self.vectors
        return self.vectors.new_zeros(len(self), width).scatter_(1, self.single[:, None], self.vectors)

    @classmethod
    def joined(cls, parts: list["Rows"]) -> "Rows":
        """The rows of several lists, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = ("sentence", "start", "end", "vectors", "exponents", "single")
        columns = ([getattr(part, name) for part in parts] for name in names)
        return cls(*(None if column[0] is None else torch.cat(column) for column in columns))

    @cached_property
    def peaks(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where each vector is largest, how large, and whether it is zero elsewhere."""
        if self.single is not None:
            return self.single, self.vectors[:, 0], torch.ones_like(self.single, dtype=torch.bool)
        vectors = self.vectors.detach()
        largest, peak = vectors.max(1)
        return peak, largest, (vectors != 0).sum(1) == 1

    def times(self, table: torch.Tensor, maximise: bool = False) -> torch.Tensor:
        """Every vector times the matrix `(width, columns)`; one look-up for vectors with a single entry."""
        if self.vectors.requires_grad:
            return self.vectors @ table
        peak, largest, is_hot = self.peaks
        if self.single is not None or bool(is_hot.all()):
            return table.index_select(0, peak).mul_(largest[:, None])
        result = self.vectors.new_empty(len(self), table.shape[1])
        hot, rest = is_hot.nonzero().squeeze(1), (~is_hot).nonzero().squeeze(1)
        result[hot] = table.index_select(0, peak[hot]).mul_(largest[hot, None])
        if not maximise:
            result[rest] = self.vectors[rest] @ table
            return result
        size = chunk_of(table, table.numel())
        for part in rest.split(size):
            result[part] = (self.vectors[part, :, None] * table).amax(1)
        return result


def blocks(frame: Frame, left: Rows, right: Rows) -> list[Rows]:
    """`left` in parts that meet not too many rows of `right`; all rows that start together stay together."""
    starts = torch.bincount(frame.places(right.sentence, right.start), minlength=frame.num_places)
    counts = starts[frame.places(left.sentence, left.end)]
    limit = PAIRS["cpu" if counts.device.type == "cpu" else "cuda"]
    if int(counts.sum()) <= limit:
        return [left]
    place = frame.places(left.sentence, left.start)
    before = (counts.cumsum(0) - counts)[torch.searchsorted(place, place)]
    cuts = torch.div(before, limit, rounding_mode="floor").diff().nonzero().squeeze(1) + 1
    return [left.select(part) for part in torch.tensor_split(torch.arange(len(left), device=cuts.device), cuts.cpu())]


def meeting(frame: Frame, left: Rows, right: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs of rows where the right one starts where the left one ends: their numbers, `(pairs,)` each."""
    starts = torch.bincount(frame.places(right.sentence, right.start), minlength=frame.num_places)
    first = torch.cat([starts.new_zeros(1), starts.cumsum(0)])
    place = frame.places(left.sentence, left.end)
    counts = starts[place]
    pair_left = torch.repeat_interleave(torch.arange(len(left), device=counts.device), counts)
    before = counts.cumsum(0) - counts
    pair_right = torch.arange(len(pair_left), device=counts.device) + (first[place] - before)[pair_left]
    return pair_left, pair_right


def gathered(
    frame: Frame,
    spans: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    exponents: torch.Tensor,
    values_of: Callable[[slice], torch.Tensor],
    width: int,
    dtype: torch.dtype,
) -> Rows:
    """Sums vectors of equal spans (or takes the entries' maxima) to rows; rows of zeros are left out.

    Args:
        spans: sentence, start and end of each of P vectors.
        exponents (`torch.Tensor`): int64 `(P,)`.
        values_of (`Callable`): gives the vectors of a slice of them, `(.., width)`.
    """
    sentence, start, end = spans
    key = frame.places(sentence, start) * (frame.longest + 1) + end
    cells, inverse = _distinct(key, frame.num_places * (frame.longest + 1))
    frame.check(len(cells), width, dtype.itemsize)
    sums, top = summed(frame, inverse, len(cells), exponents, values_of, width, dtype)
    largest = sums.detach().amax(1)
    kept = largest > 0
    if not bool(kept.all()):
        kept = kept.nonzero().squeeze(1)
        cells, sums, top, largest = cells[kept], sums[kept], top[kept], largest[kept]
    sums, top = rescaled(sums, top, largest)
    place = cells // (frame.longest + 1)
    return Rows(place // (frame.longest + 1), place % (frame.longest + 1), cells % (frame.longest + 1), sums, top)


def summed(
    frame: Any, inverse: Any, num_cells: int, exponents: Any, values_of: Any, width: int, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors added up in `num_cells` cells, `(cells, width)`, and the exponents of these `(cells,)`."""
    top = torch.full((num_cells,), NOWHERE, device=inverse.device, dtype=torch.int64)
    top.scatter_reduce_(0, inverse, exponents, "amax")
    scale = torch.exp2((exponents - top[inverse]).to(dtype))[:, None]
    sums = torch.zeros(num_cells, width, dtype=dtype, device=inverse.device)
    size = chunk_of(sums, width)
    for first in range(0, len(inverse), size):
        part = slice(first, first + size)
        values = values_of(part) * scale[part]
        if frame.maximise:
            sums.scatter_reduce_(0, inverse[part, None].expand_as(values), values, "amax")
        else:
            sums.index_add_(0, inverse[part], values)
    return sums, top


def rescaled(vectors: Any, exponents: Any, largest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The same numbers with the largest entry of each vector in [1/2, 1)."""
    shift = torch.frexp(largest)[1].to(torch.int64)
    return vectors * torch.exp2(-shift.to(vectors.dtype))[:, None], exponents + shift


def _distinct(key: torch.Tensor, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The sorted distinct keys, and which of them each key is."""
    if limit > 8 * len(key) + 2**20:
        return torch.unique(key, return_inverse=True)
    is_there = torch.zeros(limit, dtype=torch.bool, device=key.device)
    is_there[key] = True
    cells = is_there.nonzero().squeeze(1)
    number = torch.empty(limit, dtype=torch.int64, device=key.device)
    number[cells] = torch.arange(len(cells), device=key.device)
    return cells, number[key]


def chunk_of(like: torch.Tensor, width: int) -> int:
    """How many products of `width` numbers are made at a time."""
    budget = CHUNK_BYTES["cpu" if like.device.type == "cpu" else "cuda"]
    return max(1, budget // (width * like.element_size()))
