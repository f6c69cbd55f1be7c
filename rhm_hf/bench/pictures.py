"""The picture of records: of every task the learning curves of all architectures, on exact lines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..plots import curve, few_ticks, finish, level_line, note, sheet
from .architectures import COUNTERS
from .ranking import task_names
from .records import check_comparable
from .tables import CONVERGED


LABELS = {"kl": "KL (nats per token)", "error_gap": "error above Bayes"}
THEORIES = {"transformer": "^", "deep": "^", "masked": "^", "cnn": "v"}  # whose P of a level is marked, and how
GREYS = ("0.3", "0.5", "0.65")
DECADES = 3.0  # of the axis of distances, below the first line


def draw_records(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws one panel a task: means over members with their standard errors, against P.

    Dashed are the exact losses of the best models that see less (dotted: counted n-grams), of the first member; hollow
    points hold runs that their steps ended.

    Raises:
        `ValueError`: for records that do not compare.
    """
    check_comparable(records)
    names = task_names(records)
    looks = _looks(records)
    figure, axes = sheet(len(names), height=2.9)
    for ax, name in zip(axes, names, strict=True):
        mine = [record for record in records if name in record["tasks"]]
        task = mine[0]["tasks"][name]
        for record in mine:
            rows = _rows(record["tasks"][name])
            label = record["architecture"]["name"]
            look = {"hollow": lambda row: not row["converged"]} | looks[label]
            curve(ax, rows, "num_train", "value", label=label, **look)
        line = next(iter(task["lines"].values()))
        low = max(line["values"][0] * 10**-DECADES, _least(mine, name) / 1.5)
        for step, value in zip(["no context", *line["names"]], line["values"], strict=True):
            if value > low:
                level_line(ax, value, step, linestyle="--" if line["exact"] else ":")
        sizes = sorted({cell["num_train"] for record in mine for cell in record["tasks"][name]["cells"]})
        settings = {"xscale": "log", "yscale": "log", "xlabel": "training sentences P"}
        settings |= {"ylabel": LABELS[task["measure"]], "ylim": (low, None)}
        finish(ax, f"{name}: {task['grammar']}, {task['task']}", "lines", **settings)
        few_ticks(ax, sizes)
        _mark_theory(ax, line["theory"], sizes)
    members = max(len(task["lines"]) for record in records for task in record["tasks"].values())
    text = (
        f"{records[0]['suite']}: {members} grammars or samples a point; bars: standard error over them. Dashed: the "
    )
    text += (
        "exact loss of the best model that sees so much (dotted: counted n-grams). Hollow: some runs ended by their "
    )
    text += "steps. Grey: learners that count. Triangles: P of theory, by level (down: a CNN)."
    note(figure, text)
    figure.savefig(path)


def _looks(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """By name: a colour for everything that is trained, greys for learners that count, and a marker of its own."""
    counts = {record["architecture"]["name"]: record["architecture"]["model_type"] in COUNTERS for record in records}
    trained, counted = ([name for name in counts if counts[name] == which] for which in (False, True))
    looks = {name: {"i": i} for i, name in enumerate(trained)}
    for i, name in enumerate(counted):
        looks[name] = {"i": len(trained) + i, "color": GREYS[i % len(GREYS)], "linewidth": 0.9}
    return looks


def _mark_theory(ax: Any, predicted: Mapping[str, Mapping[str, float]], sizes: Sequence[int]) -> None:
    """Triangles below at the P of theory within the ladder, a level each."""
    across = ax.get_xaxis_transform()
    for step, laws in predicted.items():
        for name, marker in THEORIES.items():
            if sizes[0] <= laws.get(name, 0) <= sizes[-1]:
                place = laws[name], 0.1 if marker == "v" else 0.03  # of a CNN above, as several may be at one P
                ax.plot(*place, marker, color="0.35", markersize=4, transform=across)
                beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 6}
                ax.annotate(step.split()[-1], place, xycoords=across, color="0.35", **beside)


def _rows(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of every run that is no further seed what is drawn."""
    return [
        {
            "num_train": cell["num_train"],
            "rules_seed": cell["seed"],  # a sample where the rules are given: an independent member all the same
            "value": cell[task["measure"]],
            "converged": cell["stopped_by"] in CONVERGED,
        }
        for cell in task["cells"]
        if not cell["spread"]
    ]


def _least(records: Sequence[Mapping[str, Any]], name: str) -> float:
    """The smallest positive distance of a task."""
    values = [row["value"] for record in records for row in _rows(record["tasks"][name]) if row["value"] > 0]
    return min(values, default=math.inf)
