"""Whether tokens can be hidden from a causal model by attention while the others keep their places."""

import inspect
from typing import NamedTuple

import torch

from .bare import evaluating
from .models import FAILURES, ModelReader
from .probing import distance, rounding, wide


class Hiding(NamedTuple):
    """What it takes: the position of the first id, or the reason why it cannot be done."""

    offset: int | None
    reason: str | None


@torch.no_grad()
def hiding(reader: ModelReader, inputs: torch.Tensor) -> Hiding:
    """Tries it on a few rows.

    Positions that are given must be those that the model would have counted itself (RoBERTa's begin at the padding's
    id + 1), they must matter, and ids without attention must move nothing, which a recurrent state does not obey.

    Args:
        reader ([`ModelReader`]): a causal model.
        inputs (`torch.Tensor`): ids `(batch, length)` as the model is going to read them, three or more a row.
    """
    if "position_ids" not in inspect.signature(reader.model.forward).parameters or not reader.takes_mask:
        return Hiding(None, "it takes no position_ids and attention_mask")
    with evaluating(reader.model):
        raw = reader.logits(inputs)
        own = wide(raw)
        same, places = rounding(own, raw.dtype, same_shape=False), torch.arange(inputs.shape[1], device=inputs.device)

        def moved(positions: torch.Tensor, ids: torch.Tensor = inputs, **kwargs) -> torch.Tensor:
            return wide(reader.logits(ids, position_ids=positions.expand_as(ids), **kwargs))

        offset = next((k for k in _offsets(reader) if _fits(moved, places + k, own, same)), None)
        if offset is None:
            return Hiding(None, "the positions that it gives its ids cannot be told")
        places = places + offset
        if float(distance(moved(places.flip(0)), own).max()) <= same:
            return Hiding(None, "it makes no use of position_ids")
        seen, others = torch.ones_like(inputs), inputs.clone()
        hidden = slice(1, max(2, inputs.shape[1] // 2))
        seen[:, hidden] = 0
        others[:, hidden] = inputs[:, hidden].flip(0).flip(1)
        if torch.equal(others, inputs):
            others[:, hidden] = inputs[:, -1:]
        one, other = moved(places, attention_mask=seen), moved(places, others, attention_mask=seen)
        if float(distance(one, other)[:, hidden.stop :].max()) > same:
            return Hiding(None, "ids without attention still move what it says (a recurrent state reads them)")
    return Hiding(offset, None)


def _offsets(reader: ModelReader) -> list[int]:
    padding = getattr(reader.config, "pad_token_id", None)
    found = [0, 1, 2]
    if isinstance(padding, int) and 0 <= padding < reader.num_ids:
        found.insert(1, padding + 1)
    if reader.limit is not None:  # beyond its table a device stops for good
        table = getattr(reader.config, reader.limit[0])
        found = [k for k in found if k <= table - reader.limit[1] or reader.device.type == "cpu"]
    return list(dict.fromkeys(found))


def _fits(moved, positions: torch.Tensor, own: torch.Tensor, same: float) -> bool:
    try:
        return float(distance(moved(positions), own).max()) <= same
    except FAILURES:
        return False
