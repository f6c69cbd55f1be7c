"""From rows to a batch for a causal language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class RHMCollator:
    """Prepends BOS to sentences of symbols and makes int64 tensors, for the stock `Trainer` or any loop.

    `labels` equal `input_ids`: transformers' models shift them by one, so that BOS is never predicted and all d
    symbols are.

    Args:
        num_symbols (`int`): v, the number of leaf symbols; BOS has id v.
        columns (`Sequence[str]`, *optional*, defaults to none): further columns to keep, as int64 tensors (`label`,
            `level_1`, ..); all others are dropped (`label` would reach a language model as an unknown argument).
    """

    num_symbols: int
    columns: Sequence[str] = ()

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows of equal length d into `input_ids` and `labels` of shape `(batch, d + 1)`."""
        symbols = _column(examples, "input_ids")
        if symbols.ndim != 2:
            raise ValueError(f"input_ids has shape {tuple(symbols.shape)} once stacked: rows must be lists of symbols")
        if symbols.numel() and not 0 <= symbols.min() <= symbols.max() < self.num_symbols:
            bad = symbols[(symbols < 0) | (symbols >= self.num_symbols)][0].item()
            raise ValueError(
                f"input_ids holds {bad}: with num_symbols={self.num_symbols} symbols are 0 to {self.num_symbols - 1}"
            )
        input_ids = torch.nn.functional.pad(symbols, (1, 0), value=self.num_symbols)
        batch = {"input_ids": input_ids, "labels": input_ids.clone()}
        return batch | {name: _column(examples, name) for name in self.columns}


def _column(examples: Sequence[Mapping[str, Any]], name: str) -> torch.Tensor:
    if not examples:
        raise ValueError("examples=[] has no rows to collate")
    try:
        rows = [np.asarray(example[name]) for example in examples]
    except KeyError:
        raise ValueError(f"column {name!r} is missing: the rows have {', '.join(examples[0])}") from None
    if len({row.shape for row in rows}) > 1:
        raise ValueError(f"the rows of {name} differ in length: {sorted({row.shape for row in rows})}")
    stacked = np.stack(rows)
    if stacked.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {stacked.dtype}: symbols are integers")
    return torch.from_numpy(stacked.astype(np.int64))
