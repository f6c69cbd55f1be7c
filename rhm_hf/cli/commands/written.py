"""`rhm status`, `rhm plot`, `rhm report`: what lies in folders of results."""

from pathlib import Path
from typing import Annotated

import typer

from ..options import Json
from ..output import json_text, screen, show_facts, show_table
from ..progress import duration, progress


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of a run or a sweep.")]
Results = Annotated[Path, typer.Argument(metavar="FOLDER|FILE", help="A folder of results, or one CSV or JSON file.")]
Where = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="By default beside the table.")]
Page = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="By default report.html beside the results.")]


def status(folder: Folder, json: Json = False) -> None:
    """Say which runs of a folder are finished, running (with the time left), failed; and the table so far."""
    from .folders import STATES, best_table, run_folders, run_state

    found = [run_state(path) for path in run_folders(folder)]
    counts = {state: sum(run.state == state for run in found) for state in STATES}
    table = best_table([row for run in found for row in run.rows])
    runs = [
        {
            "run": run.name,
            "state": run.state,
            "step": run.step,
            "of": run.max_steps,
            "seconds_left": run.seconds_left,
            "remark": run.remark,
        }
        for run in found
    ]
    left = [run.seconds_left for run in found if run.seconds_left is not None]
    if json:
        print(json_text({"folder": str(folder), "counts": counts, "runs": runs, "best": table}))
        return
    console = screen()
    said = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    facts = {"runs": f"{len(found)}: {said}"}
    if left:
        facts["those that run need"] = f"about {duration(max(left))} more, or less where they stop early"
    show_facts(facts, str(folder), console)
    shown = [
        {**run, "seconds_left": None if run["seconds_left"] is None else duration(run["seconds_left"])}
        for run in sorted(runs, key=lambda run: list(STATES)[::-1].index(run["state"]))
        if run["state"] != "finished"
    ]
    show_table(
        [{"time left" if k == "seconds_left" else k: v for k, v in run.items()} for run in shown],
        "Not finished",
        console,
    )
    show_table(table, "The best row of every run so far", console)


def plot(folder: Results, out: Where = None, json: Json = False) -> None:
    """Draw the usual pictures of any results.csv: against training sentences, against steps, level by level."""
    from ...drawing.result_pictures import usual_pictures
    from .folders import results_of

    path, rows = results_of(folder)
    with progress("drawing"):
        files = usual_pictures(rows, out or path.parent, path.stem)
    print(json_text([str(file) for file in files]) if json else "\n".join(map(str, files)))


def report(folder: Results, out: Page = None) -> None:
    """Write one self-contained HTML page: figures, tables, parameters, versions."""
    from .pages import report_page

    if not folder.exists():
        raise ValueError(f"there is no folder or file {str(folder)!r}")
    path = out or (folder / "report.html" if folder.is_dir() else folder.with_suffix(".html"))
    if path.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {str(path)!r} must end with .html")
    with progress("drawing and writing the page"):
        report_page(folder, path)
    print(path)
