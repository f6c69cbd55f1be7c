"""Checks of ids and distances."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch


def checked_distances(distances: Iterable[int]) -> tuple[int, ...]:
    """Sorted distinct integers >= 1."""
    distances = [distances] if isinstance(distances, int) else list(distances)
    if not distances or any(isinstance(t, bool) or not isinstance(t, int | np.integer) or t < 1 for t in distances):
        raise ValueError(f"distances={distances} must be one or more integers >= 1")
    return tuple(sorted({int(t) for t in distances}))


def checked_array(name: str, values: Any) -> Any:
    """A numpy array or torch tensor of integers."""
    if not isinstance(values, torch.Tensor):
        try:
            values = np.asarray(values)
        except ValueError:
            raise ValueError(f"{name} is ragged: rows must have one length; use add_documents for others") from None
        if values.size == 0 and values.dtype.kind == "f":  # an empty list
            values = values.astype(np.int64)
        integers = values.dtype.kind in "iu"
    else:
        integers = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    if not integers:
        raise ValueError(f"{name} has dtype {values.dtype}: tokens must be integers")
    return values


def as_tensor(values: Any) -> torch.Tensor:
    """Without a copy where torch takes the array: native byte order, no unsigned type but uint8, writable memory."""
    if isinstance(values, torch.Tensor):
        return values
    wide = {"u": np.int64, "i": values.dtype.newbyteorder("=")}[values.dtype.kind]
    values = values if values.dtype == np.uint8 else values.astype(wide, copy=False)
    usable = values.flags.writeable and all(stride >= 0 for stride in values.strides)
    return torch.from_numpy(values if usable else values.copy())


def compact_ids(name: str, values: Any, lowest: int, highest: int, device: torch.device) -> torch.Tensor:
    """Ids from `lowest` (0 or -1) to `highest` in a small type on the device; -1 becomes `highest` + 1."""
    if isinstance(values, np.ndarray):
        found = (int(values.min()), int(values.max())) if values.size else (0, 0)
    else:
        found = tuple(int(x) for x in values.aminmax()) if values.numel() else (0, 0)
    if found[0] < lowest or found[1] > highest:
        raise ValueError(
            f"{name} holds {found[0] if found[0] < lowest else found[1]}, out of range: ids must be {lowest} to "
            f"{highest}; give a larger {'vocab_size' if name == 'tokens' else 'num_left'} or remove special ids"
        )
    values = as_tensor(values)
    if lowest < 0:
        values = torch.where(values < 0, highest + 1, values)
        highest += 1
    dtype = torch.uint8 if highest < 2**8 else torch.int32 if highest < 2**31 else torch.int64
    return values.to(device, dtype)
