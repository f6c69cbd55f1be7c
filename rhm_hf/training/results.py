"""What a run writes: `results.csv`, one row per evaluation, and `log.jsonl`, one line per event."""

import csv
import io
import json
import math
import os
import platform
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..checks import checked
from ..files import open_plain, write_atomically


RUN_COLUMNS = ("run", "task", "model", "data", "num_train", "rules_seed", "sample_seed", "model_seed")
HELD_OUT_COLUMNS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
STEP_COLUMNS = ("step", "epoch", "train_loss", *HELD_OUT_COLUMNS)
END_COLUMNS = ("seconds", "tokens_seen", "best", "stopped_by", "test_seen")
CONVERGED = 0.01  # by what part the second half of the steps lowers the loss of a run that is not
TRAINED = 0.05  # by what part the loss of a run that learnt anything is below that of a blind guess
PACKAGES = ("rhm-hf", "torch", "transformers", "accelerate", "datasets")


@cache
def versions() -> dict[str, str]:
    """The versions and the commit that made a result: the last columns of every row."""
    found = {"python": platform.python_version()} | {name.replace("-", "_"): _version(name) for name in PACKAGES}
    return found | {"commit": _commit()}


def columns(task_columns: tuple[str, ...]) -> list[str]:
    """All columns of `results.csv`, in order."""
    return [*RUN_COLUMNS, *STEP_COLUMNS, *task_columns, *END_COLUMNS, *versions()]


def mark_best(rows: list[dict[str, Any]], keep: str = "best") -> list[dict[str, Any]]:
    """The rows with `best` 1 for the one that is kept and 0 elsewhere.

    That is the lowest validation loss (the first of equals), or with `keep="last"` the last.
    """
    if keep == "last":
        best = len(rows) - 1
    else:
        best = min(range(len(rows)), key=lambda i: rows[i]["validation_loss"], default=None)
    return [row | {"best": int(i == best)} for i, row in enumerate(rows)]


@checked
def best_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row that the run keeps: that of the lowest validation loss, or with `keep="last"` the last."""
    found = next((row for row in rows if int(row["best"])), None)
    if found is None:
        raise ValueError(f"rows: none of {len(rows)} rows has best=1")
    return found


def best_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best row of every run."""
    names = dict.fromkeys(row["run"] for row in rows)
    return [best_row([row for row in rows if row["run"] == name]) for name in names]


def stopped_by(rows: list[dict[str, Any]], early: bool, max_steps: int, blind: float = math.inf) -> str:
    """What ended a run, for the column of that name.

    Args:
        rows (`list[dict]`): one per evaluation, in order.
        early (`bool`): whether patience ended it.
        max_steps (`int`): the steps it was given.
        blind (`float`, *optional*): the loss of a guess that gives all outcomes the same probability, in nats.

    Returns:
        `str`: `patience`: so many evaluations brought no lower validation loss. `converged`: all steps were made and
        the second half of them lowered the lowest validation loss by less than 1 %. `max_steps`: all steps were made
        and the loss was still falling, so that more of them would change the result. `untrained`: it ended in one of
        the first two ways, but nothing was learnt, not even by heart: neither loss came 5 % below that of a blind
        guess (or of the first evaluation, where that is lower), although the law, where it is known, is further away.
        A network that is still on its first plateau looks as flat as one that is done.
    """
    lowest = min(row["validation_loss"] for row in rows)
    before = min((row["validation_loss"] for row in rows if row["step"] <= max_steps / 2), default=math.inf)
    if not early and before - lowest >= CONVERGED * abs(lowest):
        return "max_steps"
    if not _is_trained(rows, lowest, blind):
        return "untrained"
    return "patience" if early else "converged"


def _is_trained(rows: list[dict[str, Any]], lowest: float, blind: float) -> bool:
    reached = min(lowest, *(row["train_loss"] for row in rows))
    if reached < (1 - TRAINED) * min(blind, rows[0]["validation_loss"]):
        return True
    gaps = [row["kl"] for row in rows if row.get("kl", "") != ""]
    return bool(gaps) and min(gaps) < CONVERGED * lowest  # nothing more was to be learnt


def check_finite(row: dict[str, Any], learning_rate: float) -> None:
    """Raises a `RuntimeError` where training diverged; an infinite KL alone is an answer."""
    losses = ("train_loss", "validation_loss", "test_loss")
    bad = [
        name
        for name, value in row.items()
        if isinstance(value, float) and (math.isnan(value) or (name in losses and math.isinf(value)))
    ]
    if bad:
        raise RuntimeError(
            f"{', '.join(f'{name} is {row[name]}' for name in bad)} at step {row['step']}: training diverged with "
            f"learning_rate={learning_rate}; choose a lower one, or warm up over more steps"
        )


def write_csv(path: Path, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
    """Writes rows as CSV, whole or not at all; floats as Python prints them, so they are read back to the last bit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if names is None else names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, numbers as numbers and truth values as such."""
    with open(path, newline="", encoding="utf-8") as file:
        text = {
            "run",
            "task",
            "model",
            "data",
            "text",
            "stopped_by",
            *versions(),
        }  # a commit such as 4486e12 is no number
        return [{k: v if k in text else _value(v) for k, v in row.items()} for row in csv.DictReader(file)]


def is_main_process() -> bool:
    """Whether this process is the one that writes, before Accelerate is asked."""
    return int(os.environ.get("RANK", 0)) == 0


def append_log(path: Path, event: str, **values: Any) -> None:
    """Appends one line of JSON: the time (UTC), the event and its values."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **values}
    with os.fdopen(open_plain(path, append=True), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _value(text: str) -> int | float | bool | str:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _commit() -> str:
    """The commit of this source tree, `-dirty` where files differ from it; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
