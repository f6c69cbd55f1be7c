"""The passes of a model over windows: which tokens each call sees, and the losses summed for every row.

One pass serves several targets in a row where the caller allows it (`targets_per_window` K > 1): from some length on,
a pass that the middle one of k tokens sees with n visible tokens serves all k, whose contexts differ from n by at most
n / 32. Its prefixes are all computed in any case, so that a target costs n / k tokens instead of n.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from rhm_hf.checks import check_integer
from rhm_hf.judging.bare import share_of_process

from .reader import Reader
from .windows import Documents, Windows


if TYPE_CHECKING:
    from accelerate import Accelerator

SHARE = 16  # of n: as many targets a pass serves at most, as a power of 2


def targets_of_a_pass(n: int, targets: int) -> int:
    """k, a power of 2: how many of a window's targets in a row (a power of 2) one pass of n visible tokens serves."""
    return min(targets, 1 << max(0, (n // SHARE).bit_length() - 1))


def longest_pass(n: int, targets: int) -> int:
    """The tokens that the last target of such a pass sees, at most."""
    return n + targets_of_a_pass(n, targets) // 2


def tokens_of_a_window(n: int, targets: int) -> int:
    """Tokens of context that the passes of one window have at length n, about."""
    return n * (targets // targets_of_a_pass(n, targets))


@dataclass(frozen=True)
class Passes:
    """What is read, and how.

    Args:
        reader ([`Reader`]): the model.
        documents ([`Documents`]): tokens.
        windows ([`Windows`]): N tokens and the targets after them.
        length (`int`): N.
        targets (`int`): K, the last tokens of a window, the same ones at every length; a power of 2.
        paired (`bool`): a pass for every n, or one for all.
        in_place (`bool`): hidden tokens keep their places.
        per (`str`): `"token"` or `"character"`.
        batch_size (`int`, *optional*): windows a call of the model; by default what the reader says.
        accelerator (`Accelerator`, *optional*): splits the windows over its processes.
    """

    reader: Reader
    documents: Documents
    windows: Windows
    length: int
    targets: int
    paired: bool
    in_place: bool
    per: str
    batch_size: int | None
    accelerator: "Accelerator | None"

    @property
    def width(self) -> int:
        """Tokens of a window: every target has N tokens before it."""
        return self.length + self.targets

    def tokens(self, lengths: list[int]) -> int:
        """Tokens of context of all passes, about: what a progress bar counts."""
        if not self.paired:
            return len(self.windows.starts) * self.length
        return len(self.windows.starts) * sum(tokens_of_a_window(n, self.targets) for n in lengths)

    def row_sums(self, lengths: list[int], bar: tqdm) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses `(rows, lengths)` and targets, or their characters, `(rows,)`, summed over the windows of a row.

        A window of several targets counts as one, with their mean loss and mean number of characters.
        """
        device = self.reader.model.device
        sums = torch.zeros(self.windows.num_rows, len(lengths), dtype=torch.float64, device=device)
        counts = torch.zeros(self.windows.num_rows, dtype=torch.float64, device=device)
        mine = share_of_process(len(self.windows.starts), self.accelerator)
        if self.paired:
            for i, n in enumerate(lengths):
                for tokens, rows in self._batches(mine, n):
                    sums[:, i].index_add_(0, rows, self._read(tokens, n))
                    bar.update(len(tokens) * tokens_of_a_window(n, self.targets))
        else:
            columns = [n - self.reader.first for n in lengths]
            for tokens, rows in self._batches(mine, self.length):
                sums.index_add_(0, rows, self.reader.one_pass(tokens)[:, columns])
                bar.update(len(tokens) * self.length)
        rows = torch.from_numpy(self.windows.rows[mine.start : mine.stop]).to(device)
        units = self._units(self.windows.starts[mine.start : mine.stop])
        counts.index_add_(0, rows, torch.from_numpy(units).to(device))
        if self.accelerator is not None and self.accelerator.num_processes > 1:
            sums, counts = (self.accelerator.reduce(tensor, reduction="sum") for tensor in (sums, counts))
        return sums, counts

    def _read(self, tokens: torch.Tensor, n: int) -> torch.Tensor:
        """Losses `(batch,)` given n tokens, means over a window's targets."""
        if self.in_place:
            return self.reader.truncated_in_place(tokens, n)
        served = targets_of_a_pass(n, self.targets)
        before = n - served // 2  # what the first target of a pass sees
        pieces = tokens[:, self.length - before :].unfold(1, before + served, served)
        losses = self.reader.truncated(pieces.flatten(0, 1), before)
        return losses.view(len(tokens), -1).mean(1)

    def _batches(self, mine: range, n: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Windows `(batch, width)` and their rows `(batch,)`, as many as the model reads in one call."""
        if self.batch_size is not None:
            size = self.batch_size
        elif not self.paired or self.in_place:
            size = self.reader.batch_size(self.width, 1 if self.paired else self.width)
        else:
            served = targets_of_a_pass(n, self.targets)
            size = max(1, self.reader.batch_size(longest_pass(n, self.targets), served) // (self.targets // served))
        device = self.reader.model.device
        for start in range(mine.start, mine.stop, check_integer("batch_size", size, 1)):
            batch = slice(start, min(start + size, mine.stop))
            places = self.windows.starts[batch, None] + np.arange(self.width)
            tokens = torch.from_numpy(self.documents.ids[places].astype(np.int64)).to(device)
            yield tokens, torch.from_numpy(self.windows.rows[batch]).to(device)

    def _units(self, starts: np.ndarray) -> np.ndarray:
        """What a window's losses are divided by: 1, or the mean characters of its targets.

        In one pass every n has targets of its own, but a common unit: the mean characters of them all.
        """
        if self.per == "token":
            return np.ones(len(starts))
        first = self.length if self.paired else self.reader.first
        return self.documents.characters[starts[:, None] + np.arange(first, self.width)].mean(1)
