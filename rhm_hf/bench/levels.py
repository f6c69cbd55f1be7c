"""From runs to a row: at which P a level is learnt, and what is left of the distance to the truth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ensembles import marked_mean
from ..statistics import last_crossing
from ..statistics.intervals import FEWEST, endless, jackknife_interval, leaving_out


HALF_WAY, ONSET = 0.5, 0.1  # shares of a step
CONFIDENCE = 0.95


def curves(runs: Sequence[Mapping[str, Any]], measure: str) -> dict[int, tuple[list[int], list[float]]]:
    """The learning curve of every member: P, increasing, and the measure there; runs of further seeds left out."""
    found: dict[int, dict[int, float]] = {}
    for run in runs:
        if not run.get("spread"):
            found.setdefault(run["seed"], {})[run["num_train"]] = run[measure]
    return {seed: (sorted(cells), [cells[size] for size in sorted(cells)]) for seed, cells in sorted(found.items())}


def crossing(sizes: Sequence[int], values: Sequence[float], above: float, below: float, share: float) -> float:
    """The P from which a curve has taken a share of the step from one line to the next; 0 and inf beyond its ends."""
    return last_crossing(sizes, values, above + share * (below - above))


def learnt(
    of_members: Mapping[int, tuple[Sequence[int], Sequence[float]]], lines: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row a level: where it is half way and where it sets in, means over members with their intervals.

    Args:
        of_members (`dict`): from [`curves`].
        lines (`dict`): of every member the [`Yardstick`] as a mapping: `names` and `values`.

    Returns:
        `list[dict]`: `level`, `members` that have it, and of `half_way` and `onset` the geometric mean, `_low` and
        `_high` (95 %, Student's t over members in log P; open where the mean is a bound), `_bound` (`at most` or `at
        least`: some member takes the step before the smallest or after the largest P) and the `_points` of members, 0
        before and None beyond the ladder.
    """
    names = list(dict.fromkeys(name for own in lines.values() for name in own["names"]))
    rows = []
    for name in names:
        row: dict[str, Any] = {"level": name}
        for kind, share in (("half_way", HALF_WAY), ("onset", ONSET)):
            points, sizes = [], []
            for seed, (ladder, values) in of_members.items():
                own = lines[seed]
                if name not in own["names"]:
                    continue
                step = own["names"].index(name)
                points.append(crossing(ladder, values, own["values"][step], own["values"][step + 1], share))
                sizes = ladder
            row["members"] = len(points)
            row |= mean_point(points, sizes, kind)
        rows.append(row)
    return rows


def mean_point(points: Sequence[float], sizes: Sequence[int], name: str) -> dict[str, Any]:
    """The geometric mean of places of a step, a bound where some lie outside the ladder, and its interval."""
    logs = np.log(np.clip(points, sizes[0], sizes[-1]))
    before, beyond = sum(p == 0 for p in points), sum(math.isinf(p) for p in points)
    low, high = (math.exp(end) if end < math.inf else end for end in mean_interval(logs))
    mean = {before: sizes[0], beyond: sizes[-1]}.get(len(points), math.exp(logs.mean()))
    found = marked_mean(mean, before, beyond, name)
    return found | {
        f"{name}_low": 0.0 if before else min(low, mean),
        f"{name}_high": None if beyond or math.isinf(high) else max(high, mean),
        f"{name}_points": [None if math.isinf(p) else float(p) for p in points],
    }


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of a mean over independent members by Student's t; endless with fewer than three."""
    values = np.asarray(values, dtype=float)
    if len(values) < FEWEST:
        return tuple(endless(()).tolist())
    return tuple(jackknife_interval(values.mean(), [leaving_out(values)], CONFIDENCE).tolist())


def left(
    of_members: Mapping[int, tuple[Sequence[int], Sequence[float]]], lines: Mapping[int, Mapping[str, Any]]
) -> dict[int, float]:
    """Of every member, what is left of the distance to the truth: its mean over the ladder in log P, in units of the
    first line. 1 is a model that learns nothing at any P, 0 one that knows the law from the first sentences on; no
    value is censored."""
    return {seed: float(np.mean(values)) / lines[seed]["values"][0] for seed, (_, values) in of_members.items()}


def left_row(of_members: Mapping[int, float]) -> dict[str, Any]:
    """The mean of [`left`] over members with its interval."""
    values = np.array(list(of_members.values()))
    low, high = mean_interval(values)
    ends = {"left_low": low, "left_high": high}
    return {"left": float(values.mean())} | {k: v if math.isfinite(v) else None for k, v in ends.items()}
