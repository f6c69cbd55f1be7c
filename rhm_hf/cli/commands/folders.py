"""What lies in the folder of a run or a sweep, read without torch: arguments, state, rows, findings."""

import csv
import json
import time
from calendar import timegm
from dataclasses import dataclass
from pathlib import Path
from typing import Any


SUMMARY = (
    "task",
    "model",
    "data",
    "num_train",
    "rules_seed",
    "model_seed",
    "step",
    "validation_loss",
    "test_loss",
    "kl",
)
STATES = ("finished", "running", "failed", "stopped", "waiting")
FRESH = 300.0  # seconds: a run on another machine that has written since is taken to run
BEAT = 30.0  # the same where it says every two seconds how far it is


@dataclass
class RunState:
    """How a run stands.

    Args:
        name (`str`): its folder's.
        state (`str`): one of `STATES`.
        step, max_steps (`int`, *optional*): where it is.
        seconds_left (`float`, *optional*): of a running one, at its mean pace; it may stop early.
        remark (`str`): how it ended, or when it was last heard of.
        rows (`list[dict]`): of its results so far.
    """

    name: str
    state: str
    step: int | None
    max_steps: int | None
    seconds_left: float | None
    remark: str
    rows: list[dict[str, Any]]


def run_folders(folder: Path) -> list[Path]:
    """The folder itself where it is a run's, else those of the runs in it, by name.

    Raises:
        `ValueError`: where there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}")
    if is_run(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))
    if not found:
        raise ValueError(
            f"the folder {str(folder)!r} holds no run: no run.json and no arguments.yaml in it or below it"
        )
    return found


def is_run(folder: Path) -> bool:
    """Whether a run was prepared or begun there."""
    return (folder / "run.json").exists() or (folder / "arguments.yaml").exists()


def run_state(folder: Path, now: float | None = None) -> RunState:
    """How the run in a folder stands, from its files alone."""
    now = time.time() if now is None else now
    arguments, finished = run_arguments(folder)
    events = _events(folder / "log.jsonl") + _progress(folder / "progress.json")
    rows = read_rows(folder / "results.csv") if (folder / "results.csv").exists() else []
    max_steps = arguments.get("max_steps")
    step = max((event["step"] for event in events if isinstance(event.get("step"), int)), default=None)
    last = _time(events[-1]) if events else None
    if finished:
        early = ", stopped early" if events and events[-1].get("stopped_early") else ""
        return RunState(folder.name, "finished", step, max_steps, None, f"done{early}", rows)
    running = is_locked(folder / ".lock") or (_output(folder) is None and _is_fresh(events, last, now))
    if running:
        return RunState(folder.name, "running", step, max_steps, _left(events, max_steps), _heard(last, now), rows)
    if (line := _output(folder)) is not None:
        return RunState(folder.name, "failed", step, max_steps, None, line, rows)
    if not events:
        return RunState(folder.name, "waiting", None, max_steps, None, "not begun", rows)
    return RunState(folder.name, "stopped", step, max_steps, None, _heard(last, now), rows)


def _is_fresh(events: list[dict[str, Any]], last: float | None, now: float) -> bool:
    """Whether a run has written so lately that it is at work, perhaps on another machine."""
    if last is None or events[-1].get("event") == "end":
        return False
    return now - last < (BEAT if events[-1].get("event") == "progress" else FRESH)


def run_arguments(folder: Path) -> tuple[dict[str, Any], bool]:
    """The arguments of a run, and whether it is finished."""
    found: dict[str, Any] = {}
    finished = False
    if (folder / "arguments.yaml").exists():
        import yaml

        found = yaml.safe_load((folder / "arguments.yaml").read_text(encoding="utf-8")) or {}
    if (folder / "run.json").exists():
        record = _json(folder / "run.json")
        found |= record.get("arguments", {})
        finished = bool(record.get("finished"))
    return found, finished


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, numbers as numbers; columns that are names stay text."""
    texts = {
        "run",
        "task",
        "model",
        "data",
        "text",
        "commit",
        "python",
        "torch",
        "transformers",
        "accelerate",
        "datasets",
    }
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: value if key in texts else number(value) for key, value in row.items()} for row in rows]


def number(text: Any) -> Any:
    """A number where the text is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except (ValueError, TypeError):
            pass
    return text


def is_locked(path: Path) -> bool:
    """Whether a process of this machine holds the lock of a run: Linux lists them, which disturbs nobody."""
    try:
        inode, listed = path.stat().st_ino, Path("/proc/locks").read_text()
    except OSError:
        return False
    return any(
        line.split()[5].rpartition(":")[2] == str(inode) for line in listed.splitlines() if len(line.split()) > 5
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): the folder is damaged") from None
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds a {type(record).__name__}, not the record of a run")
    return record


def _events(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # a line that was cut by a kill
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _progress(path: Path) -> list[dict[str, Any]]:
    """What a run that is at work writes every few seconds: its step, and when that was."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return [{"event": "progress", "step": int(record["step"]), "seconds": float(record["time"])}]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _time(event: dict[str, Any]) -> float | None:
    if event.get("event") == "progress":
        return event["seconds"]
    try:
        return float(timegm(time.strptime(event["time"], "%Y-%m-%dT%H:%M:%SZ")))
    except (KeyError, ValueError):
        return None


def _left(events: list[dict[str, Any]], max_steps: int | None) -> float | None:
    """Seconds to `max_steps` at the pace since the last start."""
    starts = [i for i, event in enumerate(events) if event.get("event") == "start"]
    timed = [(event.get("step"), _time(event)) for event in events[starts[-1] if starts else 0 :]]
    timed = [(step, at) for step, at in timed if isinstance(step, int) and at is not None]
    if max_steps is None or len(timed) < 2 or timed[-1][0] <= timed[0][0]:
        return None
    pace = (timed[-1][1] - timed[0][1]) / (timed[-1][0] - timed[0][0])
    return max(0.0, pace * (max_steps - timed[-1][0]))


def _heard(last: float | None, now: float) -> str:
    from ..progress import duration

    return "no word yet" if last is None else f"last word {duration(max(0.0, now - last))} ago"


def _output(folder: Path) -> str | None:
    """How the output of a failed run ends; None where it has none."""
    path = folder / "output.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines and ("rror" in lines[-1] or lines[-1].startswith("rhm ")) else None


def results_of(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The table of a folder, or of the runs in it where the sweep has written none yet; or of a file."""
    if folder.is_file():
        if folder.suffix != ".csv":
            raise ValueError(f"{str(folder)!r} is no CSV file: give results.csv or its folder")
        return folder, read_rows(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder or file {str(folder)!r}")
    if (folder / "results.csv").exists():
        return folder / "results.csv", read_rows(folder / "results.csv")
    rows = []
    for run in run_folders(folder):
        rows += read_rows(run / "results.csv") if (run / "results.csv").exists() else []
    if not rows:
        raise ValueError(f"{str(folder)!r} holds no results yet: no run has been evaluated")
    return folder / "results.csv", rows


def best_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best row of every run, in the columns that people look at and those that differ."""
    from ...drawing.result_pictures import best_rows

    best = best_rows(rows)
    if not best:
        return []
    same = {name for name in SUMMARY if len(best) > 1 and len({str(row.get(name)) for row in best}) == 1}
    names = [
        "run",
        *(name for name in SUMMARY if name in best[0] and (name not in same or name in ("validation_loss",))),
    ]
    return [{name: row.get(name) for name in names} for row in best]
