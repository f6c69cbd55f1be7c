"""Which points of a learning curve may be fitted: a run that its step limit ended would have gone on falling, one that
has learnt nothing may not have begun."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks import shown
from ...ensembles import ENDINGS


STEP_LIMITED = ("refuse", "keep")


def count_step_limited(stopped_by: Any, shape: tuple[int, ...], step_limited: str) -> int | None:
    """How many points of a fit come from runs that their step limit ended, or that learnt nothing.

    Args:
        stopped_by: `"patience"`, `"converged"`, `"max_steps"` or `"untrained"` of every run, as the column of that
            name, of the shape of the losses (or broadcast to it); None where nobody says.
        shape (`tuple[int, ...]`): of the losses.
        step_limited (`str`): `"refuse"` such runs, or `"keep"` and count them.

    Returns:
        `int`; None where it is not known.

    Raises:
        `ValueError`: for an unknown ending, a shape that does not fit, or, if asked, runs that their limit ended.
    """
    if step_limited not in STEP_LIMITED:
        raise ValueError(f"step_limited={step_limited!r} is unknown: it must be one of {', '.join(STEP_LIMITED)}")
    if stopped_by is None:
        return None
    endings = np.asarray(stopped_by, dtype=object)
    if any(not isinstance(ending, str) for ending in endings.flat):
        raise ValueError(f"stopped_by={shown(stopped_by)} has the wrong type: it must hold {', '.join(ENDINGS)}")
    try:
        endings = np.broadcast_to(endings, shape)
    except ValueError:
        raise ValueError(f"stopped_by of shape {endings.shape} does not fit losses of shape {shape}") from None
    if unknown := sorted({repr(ending) for ending in endings.flat if ending not in ENDINGS}):
        raise ValueError(f"stopped_by holds {', '.join(unknown)}: endings are {', '.join(ENDINGS)}")
    count = sum(not ENDINGS[ending] for ending in endings.flat)
    if count and step_limited == "refuse":
        raise ValueError(
            f"stopped_by: {count} of {endings.size} runs were ended by their step limit while the loss fell, or "
            "learnt nothing, so that their losses are upper bounds: train them longer, leave them out, or say "
            "step_limited='keep'"
        )
    return count


@dataclass(frozen=True)
class LearningCurves:
    """Losses of an ensemble at the same P.

    Attributes:
        sizes (`np.ndarray`): P, `(sizes,)`.
        losses (`np.ndarray`): `(grammars, sizes)`.
        stopped_by (`np.ndarray`): what ended each run, `(grammars, sizes)`.
        members (`list`): the grammars, in order.
    """

    sizes: np.ndarray
    losses: np.ndarray
    stopped_by: np.ndarray
    members: list[Any]

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        value: str = "test_loss",
        size: str = "num_train",
        member: str | Sequence[str] = "rules_seed",
    ) -> "LearningCurves":
        """Of rows of results, one a run.

        Args:
            rows (`Iterable[Mapping]`): with the columns below and `stopped_by`.
            value, size (`str`, *optional*, defaults to `"test_loss"` and `"num_train"`): columns of losses and P.
            member (`str` or `Sequence[str]`, *optional*, defaults to `"rules_seed"`): what tells curves apart.

        Raises:
            `ValueError`: without a column, for two runs at one place, or curves that were not all measured at every P.
        """
        members = (member,) if isinstance(member, str) else tuple(member)
        table: dict[tuple, dict[float, tuple[float, str]]] = {}
        for number, row in enumerate(rows):
            if missing := [name for name in (value, size, *members, "stopped_by") if name not in row]:
                raise ValueError(f"rows[{number}] has no column {', '.join(missing)}: give one row of results a run")
            curve, at = table.setdefault(tuple(row[name] for name in members), {}), float(row[size])
            if at in curve:
                raise ValueError(f"rows[{number}] is a second run at {size}={row[size]}: name more columns in member=")
            curve[at] = float(row[value]), str(row["stopped_by"])
        if not table:
            raise ValueError("rows is empty: there is no curve")
        sizes = sorted(next(iter(table.values())))
        if any(sorted(curve) != sizes for curve in table.values()):
            raise ValueError(f"rows: not all curves were measured at {size}={sizes}; leave out what is incomplete")
        losses = np.array([[curve[at][0] for at in sizes] for curve in table.values()])
        endings = np.array([[curve[at][1] for at in sizes] for curve in table.values()], dtype=object)
        return cls(np.array(sizes), losses, endings, [key[0] if len(key) == 1 else key for key in table])
