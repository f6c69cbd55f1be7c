"""What a run writes: `results.csv`, one row per evaluation, and `log.jsonl`, one line per event."""

import csv
import io
import json
import math
import platform
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path

from .checkpoint import write_atomically


RUN_COLUMNS = ("run", "task", "model", "data", "num_train", "rules_seed", "sample_seed", "model_seed")
HELD_OUT_COLUMNS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
STEP_COLUMNS = ("step", "epoch", "train_loss", *HELD_OUT_COLUMNS)
END_COLUMNS = ("seconds", "tokens_seen", "best")
PACKAGES = ("rhm-hf", "torch", "transformers", "accelerate", "datasets")


@cache
def versions() -> dict[str, str]:
    """The versions and the commit that made a result: the last columns of every row."""
    found = {"python": platform.python_version()} | {name.replace("-", "_"): _version(name) for name in PACKAGES}
    return found | {"commit": _commit()}


def columns(task_columns: tuple[str, ...]) -> list[str]:
    """All columns of `results.csv`, in order."""
    return [*RUN_COLUMNS, *STEP_COLUMNS, *task_columns, *END_COLUMNS, *versions()]


def mark_best(rows: list[dict], keep: str = "best") -> list[dict]:
    """The rows with `best` 1 for the one that is kept and 0 elsewhere.

    That is the lowest validation loss (the first of equals), or with `keep="last"` the last.
    """
    if keep == "last":
        best = len(rows) - 1
    else:
        best = min(range(len(rows)), key=lambda i: rows[i]["validation_loss"], default=None)
    return [row | {"best": int(i == best)} for i, row in enumerate(rows)]


def best_row(rows: list[dict]) -> dict:
    """The row that the run keeps: that of the lowest validation loss, or with `keep="last"` the last."""
    return next(row for row in rows if int(row["best"]))


def best_rows(rows: list[dict]) -> list[dict]:
    """The best row of every run."""
    names = dict.fromkeys(row["run"] for row in rows)
    return [best_row([row for row in rows if row["run"] == name]) for name in names]


def check_finite(row: dict, learning_rate: float) -> None:
    """Raises a `RuntimeError` where training diverged; an infinite KL alone is an answer."""
    bad = [name for name in ("train_loss", "validation_loss", "test_loss") if not math.isfinite(row[name])]
    if bad:
        raise RuntimeError(
            f"{', '.join(f'{name} is {row[name]}' for name in bad)} at step {row['step']}: training diverged with "
            f"learning_rate={learning_rate}; choose a lower one, or warm up over more steps"
        )


def write_csv(path: Path, rows: list[dict], names: list[str] | None = None) -> None:
    """Writes rows as CSV, whole or not at all; floats as Python prints them, so they are read back to the last bit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if names is None else names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read_csv(path: Path) -> list[dict]:
    """The rows of a CSV file, numbers as numbers."""
    with open(path, newline="") as file:
        text = {"run", "task", "model", "data", "text", *versions()}  # a commit such as 4486e12 is no number
        return [{k: v if k in text else _number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def append_log(path: Path, event: str, **values) -> None:
    """Appends one line of JSON: the time (UTC), the event and its values."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **values}
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def _number(text: str) -> int | float | str:
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
