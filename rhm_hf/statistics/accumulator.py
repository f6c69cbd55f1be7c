"""One mergeable accumulator for statistics and metrics: batches, shards and devices are all merged the same way."""

import math
from typing import TYPE_CHECKING

import torch

from ..checks import checked


if TYPE_CHECKING:
    from accelerate import Accelerator


class Accumulator:
    """Mean per item of independent rows, each the sum over some items: sum of sums / sum of counts, in float64.

    A row is a sentence or a document, its items the judged tokens: the standard error treats rows as independent and
    items of one row as not (the delta method for a ratio of means). Infinite sums are counted, not added. Nothing is
    read back from the device before the end.

    Args:
        shape (`tuple[int, ...]`, *optional*, defaults to `()`): shape of one row, an array of separate statistics.
        device (`torch.device`, *optional*): where the sums live.
    """

    @checked
    def __init__(self, shape: tuple[int, ...] = (), device: torch.device | str | None = None):
        # One tensor, so that one reduction merges everything; the order is that of _FIELDS.
        self.state = torch.zeros((len(_FIELDS), *shape), dtype=torch.float64, device=device)

    def add(self, sums: torch.Tensor, counts: torch.Tensor | float = 1.0, weights: torch.Tensor | float = 1.0) -> None:
        """Adds rows.

        Args:
            sums (`torch.Tensor`): shape `(n, *shape)`, the sum over the items of each row.
            counts (`torch.Tensor`, *optional*, defaults to 1): items of each row, broadcast to `sums`.
            weights (`torch.Tensor`, *optional*, defaults to 1): weight of each row, shape `(n,)`.
        """
        sums = sums.to(self.state)
        counts = torch.as_tensor(counts).to(self.state).expand_as(sums)
        weights = torch.as_tensor(weights).to(self.state)
        weights = weights.reshape(*weights.shape, *(1,) * (sums.ndim - weights.ndim)).expand_as(sums)
        infinite = torch.isinf(sums)
        finite = torch.where(infinite, 0.0, sums)
        moments = [weights * m for m in (finite, counts, finite**2, finite * counts, counts**2)]
        self.state += torch.stack([weights, weights**2, *moments, infinite.to(self.state)]).sum(dim=1)

    def merge(self, other: "Accumulator") -> "Accumulator":
        """Adds what another accumulator of the same shape has seen; returns this one."""
        self.state += other.state.to(self.state.device)
        return self

    def reduce(self, accelerator: "Accelerator | None") -> "Accumulator":
        """Merges the accumulators of all processes of an `accelerate.Accelerator`; returns this one."""
        if accelerator is not None and accelerator.num_processes > 1:
            self.state: torch.Tensor = accelerator.reduce(self.state, reduction="sum")
        return self

    def _field(self, name: str) -> torch.Tensor:
        return self.state[_FIELDS.index(name)]

    @property
    def num_items(self) -> torch.Tensor:
        """How many items were seen, weighted."""
        return self._field("count")

    @property
    def num_infinite(self) -> torch.Tensor:
        """How many rows had an infinite sum."""
        return self._field("infinite").long()

    @property
    def mean(self) -> torch.Tensor:
        """Mean per item; infinite where a row was, NaN where no item was seen."""
        mean = self._field("sum") / self._field("count")
        return torch.where(self._field("infinite") > 0, math.inf, mean)

    @property
    def mean_per_row(self) -> torch.Tensor:
        """Mean of the rows' sums; infinite where a row was."""
        mean = self._field("sum") / self._field("weight")
        return torch.where(self._field("infinite") > 0, math.inf, mean)

    @property
    def stderr(self) -> torch.Tensor:
        """Standard error of `mean` for independent rows; infinite where unknown (one row, or an infinite one)."""
        weight, ratio = self._field("weight"), self._field("sum") / self._field("count")
        rows = weight**2 / self._field("weight2")  # effective number; the number of rows where all weigh the same
        squares = self._field("sum2") - 2 * ratio * self._field("sum_count") + ratio**2 * self._field("count2")
        unknown = (self._field("infinite") > 0) | ~(rows > 1)
        variance = torch.clamp(squares / weight, min=0) / torch.where(unknown, 1.0, rows - 1)
        return torch.where(unknown, math.inf, torch.sqrt(variance) * weight / self._field("count"))


_FIELDS = ("weight", "weight2", "sum", "count", "sum2", "sum_count", "count2", "infinite")
