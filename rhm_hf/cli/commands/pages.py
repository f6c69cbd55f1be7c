"""`rhm report`: one HTML page that holds everything, pictures included, and asks for nothing outside it."""

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from ...drawing.page import Section, render
from ..output import plain, versions, write_text
from .folders import best_table, is_run, read_rows, results_of, run_arguments


VERSION_COLUMNS = ("python", "rhm_hf", "torch", "transformers", "accelerate", "datasets", "commit")
ROWS = 500  # of a table in the page; the CSV has all


def report_page(source: Path, path: Path) -> None:
    """Writes the page of a folder (of a run, a sweep, or of `--out`) or of one CSV or JSON file.

    Args:
        source (`Path`): the folder or file.
        path (`Path`): the page.

    Raises:
        `ValueError`: where there is nothing to report.
    """
    sections: list[Section] = []
    if source.is_file():
        sections += _file_sections(source)
    else:
        for file in sorted(source.glob("*.json")):
            if file.name != "run.json":
                sections += _findings(file)
        sections += _results(source)
        if not sections:
            sections += [_table_section(file) for file in sorted(source.glob("*.csv"))]
        sections += _other_pictures(source, {name for section in sections for name in section.files})
    if not sections:
        raise ValueError(f"{str(source)!r} holds no results: no results.csv, no run, nothing that --out has written")
    if not any(section.title == "Versions" for section in sections):
        sections.append(Section("Versions of this report", facts=versions()))
    write_text(path, render(f"rhm report: {source.resolve().name}", sections))


def _file_sections(file: Path) -> list[Section]:
    if file.suffix == ".json":
        found = _findings(file)
        if not found:
            raise ValueError(f"{str(file)!r} is no JSON file that rhm has written with --out")
        return found
    if file.suffix == ".csv":
        return [*_drawn(read_rows(file), file.stem), _table_section(file)]
    raise ValueError(f"{str(file)!r} is neither a CSV nor a JSON file")


def _findings(file: Path) -> list[Section]:
    """What `--out` has written: facts, tables, parameters, versions and the picture beside it."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return []
    if not isinstance(record, dict) or not {"command", "title", "result"} <= set(record):
        return []
    picture = file.with_suffix(".png")
    pictures = {picture.name: embedded(picture)} if picture.exists() else {}
    first = Section(record["title"], facts=record.get("facts", {}), pictures=pictures, files=(picture.name, file.name))
    sections = [first]
    for title, rows in record.get("tables", {}).items():
        sections.append(_rows_section(title, rows))
    parameters = {"command": f"rhm {record['command']}"} | record.get("parameters", {})
    facts = {name: plain(value) for name, value in parameters.items() if value is not None}
    sections.append(Section("Parameters", facts=facts, listed=False))
    sections.append(Section("Versions", facts=record.get("versions", {}), listed=False))
    return sections


def _results(folder: Path) -> list[Section]:
    """The table of a run or sweep: best rows, pictures, parameters, versions."""
    try:
        _, rows = results_of(folder)
    except ValueError:
        return []
    sections = _drawn(rows, folder.name)
    sections.append(_rows_section("The best row of every run", best_table(rows)))
    runs = (
        [folder] if is_run(folder) else [path for path in sorted(folder.iterdir()) if path.is_dir() and is_run(path)]
    )
    if runs:
        sections.append(_arguments(runs))
    sections.append(_rows_section("All evaluations", [_without(row, VERSION_COLUMNS) for row in rows]))
    known = {
        name: sorted({str(row[name]) for row in rows if row.get(name)}) for name in VERSION_COLUMNS if name in rows[0]
    }
    sections.append(Section("Versions", facts={name: ", ".join(values) for name, values in known.items()}))
    return sections


def _arguments(runs: list[Path]) -> Section:
    """The arguments that all runs share, and how many values the others have."""
    found = [run_arguments(run)[0] for run in runs]
    facts = {}
    for name in found[0]:
        values = list(dict.fromkeys(plain(arguments.get(name)) for arguments in found))
        if values == ["-"]:  # left out
            continue
        facts[name] = values[0] if len(values) == 1 else f"{', '.join(values[:8])}{', ..' if len(values) > 8 else ''}"
    return Section(f"Parameters ({len(runs)} run{'s' if len(runs) > 1 else ''})", facts=facts)


def _drawn(rows: list[dict[str, Any]], name: str) -> list[Section]:
    from ...drawing.result_pictures import usual_pictures

    with tempfile.TemporaryDirectory() as place:
        try:
            files = usual_pictures(rows, place)
        except ValueError:
            return []
        return [Section(name, pictures={file.stem: embedded(file) for file in files})]


def _other_pictures(folder: Path, known: set[str]) -> list[Section]:
    """Pictures that lie there and are not in the page yet."""
    pictures = {file.name: embedded(file) for file in sorted(folder.glob("*.png")) if file.name not in known}
    own = {"results_sizes.png", "results_steps.png", "results_levels.png"}
    pictures = {name: data for name, data in pictures.items() if name not in own}
    return [Section("Other pictures in the folder", pictures=pictures)] if pictures else []


def _table_section(file: Path) -> Section:
    return _rows_section(file.name, read_rows(file))


def _rows_section(title: str, rows: list[dict[str, Any]]) -> Section:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[plain(row.get(name)) for name in names] for row in rows[:ROWS]]
    remark = f"The first {ROWS} of {len(rows)} rows." if len(rows) > ROWS else ""
    return Section(title, table=(names, cells), remark=remark)


def _without(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def embedded(picture: Path) -> str:
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
