"""What a command has found: tables on the screen, or JSON, and files with `--out`."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..files import beside


PIPE_WIDTH = 160  # columns, where standard output is no terminal
DIGITS = 4096  # bits of an integer that JSON has digit by digit; Python writes no more than 4300 digits
ROWS_SHOWN = 64  # of a table on the screen; files hold all


@dataclass
class Findings:
    """The result of a command.

    Args:
        command (`str`): its name, which files have, too.
        title (`str`): what was measured, on what.
        parameters (`dict`): all that determines it.
        result (`dict`): the numbers as the Python function returns them.
        facts (`dict`): those that are shown as lines, by what they are called.
        tables (`dict`): title -> rows, each a mapping from column to value; the first one is `<command>.csv`.
        draw (`Callable`, *optional*): draws the picture into a path.
    """

    command: str
    title: str
    parameters: dict[str, Any]
    result: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    draw: Callable[[Path], None] | None = None


def publish(found: Findings, as_json: bool = False, out: Path | None = None) -> None:
    """Shows findings on standard output and, with `out`, writes JSON, CSV and the picture into that folder."""
    if out is not None:
        files = save(found, out)
    if as_json:
        print(json_text(found.result))
        return
    console = screen()
    show_facts(found.facts, found.title, console)
    for title, rows in found.tables.items():
        show_table(rows, title, console)
    if out is not None:
        console.print(Text(f"written: {', '.join(str(path) for path in files)}"))


def save(found: Findings, out: Path) -> list[Path]:
    """Writes `<command>.json`, `.csv` for every table and `.png`; returns the paths. `rhm report` reads them."""
    out = checked_folder(out)
    record = {
        "command": found.command,
        "title": found.title,
        "parameters": found.parameters,
        "result": found.result,
        "facts": {name: plain(value) for name, value in found.facts.items()},
        "tables": found.tables,
        "versions": versions(),
    }
    files = [out / f"{found.command}.json"]
    write_text(files[0], json_text(record) + "\n")
    for number, rows in enumerate(found.tables.values()):
        files.append(out / (f"{found.command}.csv" if number == 0 else f"{found.command}_{number + 1}.csv"))
        write_text(files[-1], csv_text(rows))
    if found.draw is not None:
        files.append(out / f"{found.command}.png")
        found.draw(files[-1])
    return files


def checked_folder(out: Path) -> Path:
    """The folder of `--out`, made where it is not there."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {str(out)!r} is a file: give a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def versions() -> dict[str, str]:
    """The versions that made a result."""
    import platform
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in ("rhm-hf", "torch", "transformers", "datasets", "numpy"):
        try:
            found[name.replace("-", "_")] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def screen() -> Console:
    """Standard output, as wide as the terminal, or wide where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show_facts(facts: Mapping[str, Any], title: str, console: Console) -> None:
    """A title, and lines of names and values."""
    if title:
        console.print(Text(title, style="bold"))
    if facts:
        table = Table.grid(padding=(0, 2))
        for _ in range(2):
            table.add_column(overflow="fold")  # names and numbers are cut nowhere
        for name, value in facts.items():
            table.add_row(Text(name, style="cyan"), Text(plain(value)))
        console.print(table)


def show_table(rows: Sequence[Mapping[str, Any]], title: str, console: Console) -> None:
    """A table; a long one is cut, and says so."""
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(header_style="cyan")
    for name in names:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows[:ROWS_SHOWN]:
        table.add_row(
            *(row[name] if isinstance(row.get(name), Text) else Text(plain(row.get(name))) for name in names)
        )
    console.print()
    if title:
        console.print(Text(title, style="bold"))
    console.print(table)
    if len(rows) > ROWS_SHOWN:
        console.print(Text(f".. and {len(rows) - ROWS_SHOWN} rows more: --json or --out has all", style="dim"))


def plain(value: Any) -> str:
    """A value as people read it: six digits, `-` for nothing."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={plain(entry)}" for name, entry in value.items())
    return str(value)


def json_text(value: Any) -> str:
    """JSON that every reader takes: infinite numbers and integers beyond 2^53 are strings, arrays lists."""
    return json.dumps(_ready(value), indent=2, allow_nan=False, ensure_ascii=False)


def _ready(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, dict):
        return {str(name): _ready(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | range):
        return [_ready(entry) for entry in value]
    if hasattr(value, "tolist"):  # arrays, tensors and their scalars
        return _ready(value.tolist())
    if isinstance(value, int):
        if abs(value) < 2**53:
            return value
        return str(value) if value.bit_length() < DIGITS else f"10^{math.log10(value):.6f}"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all; folders above are made."""
    with beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; columns in the order in which rows name them, what a row lacks empty; floats to the last bit."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def note(text: str) -> None:
    """A remark on standard error."""
    print(text, file=sys.stderr)
