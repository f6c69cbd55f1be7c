"""One row a level, with theory beside it: what the screen, a page and a CSV file show of records."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from ..ensembles import AT_LEAST, AT_MOST, ENDINGS
from .records import check_comparable


SIGNS = {AT_MOST: "<= ", AT_LEAST: ">= ", "unknown": "? ", "": ""}
CONVERGED = (*(ending for ending, done in ENDINGS.items() if done), "counted")


def level_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for every architecture, task and level: the P at which it is learnt, with its interval, and theory's.

    Raises:
        `ValueError`: for records that do not compare.
    """
    check_comparable(records)
    rows = []
    for record in records:
        for name, task in record["tasks"].items():
            for level in task["levels"]:
                row = {"architecture": record["architecture"]["name"], "task": name, "level": level["level"]}
                row |= {
                    "P half way": place(level, "half_way"),
                    "95 %": interval(level),
                    "P onset": place(level, "onset"),
                }
                row |= {"members": level["members"], "theory": predicted(task, level["level"])}
                rows.append(row)
    return rows


def task_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for every architecture and task: what is left, which oracle it is closest to, what it costs.

    Raises:
        `ValueError`: for records that do not compare.
    """
    check_comparable(records)
    return [
        {"architecture": record["architecture"]["name"], "task": name} | _task_row(task)
        for record in records
        for name, task in record["tasks"].items()
    ]


def _task_row(task: Mapping[str, Any]) -> dict[str, Any]:
    cells = [cell for cell in task["cells"] if not cell["spread"]]
    largest = max(cell["num_train"] for cell in cells)
    last = [cell for cell in cells if cell["num_train"] == largest]
    values = [cell[task["measure"]] for cell in last]
    found: dict[str, Any] = {"left": task["left"], "95 %": _range(task["left_low"], task["left_high"], "{:.3f}")}
    found |= {"largest P": largest, "measure": task["measure"]}
    found |= {"value": fmean(values), "spread (members)": stdev(values) if len(values) > 1 else None}
    found["spread (model seeds)"] = model_spread(task)
    found["closest oracle"] = _closest(last)
    if any("beyond_kl" in cell for cell in last):
        within, beyond = ([cell[key] for cell in last if key in cell] for key in ("within_kl", "beyond_kl"))
        found["KL within, beyond"] = f"{fmean(within):.3g}, {fmean(beyond):.3g}"
    found["learning rate"] = learning_rate(task)
    found["parameters"] = task["parameters"]
    flops = [cell.get("flops") for cell in task["cells"]]
    found["FLOPs"] = sum(flops) if all(flops) else None
    found["seconds"] = round(sum(cell["seconds"] for cell in task["cells"]), 1)
    converged = sum(cell["stopped_by"] in CONVERGED for cell in cells)
    found["converged"] = f"{converged} of {len(cells)}"
    return found


def model_spread(task: Mapping[str, Any]) -> float | None:
    """The standard deviation over model seeds, at the largest P of the first member; None of one seed."""
    largest = max(cell["num_train"] for cell in task["cells"])
    further = [cell for cell in task["cells"] if cell["spread"]]
    if not further:
        return None
    first = further[0]["seed"]
    same = [c[task["measure"]] for c in task["cells"] if c["seed"] == first and c["num_train"] == largest]
    return stdev(same) if len(same) > 1 else None


def learning_rate(task: Mapping[str, Any]) -> str:
    """The one that was chosen, and whether it is the largest or smallest tried: a better one may lie beyond then."""
    chosen, tried = task.get("learning_rate"), sorted(rate for rate, _ in task.get("tried", []))
    if chosen is None:
        return ""
    ends = {tried[0]: ", the smallest", tried[-1]: ", the largest"} if len(tried) > 1 else {}
    return f"{chosen:g}{ends.get(chosen, '')}"


def place(level: Mapping[str, Any], kind: str) -> str:
    """A P with its mark where it is only a bound: `>= 4096`."""
    return f"{SIGNS[level[f'{kind}_bound']]}{level[kind]:.0f}"


def interval(level: Mapping[str, Any], kind: str = "half_way") -> str:
    """`310 to 520`, open ends said in words."""
    return _range(level[f"{kind}_low"] or None, level[f"{kind}_high"], "{:.0f}")


def predicted(task: Mapping[str, Any], level: str) -> str:
    """The P of theory by name, of the first member: the ensemble's, so the same for all."""
    own = next(iter(task["lines"].values()))["theory"].get(level, {})
    return ", ".join(f"{name} {value:.0f}" for name, value in own.items())


def _closest(cells: Sequence[Mapping[str, Any]]) -> str:
    """The levels of the nearest oracles of all members, each once."""
    found = sorted({cell["oracle"] for cell in cells if cell.get("oracle", "") != ""})
    return ", ".join(f"level {level}" for level in found)


def _range(low: float | None, high: float | None, form: str) -> str:
    ends = ["open" if value is None else form.format(value) for value in (low, high)]
    return "" if ends == ["open", "open"] else " to ".join(ends)
