"""What is derived from the buffers of a model: made at the first use, and again when they have changed.

It is kept beside the models, not in them: a model that was used pickles, copies and hashes as one that was not.
"""

import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import torch


SMALL = 2**20  # bytes: so many are read again at every call
_KEPT: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def derived(model: torch.nn.Module, what: str, names: Iterable[str], make: Callable[[], Any]) -> Any:
    """`make()`, or what it gave before if the named buffers are still as they were then.

    Args:
        model (`torch.nn.Module`): holds the buffers.
        what (`str`): a name for the result.
        names (`Iterable[str]`): of the buffers that it depends on.
        make (`Callable`): makes it.
    """
    buffers = [model._buffers[name] for name in names]
    states = [_state(buffer) for buffer in buffers]
    kept = _KEPT.setdefault(model, {})
    known = kept.get(what)
    # The tensors are kept with the result, so that no other one can take their place in memory.
    if known is None or known[1] != states or any(a is not b for a, b in zip(known[0], buffers, strict=True)):
        known = kept[what] = (buffers, states, make())
    return known[2]


def _state(buffer: torch.Tensor) -> Any:
    """The version of a buffer, which counts what PyTorch knows of, and its content, which `.data.copy_` and numpy's
    views change without being counted: of small buffers in memory, as rules are, and where there is no version."""
    if buffer.is_inference():
        return zlib.crc32(buffer.cpu().contiguous().numpy())
    is_read = buffer.device.type == "cpu" and buffer.nbytes <= SMALL
    return buffer.data_ptr(), buffer._version, zlib.crc32(buffer.detach().contiguous().numpy()) if is_read else None
