"""The JSON file of a bench: everything that a row, a picture or a comparison is made of, and how it was made."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checks import checked
from ..training.results import versions
from .planning import Plan


FORMAT = 1
KEYS = ("format", "suite", "suite_sha256", "architecture", "command", "protocol", "environment", "left_out", "tasks")


def new_record(plan: Plan, command: str, tasks: Mapping[str, Any], left_out: Mapping[str, str]) -> dict[str, Any]:
    """The record of a finished bench.

    Args:
        plan ([`Plan`]): what was run.
        command (`str`): that does it again.
        tasks (`Mapping`): by name what was found.
        left_out (`Mapping`): by name why the architecture cannot do the other tasks.

    Returns:
        `dict`: `format`, `suite`, `suite_sha256`, `architecture`, `command`, `protocol`, `environment`, `left_out` and
        `tasks`; values that JSON has.
    """
    suite = plan.suite
    record = {
        "format": FORMAT,
        "suite": suite.name,
        "suite_sha256": suite.sha256,
        "architecture": asdict(plan.architecture),
        "command": command,
        "protocol": {
            "max_parameters": suite.max_parameters,
            "sizes": dict(suite.sizes),
            "learning_rates": list(suite.learning_rates),
            "tuning_seed": suite.tuning_seed,
            "seeds": {task.name: list(task.seeds) for task in suite.tasks},
            "model_seed": suite.model_seed,
            "spread_seeds": list(suite.spread_seeds),
            "training": dict(suite.training),
        },
        "environment": versions() | {"machine": platform.machine(), "cpus": os.cpu_count()},
        "left_out": dict(left_out),
        "tasks": dict(tasks),
    }
    return json.loads(json.dumps(record, allow_nan=False))


@checked
def read_record(path: str | Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        `ValueError`: where it cannot be read or is no record of a bench.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or set(record) != set(KEYS):
        raise ValueError(f"{path} is no record of `rhm bench`: it needs {', '.join(KEYS)}")
    if record["format"] != FORMAT:
        raise ValueError(f"{path} has format {record['format']}: this version reads {FORMAT}")
    return record


def is_record(path: str | Path) -> bool:
    """Whether a file is the record of a bench."""
    try:
        read_record(path)
    except ValueError:
        return False
    return True


def check_comparable(records: Sequence[Mapping[str, Any]]) -> None:
    """Raises a `ValueError` where records are of different suites, or two of one name."""
    suites = {(record["suite"], record["suite_sha256"]) for record in records}
    if len(suites) > 1:
        listed = ", ".join(sorted(f"{name} ({sha[:8]})" for name, sha in suites))
        raise ValueError(f"records of different suites do not compare: {listed}")
    names = [record["architecture"]["name"] for record in records]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"two records are called {', '.join(repeated)}: rename the config.json of one and bench it again"
        )
