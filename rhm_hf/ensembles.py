"""What tables of runs are made of: groups, ensembles, means over grammars, and marks for what was not reached.

Rows are plain dictionaries, as [`~rhm_hf.training.results.read_csv`] gives them. Error bars are over grammars,
whatever a row is of.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from .checks import Limit, NonNegativeInt, checked


CONVERGED = 0.1  # nats of train loss
ENDINGS = {"patience": True, "converged": True, "max_steps": False, "untrained": False}  # whether the run was done
AT_MOST, AT_LEAST = "at most", "at least"


@checked
def group(rows: Sequence[dict[str, Any]], *keys: str) -> dict[str, Any]:
    """Rows by the values of some columns, in the order of their first appearance.

    Args:
        rows (`Sequence[dict]`): of a table.
        keys (`str`): columns; one a row lacks counts as empty.

    Returns:
        `dict`: a value, or with several keys a tuple of them, to its rows.
    """
    groups: dict = {}
    for row in rows:
        values = tuple(row.get(key, "") for key in keys)
        groups.setdefault(values if len(keys) > 1 else values[0], []).append(row)
    return groups


@checked
def distinct(rows: Sequence[dict[str, Any]], *keys: str) -> list[Any]:
    """The different values, or tuples of values, of some columns, in the order of their first appearance."""
    return list(group(rows, *keys))


@checked
def where(rows: Sequence[dict[str, Any]], **values: object) -> list[dict[str, Any]]:
    """The rows whose columns have these values: `where(rows, model="gpt2", level=1)`."""
    return [row for row in rows if all(row.get(key, "") == value for key, value in values.items())]


@checked
def averages(
    rows: Sequence[dict[str, Any]], x: str, y: str, over: str = "rules_seed"
) -> tuple[list[Any], list[float], list[float]]:
    """The mean curve of an ensemble with error bars over its grammars.

    Rows of one grammar at one x, such as those of several model seeds, are averaged first: they are no more grammars.

    Args:
        rows (`Sequence[dict]`): of a table.
        x (`str`): the column of the horizontal axis.
        y (`str`): the column that is averaged.
        over (`str`, *optional*, defaults to `"rules_seed"`): the column that tells independent samples apart. Where
            rows lack it every row is one.

    Returns:
        `tuple`: x in order, the mean of y and its standard error, 0 for a single sample.
    """
    found: tuple[list, list[float], list[float]] = ([], [], [])
    groups = group(rows, x)
    for value in sorted(groups):
        mine = groups[value]
        samples = group(mine, over).values() if all(row.get(over, "") != "" for row in mine) else [[r] for r in mine]
        means = [fmean(row[y] for row in sample) for sample in samples]
        error = stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
        for column, number in zip(found, (value, fmean(means), error), strict=True):
            column.append(number)
    return found


@checked
def ensemble(
    rows: Sequence[dict[str, Any]], x: str, y: str, over: str = "rules_seed", step_limited: str = "refuse"
) -> tuple[np.ndarray, np.ndarray]:
    """The curves of all grammars of one ensemble, side by side: the door by which tables come to fits.

    Args:
        rows (`Sequence[dict]`): one a grammar and x; several are averaged.
        x, y (`str`): columns.
        over (`str`, *optional*, defaults to `"rules_seed"`): the column that tells grammars apart.
        step_limited (`str`, *optional*, defaults to `"refuse"`): what becomes of rows of runs that their step limit
            ended, whose losses are upper bounds: `"refuse"`, or `"keep"`; count them then, by [`num_limited`].

    Returns:
        `tuple[np.ndarray, np.ndarray]`: x `(sizes,)` in order and y `(grammars, sizes)`, at the x that all grammars
        have: one whose run is not finished does not change who is averaged.

    Raises:
        `ValueError`: where they have no x in common, or, if so asked, for runs that their step limit ended.
    """
    if step_limited not in ("refuse", "keep"):
        raise ValueError(f"step_limited={step_limited!r} is unknown: it must be refuse or keep")
    if step_limited == "refuse" and num_limited(rows):
        raise ValueError(
            f"{num_limited(rows)} of {len(rows)} runs were ended by their step limit while the loss fell, or "
            "learnt nothing: train them longer, leave them out, or say step_limited='keep' and write their number "
            "beside the result"
        )
    tables = [{key: fmean(row[y] for row in mine) for key, mine in group(part, x).items()}
              for _, part in sorted(group(rows, over).items())]  # fmt: skip
    sizes = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    if not sizes:
        raise ValueError(f"rows: {len(tables)} curves have no {x} in common: finish the runs of the sweep")
    return np.array(sizes), np.array([[table[size] for size in sizes] for table in tables])


@checked
def unconverged(row: dict[str, Any]) -> bool:
    """Whether a classifier is far from having its training set by heart: its error then says how long it was trained.

    That is a train loss above .1 nats.
    """
    return row["train_loss"] > CONVERGED


@checked
def limited(row: dict[str, Any]) -> bool:
    """Whether the table says that the step limit ended the run of a row while its loss was falling, or that it learnt
    nothing.

    A classifier that has its training set by heart counts as done, however small its validation loss still becomes.
    """
    ended = row.get("steps_limit") == 1 or any(
        not ENDINGS.get(ending, True) for ending in str(row.get("stopped_by", "")).split(", ")
    )
    return ended and not (row.get("task") == "classification" and not unconverged(row))


@checked
def num_limited(rows: Sequence[dict[str, Any]]) -> int:
    """How many of the rows are of runs that their step limit ended."""
    return sum(map(limited, rows))


@checked
def marked(point: Limit, sizes: Sequence[float], name: str = "half_way") -> dict[str, Any]:
    """Where a curve crosses a threshold, as two columns: the place, and whether it is only a bound.

    Args:
        point (`float`): of [`~rhm_hf.statistics.last_crossing`]: 0 before the smallest size, `inf` beyond the largest.
        sizes (`Sequence[float]`): where the curve was measured.
        name (`str`, *optional*, defaults to `"half_way"`): of the column.

    Returns:
        `dict`: `<name>`, the end of the range where the crossing lies outside of it, and `<name>_bound`: empty,
        "at most" or "at least".
    """
    if not len(sizes):
        raise ValueError("sizes is empty: give the sizes that the curve was measured at")
    low, high = min(sizes), max(sizes)
    if math.isnan(point):
        return {name: "", f"{name}_bound": ""}
    bound = AT_MOST if point == 0 else AT_LEAST if point == math.inf else ""
    return {name: float(min(max(point, low), high)), f"{name}_bound": bound}


@checked
def marked_mean(
    mean: Limit, num_before: NonNegativeInt, num_beyond: NonNegativeInt, name: str = "half_way"
) -> dict[str, Any]:
    """The same for a mean over grammars, in which some lie outside the range of sizes and count with its end."""
    bound = AT_MOST if num_before else AT_LEAST if num_beyond else ""
    if num_before and num_beyond:
        bound = "unknown"  # some before the smallest size, some beyond the largest
    return {name: float(mean), f"{name}_bound": bound}


@checked
def scale(data: Sequence[dict[str, Any]], keys: Sequence[str] = ("rules_seed", "model_seed")) -> str:
    """How much a picture is made of: "4 grammars, 1 model seed", for titles and captions."""
    names = {"rules_seed": "grammar", "model_seed": "model seed", "sample_seed": "sample"}
    counts = [(len({row[key] for row in data if row.get(key, "") != ""}), names.get(key, key)) for key in keys]
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for count, name in counts if count)
