"""Short inputs that tell what a model does: which ids move which logits, and whether it answers the same twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch


# Relative to the spread of the logits: what rounding moves, in the dtype of the logits, and what a change of shape
# may move (other kernels, chunked scans).
SAME_SHAPE = {torch.float64: 1e-9, torch.float32: 1e-5}
OTHER_SHAPE = {torch.float64: 1e-6, torch.float32: 1e-3}
HALF = 0.05  # of both, in 8 or 11 bits
SEED = 0


class NoLaw(ValueError):
    """What a model gives is no law, however it is called."""


class Leak(NamedTuple):
    """An earlier logit that a later id moves."""

    changed: int
    moved: int
    size: float


@dataclass(frozen=True)
class Probe:
    """A model's logits for two rows of ids.

    Args:
        model (`torch.nn.Module`): in evaluation mode.
        inputs (`torch.Tensor`): ids `(2, length)`.
        logits (`torch.Tensor`): float32 or float64, `(2, length, ids)` or `(2, classes)`.
        precision (`torch.dtype`): that of the logits as the model gave them.
        options (`dict`), takes_mask (`bool`): see [`ModelReader`].
        kwargs (`dict`): further arguments of its calls.
    """

    model: torch.nn.Module
    inputs: torch.Tensor
    logits: torch.Tensor
    precision: torch.dtype
    options: Mapping[str, Any]
    takes_mask: bool
    kwargs: Mapping[str, Any]

    @classmethod
    def of(cls, model: Any, ids: Sequence[int], length: int, options: Any, takes_mask: bool, kwargs: Any) -> "Probe":
        """Reads two random rows.

        Raises:
            `ValueError`: where the model gives no logits, NaN, or none for every id.
        """
        drawn = np.random.default_rng(SEED).choice(ids, (2, length))
        inputs = torch.from_numpy(drawn.astype(np.int64)).to(model.device)
        raw = _logits(model, inputs, options, takes_mask, kwargs)
        name = type(model).__name__
        if raw.ndim not in (2, 3) or len(raw) != 2:
            raise NoLaw(f"the model, a {name}, gives logits of shape {tuple(raw.shape)} for 2 rows of {length} ids")
        if raw.ndim == 3 and raw.shape[1] != length:
            raise NoLaw(
                f"the model, a {name}, gives logits at {raw.shape[1]} places for {length} ids: which is the law of "
                "which token cannot be told"
            )
        return cls(model, inputs, wide(raw), raw.dtype, options, takes_mask, kwargs)

    def again(self, inputs: torch.Tensor, model: torch.nn.Module | None = None) -> torch.Tensor:
        """The logits of other ids."""
        return wide(
            _logits(self.model if model is None else model, inputs, self.options, self.takes_mask, self.kwargs)
        )

    def tolerance(self, same_shape: bool = True) -> float:
        """What rounding may move, in nats."""
        return rounding(self.logits, self.precision, same_shape)

    def check_repeats(self) -> torch.Tensor:
        """The logits when late ids of the first row are others; those of the second, which stays, must not move.

        Raises:
            `ValueError`: where the same row has other logits the second time.
        """
        changed = self.inputs.clone()
        changed[0, self.early :] = self._others(changed[0, self.early :])
        found = self.again(changed)
        if (moved := distance(found[1], self.logits[1])).max() > self.tolerance():
            raise ValueError(
                f"the model, a {type(self.model).__name__}, gives other logits when the same ids are read again (by "
                f"{float(moved.max()):.2g}): they are random, or depend on the other rows of the batch. Fix its seed "
                "where its configuration has one (Reformer: config.hash_seed)"
            )
        return found

    @property
    def early(self) -> int:
        """Places that late ids may not move."""
        return max(1, self.inputs.shape[1] // 2)

    def leak(self) -> Leak | None:
        """Where a later id moves an earlier logit."""
        moved = distance(self.check_repeats()[0, : self.early], self.logits[0, : self.early])
        limit = self.tolerance()
        if self.precision not in SAME_SHAPE and 0 < moved.max() <= limit:
            limit = 0.0 if _single_precision(self).leak() is not None else limit
        place = int(moved.argmax())
        return Leak(self.early, place, float(moved[place])) if moved[place] > limit else None

    def check_prefixes(self) -> None:
        """Refuses a model whose logits at a place depend on how many ids follow it."""
        for length in {self.inputs.shape[1] // 2, self.inputs.shape[1] - 1} - {0}:
            try:
                found = self.again(self.inputs[:, :length])
            except (RuntimeError, ValueError, IndexError, AssertionError):
                continue  # a model that reads one length only
            moved = float(distance(found, self.logits[:, :length]).max())
            if moved > self.tolerance(same_shape=False):
                raise ValueError(
                    f"the model, a {type(self.model).__name__}, has another law for a token where {length} ids are "
                    f"read alone than where {self.inputs.shape[1]} are (logits differ by {moved:.2g}): its law of the "
                    "next token is not one"
                )

    def check_same(self, model: torch.nn.Module) -> None:
        """Refuses a wrapper whose logits are not those of the model inside."""
        try:
            moved = float(distance(self.again(self.inputs, model), self.logits).max())
        except (TypeError, AttributeError, RuntimeError) as error:
            raise ValueError(
                f"the {type(model).__name__} around the {type(self.model).__name__} does not read ids as that does "
                f"({type(error).__name__}: {str(error)[:100]}): pass the model that is to be judged"
            ) from error
        if moved > self.tolerance(same_shape=False):
            raise ValueError(
                f"the model inside the {type(model).__name__} gives other logits than the whole (by {moved:.2g}): "
                "merge it first (merge_and_unload), or pass the model that is to be judged"
            )

    def _others(self, ids: torch.Tensor) -> torch.Tensor:
        """Other ids of the same probe at every place."""
        known = self.inputs.unique()
        if len(known) == 1:
            return ids
        return known[(torch.searchsorted(known, ids) + 1) % len(known)]


def rounding(logits: torch.Tensor, precision: torch.dtype, same_shape: bool = True) -> float:
    """What rounding may move logits of a dtype by."""
    relative = (SAME_SHAPE if same_shape else OTHER_SHAPE).get(precision, HALF)
    finite = logits[logits.isfinite()]
    return relative * float(finite.max() - finite.min()) if len(finite) else 0.0


def probe_ids(model: torch.nn.Module, ids: Sequence[int] | None) -> list[int]:
    """Ids to try a model with: those given, or ordinary ones."""
    config = model.config.get_text_config()
    if ids is not None:
        return [int(i) for i in ids]
    special = set()
    for name in ("bos", "eos", "pad", "mask", "sep", "cls", "unk"):
        value = getattr(config, f"{name}_token_id", None)
        special |= set(value) if isinstance(value, list | tuple) else {value}
    size = getattr(config, "num_symbols", None) or getattr(config, "vocab_size", None)
    if not isinstance(size, int):
        raise ValueError(f"the model, a {type(model).__name__}, has no vocab_size in its configuration")
    ordinary = [i for i in range(min(size, 1000)) if i not in special]
    return ordinary or list(range(size))


def _logits(model, inputs: torch.Tensor, options, takes_mask: bool, kwargs) -> torch.Tensor:
    mask = {"attention_mask": torch.ones_like(inputs)} if takes_mask else {}
    out = model(input_ids=inputs, **mask, **options, **kwargs)
    logits = getattr(out, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise NoLaw(
            f"the model is a {type(model).__name__}, which gives no logits: a base model, or one without a head for "
            "tokens or classes. Load it with AutoModelForCausalLM, AutoModelForMaskedLM or "
            "AutoModelForSequenceClassification, from weights that hold the head"
        )
    if logits.isnan().any():
        raise NoLaw(
            f"the model's logits are NaN (a {type(model).__name__}): its weights, or the precision it runs in, are "
            "broken"
        )
    return logits


def wide(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The largest difference of logits at every place; equal infinities do not differ."""
    return torch.where(a == b, 0, (a - b).abs()).amax(-1)


def _single_precision(probe: Probe) -> Probe:
    """The same probe of a copy in float32: what half precision rounds away may be a leak, or rounding."""
    import copy

    model = copy.deepcopy(probe.model).float()
    logits = _logits(model, probe.inputs, probe.options, probe.takes_mask, probe.kwargs)
    return Probe(model, probe.inputs, wide(logits), logits.dtype, probe.options, probe.takes_mask, probe.kwargs)
