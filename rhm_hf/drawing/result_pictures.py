"""The usual pictures of any `results.csv`: losses against training sentences, and against steps."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import panels


DISTANCES = ("kl", "test_loss")  # what is drawn against P, the first that a table has
NOT_A_GROUP = ("run", "num_train", "rules_seed", "sample_seed", "model_seed", "output_dir", "num_threads")
GROUPS = ("variant", "task", "model", "data", "visible_tokens", "mask_probability", "process", "schedule")
MANY = 12  # curves of one panel


def usual_pictures(rows: Sequence[dict[str, Any]], folder: str | Path, name: str = "results") -> list[Path]:
    """Draws what the rows allow.

    Args:
        rows (`Sequence[dict]`): of a run or a sweep, numbers as numbers.
        folder (`str` or `Path`): where `<name>_sizes.png`, `<name>_steps.png` and `<name>_levels.png` go.
        name (`str`, *optional*, defaults to `"results"`): what they are called.

    Returns:
        `list[Path]`: the pictures.

    Raises:
        `ValueError`: where there is nothing that can be drawn.
    """
    if not rows:
        raise ValueError("the table has no row: there is nothing to draw")
    folder, files = Path(folder), []
    for kind, draw in (("sizes", by_size), ("steps", by_step), ("levels", by_level)):
        path = folder / f"{name}_{kind}.png"
        if draw(rows, path):
            files.append(path)
    if not files:
        needed = "step with a loss, or num_train with kl or test_loss"
        raise ValueError(f"the table has the columns {', '.join(rows[0])}: pictures need {needed}")
    return files


def by_size(rows: Sequence[dict[str, Any]], path: Path) -> bool:
    """The distance of the best rows against P: mean over seeds, with the standard error of their spread."""
    best = _best(rows)
    key = _measure(best)
    if key is None or len({row.get("num_train") for row in best}) < 2:
        return False
    series = {label: _averaged(members, key) for label, members in _grouped(best).items()}
    title = "KL to the exact law" if key == "kl" else "test loss"
    panels(
        path,
        [(f"{title}, best evaluation of every run", dict(list(series.items())[:MANY]), None)],
        xlabel="training sentences P",
        ylabel="nats per target",
        xscale="log",
        yscale="log",
    )
    return True


def by_step(rows: Sequence[dict[str, Any]], path: Path) -> bool:
    """Losses of every run against steps."""
    keys = [key for key in ("validation_loss", "kl") if _numbers(rows, key)]
    if not keys or len({row.get("step") for row in rows}) < 2:
        return False
    runs: dict[str, list[dict]] = {}
    for row in rows:
        runs.setdefault(str(row.get("run", "run")), []).append(row)
    drawn = []
    for key in keys:
        series = {
            run: {"x": [row["step"] for row in members], "y": [_number(row.get(key)) for row in members]}
            for run, members in list(runs.items())[:MANY]
        }
        cut = f", {MANY} of {len(runs)} runs" if len(runs) > MANY else ""
        drawn.append((("KL to the exact law" if key == "kl" else "validation loss") + cut, series, None))
    panels(path, drawn, xlabel="steps", ylabel="nats per target", xscale="log", yscale="log")
    return True


def by_level(rows: Sequence[dict[str, Any]], path: Path) -> bool:
    """How far the best models are from the best law that knows its own block of each level only, against P."""
    best = _best(rows)
    levels = sorted(key for key in best[0] if key.startswith("kl_level_") and not key.endswith("stderr"))
    levels = [key for key in levels if _numbers(best, key)]
    if not levels or len({row.get("num_train") for row in best}) < 2:
        return False
    drawn = []
    for label, members in list(_grouped(best).items())[:3]:
        series = {f"level {key.rpartition('_')[2]}": _averaged(members, key) for key in levels}
        series["whole sentences"] = _averaged(members, "kl")
        drawn.append((label, series, None))
    panels(
        path,
        drawn,
        xlabel="training sentences P",
        ylabel="KL to the law of a level's blocks (nats per target)",
        xscale="log",
        yscale="log",
    )
    return True


def best_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The row that every run keeps (`best` = 1), or its last one where the table does not say."""
    return _best(rows)


def _best(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: dict[str, dict] = {}
    for number, row in enumerate(rows):
        run = str(row.get("run", number))
        if str(row.get("best", "")) in ("1", "1.0") or "best" not in row or run not in kept:
            kept[run] = row
    return list(kept.values())


def _measure(rows: Sequence[dict]) -> str | None:
    return next((key for key in DISTANCES if _numbers(rows, key)), None)


def _numbers(rows: Sequence[dict], key: str) -> bool:
    return any(_number(row.get(key)) is not None for row in rows)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _grouped(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """Rows of one kind, by a name made of what tells the kinds apart; seeds and P do not."""
    known = [name for name in rows[0] if name in GROUPS or (name not in NOT_A_GROUP and _is_argument(name))]
    telling = [name for name in known if len({str(row.get(name)) for row in rows}) > 1]
    groups: dict[str, list[dict]] = {}
    for row in rows:
        label = ", ".join(f"{row.get(name)}" if name in GROUPS else f"{name} {row.get(name)}" for name in telling)
        groups.setdefault(label or str(row.get("data") or "all runs"), []).append(row)
    return groups


def _is_argument(name: str) -> bool:
    """Arguments of a run that sweeps put into a table beside what was measured."""
    return name in (
        "learning_rate",
        "weight_decay",
        "batch_size",
        "max_steps",
        "optimizer",
        "config_overrides",
        "context_length",
        "stride",
        "sampling",
        "keep",
    )


def _averaged(rows: Sequence[dict], key: str) -> dict[str, list]:
    by_p: dict[float, list[tuple[float, float | None]]] = {}
    for row in rows:
        p, value = _number(row.get("num_train")), _number(row.get(key))
        if p is not None and value is not None:
            by_p.setdefault(p, []).append((value, _number(row.get(f"{key}_stderr"))))
    sizes = sorted(by_p)
    means, errors = [], []
    for p in sizes:
        values = [value for value, _ in by_p[p]]
        mean = sum(values) / len(values)
        means.append(mean)
        if len(values) > 1:
            errors.append(math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)))
        else:
            errors.append(by_p[p][0][1])
    return {"x": sizes, "y": means, "error": errors}
