"""From rows to a batch for a causal language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import PositiveInt, checked


@checked
@dataclass
class RHMCollator:
    """Prepends BOS to sentences of symbols and makes int64 tensors, for the stock `Trainer` or any loop.

    `labels` equal `input_ids`: transformers' models shift them by one, so that BOS is never predicted and all d
    symbols are. Where sentences differ in length, set `lengths_vary`: EOS, which is predicted, follows every sentence,
    shorter ones are padded, padding has the label -100, and there is an `attention_mask`.

    Args:
        num_symbols (`int`): v, the number of leaf symbols; BOS and EOS have id v, PAD has id v + 1.
        columns (`Sequence[str]`, *optional*, defaults to none): further columns to keep, as int64 tensors (`label`,
            `level_1`, ..); all others are dropped (`label` would reach a language model as an unknown argument).
        lengths_vary (`bool`, *optional*, defaults to `False`): whether sentences differ in length.
    """

    num_symbols: PositiveInt
    columns: Sequence[str] = ()
    lengths_vary: bool = False

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Makes `input_ids` and `labels`, `(batch, d + 1)`; where lengths vary `(batch, longest + 2)` and a mask."""
        rows = _rows(examples, "input_ids")
        for row in rows:
            self._check(row)
        batch = self._padded(rows) if self.lengths_vary else self._stacked(rows)
        return batch | {name: _stack(_rows(examples, name), name) for name in self.columns}

    def _stacked(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        input_ids = torch.nn.functional.pad(_stack(rows, "input_ids"), (1, 0), value=self.num_symbols)
        return {"input_ids": input_ids, "labels": input_ids.clone()}

    def _padded(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        v = self.num_symbols
        lengths = torch.tensor([len(row) + 2 for row in rows])
        input_ids = torch.full((len(rows), int(lengths.max())), v + 1)
        for filled, row in zip(input_ids, rows, strict=True):
            filled[: len(row) + 2] = torch.from_numpy(np.concatenate([[v], row, [v]]))
        counts = torch.arange(input_ids.shape[1]) < lengths[:, None]
        return {
            "input_ids": input_ids,
            "attention_mask": counts.long(),
            "labels": torch.where(counts, input_ids, -100),
        }

    def _check(self, row: np.ndarray) -> None:
        if row.ndim != 1:
            raise ValueError(f"input_ids holds a row of shape {row.shape}: rows must be lists of symbols")
        if len(row) and not 0 <= row.min() <= row.max() < self.num_symbols:
            bad = row[(row < 0) | (row >= self.num_symbols)][0]
            raise ValueError(
                f"input_ids holds {bad}: with num_symbols={self.num_symbols} symbols are 0 to {self.num_symbols - 1}"
            )


def _rows(examples: Sequence[Mapping[str, Any]], name: str) -> list[np.ndarray]:
    """A column's rows as int64 arrays."""
    if not examples:
        raise ValueError("examples=[] has no rows to collate")
    try:
        rows = [np.asarray(example[name]) for example in examples]
    except KeyError:
        raise ValueError(f"column {name!r} is missing: the rows have {', '.join(examples[0])}") from None
    for row in rows:
        if row.size and row.dtype.kind not in "iu":
            raise ValueError(f"{name} has dtype {row.dtype}: symbols are integers")
    return [row.astype(np.int64) for row in rows]


def _stack(rows: list[np.ndarray], name: str) -> torch.Tensor:
    if len({row.shape for row in rows}) > 1:
        raise ValueError(
            f"the rows of {name} differ in length: {sorted({row.shape for row in rows})}; lengths_vary=True"
        )
    return torch.from_numpy(np.stack(rows))
