"""Batches as a pure function of (seed, step, rank): nothing to shuffle, skip or restore."""

from typing import Any

import numpy as np
import torch


RESIDENT_SHARE = 0.25  # of the device's free memory that training sentences may take


class Windows:
    """Rows of a text that overlap, cut when they are asked for: row i is `ids[starts[i] : starts[i] + length]`.

    As much of a tensor `(num_windows, length)` as [`Batches`] needs.

    Args:
        ids (`torch.Tensor`): shape `(tokens,)`.
        starts (`torch.Tensor`): shape `(num_windows,)`, int64.
        length (`int`): tokens of a window.
    """

    def __init__(self, ids: torch.Tensor, starts: torch.Tensor, length: int):
        self.ids: torch.Tensor = ids
        self.starts: torch.Tensor = starts
        self.length: int = length
        self._offsets = torch.arange(length, device=ids.device)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        return self.ids[self.starts[indices][:, None] + self._offsets]

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.starts.nbytes

    def to(self, device: torch.device) -> "Windows":
        """The same windows of a text that lies on `device`."""
        return Windows(self.ids.to(device), self.starts.to(device), self.length)


class Batches:
    """The global batch of step k holds positions `k * batch_size .. (k + 1) * batch_size - 1` of an endless stream.

    The stream is one keyed permutation of all rows after another, one per epoch, so an epoch needs no last, incomplete
    batch: a batch may straddle two epochs, and every row is seen once before any is seen again. A process takes its
    slice of the global batch; the union of the slices does not depend on how many processes and micro-batches there
    are.

    Args:
        rows (`torch.Tensor` or [`Windows`]): shape `(num_rows, length)`, any integer type; moved to `device` when they
            take at most a quarter of the free memory there, else their batches are.
        batch_size (`int`): rows per step over all processes and micro-batches.
        seed (`int`): picks the permutations.
        micro_batches (`int`, *optional*, defaults to 1): what a process splits its slice into.
        rank, num_processes (`int`, *optional*): which slice this process takes, of how many.
        device (`torch.device`, *optional*, defaults to CPU): where the batches are wanted.

    Raises:
        `ValueError`: if the global batch does not split evenly.
    """

    def __init__(
        self,
        rows: Any,
        batch_size: int,
        seed: int,
        micro_batches: int = 1,
        rank: int = 0,
        num_processes: int = 1,
        device: torch.device | str = "cpu",
    ):
        if batch_size % (num_processes * micro_batches):
            raise ValueError(
                f"batch_size={batch_size} must be a multiple of the number of processes ({num_processes}) times "
                f"gradient_accumulation_steps={micro_batches}"
            )
        self.device: torch.device = torch.device(device)
        self.resident: bool = _fits(rows, self.device)
        self.rows: Any = rows.to(self.device) if self.resident else rows
        self.batch_size: int = batch_size
        self.seed: int = seed
        self.micro_batches: int = micro_batches
        self.rank: int = rank
        self.num_processes: int = num_processes
        self._permutations: dict[int, torch.Tensor] = {}

    def __call__(self, step: int) -> list[torch.Tensor]:
        """This process's micro-batches of step `step` = 0, 1, ..: each `(batch_size / processes / micro, length)`."""
        indices = self.share(self.indices(step))
        if self.resident:
            return [self.rows[chunk] for chunk in indices]
        return [self.rows[chunk].pin_memory().to(self.device, non_blocking=True) for chunk in indices]

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of what the global batch has: `(micro, batch / processes / micro, ..)`."""
        size = self.batch_size // (self.micro_batches * self.num_processes)
        return rows.view(self.micro_batches, self.num_processes, size, *rows.shape[1:])[:, self.rank]

    def indices(self, step: int) -> torch.Tensor:
        """The rows of the global batch of a step, `(batch_size,)`, where the rows are."""
        begin, parts = step * self.batch_size, []
        end = begin + self.batch_size
        while begin < end:
            epoch, offset = divmod(begin, len(self.rows))
            parts.append(self._permutation(epoch)[offset : offset + end - begin])
            begin += len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch not in self._permutations:
            key = int(np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0])
            # Drawn on the CPU: the same on every device.
            order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(key))
            if self.rows.device.type == "cuda":
                order = order.pin_memory().to(self.device, non_blocking=True)
            self._permutations = {e: p for e, p in self._permutations.items() if e == epoch - 1} | {epoch: order}
        return self._permutations[epoch]


def _fits(rows: torch.Tensor | Windows, device: torch.device) -> bool:
    return device.type != "cuda" or rows.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
