"""Records side by side: which differences are more than noise, and whether two halves of the grammars agree."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .levels import curves, left, mean_interval
from .records import check_comparable


def scores(record: Mapping[str, Any], task: str) -> dict[int, float]:
    """What is left of the distance to the truth, for every member of a task; empty where it was not run."""
    own = record["tasks"].get(task)
    if own is None:
        return {}
    lines = {int(seed): values for seed, values in own["lines"].items()}
    return left(curves(own["cells"], own["measure"]), lines)


def task_names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tasks of records in the order of the first that has them."""
    return list(dict.fromkeys(name for record in records for name in record["tasks"]))


def differences(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every pair of architectures on every task that both have: the mean of the paired differences over members.

    Members (grammars or samples) are the same for everybody, so each is its own control. `difference` is first minus
    second in units of the first line, `low` and `high` its 95 % interval by Student's t, and `says` whose is lower, or
    `within noise` where the interval holds 0 or there are fewer than three members.

    Raises:
        `ValueError`: for records that do not compare.
    """
    check_comparable(records)
    rows = []
    for task in task_names(records):
        for first, second in itertools.combinations(records, 2):
            one, other = scores(first, task), scores(second, task)
            common = sorted(one.keys() & other.keys())
            if not common:
                continue
            gaps = np.array([one[seed] - other[seed] for seed in common])
            low, high = mean_interval(gaps)
            names = [record["architecture"]["name"] for record in (first, second)]
            clear = math.isfinite(low) and (low > 0 or high < 0)
            says = f"{names[int(gaps.mean() > 0)]} is lower" if clear else "within noise"
            row = {"task": task, "first": names[0], "second": names[1], "difference": float(gaps.mean())}
            ends = {"low": low, "high": high}
            rows.append(row | {k: v if math.isfinite(v) else None for k, v in ends.items()} | {"says": says})
    return rows


def halves(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How alike two disjoint halves of the members rank the architectures: Kendall's tau-b on every task.

    Members are dealt out in turn. `tau` is None with fewer than two architectures, `p` its two-sided p-value, exact
    where there are no ties; `agreed` and `pairs` count the pairs of architectures that both halves order alike.

    Raises:
        `ValueError`: for records that do not compare.
    """
    from scipy.stats import kendalltau  # here: it takes a second, and few need it

    check_comparable(records)
    rows = []
    for task in task_names(records):
        found = [scores(record, task) for record in records if task in record["tasks"]]
        members = sorted(set.intersection(*(set(own) for own in found)))
        if len(members) < 2:
            continue
        first = [float(np.mean([own[seed] for seed in members[0::2]])) for own in found]
        second = [float(np.mean([own[seed] for seed in members[1::2]])) for own in found]
        pairs = list(itertools.combinations(range(len(found)), 2))
        agreed = sum((first[i] - first[j]) * (second[i] - second[j]) > 0 for i, j in pairs)
        row = {
            "task": task,
            "architectures": len(found),
            "agreed": agreed,
            "pairs": len(pairs),
            "tau": None,
            "p": None,
        }
        if pairs:
            tau = kendalltau(first, second)
            row |= {"tau": _finite(tau.statistic), "p": _finite(tau.pvalue)}
        rows.append(row)
    return rows


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
