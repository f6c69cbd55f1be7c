"""What recipes with figures share: from a YAML to tables and a picture, or from tables to the picture alone."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..grammar import GrammarParameters
from .arguments import Arguments, parse_sweep
from .results import best_rows, read_csv, write_csv
from .sweep import OPTIONS, expand, sweep


Tables = dict[str, list[dict]]


def recipe_main(
    argv: Sequence[str] | None,
    *,
    name: str,
    measure: Callable[..., Tables],
    draw: Callable[[Tables, Path], None],
    options: Mapping[str, object] | None = None,
) -> Tables:
    """`--config cpu.yaml [overrides] [--figures FOLDER]` measures and draws, `--draw FOLDER` only draws.

    The tables are `<name>_<table>.csv` and the picture `<name>.png`, in `--figures`, by default the sweep's
    `output_dir`; `--draw` reads the tables of a folder and draws the picture there.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        name (`str`): what files are called.
        measure (`Callable`): `measure(rows, values, **options)`, the rows of all runs and the sweep's arguments to
            tables, each a list of rows.
        draw (`Callable`): tables and the path of the picture.
        options (`Mapping`, *optional*): names beside the arguments of a sweep, with their defaults.

    Returns:
        `dict`: the tables.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py", allow_abbrev=False, add_help=False)
    parser.add_argument("--draw", type=Path, help="only draw, from the tables in this folder")
    parser.add_argument("--figures", type=Path, help="where tables and picture are written")
    own, rest = parser.parse_known_args(argv)
    if own.draw is not None:
        tables = read_tables(own.draw, name)
        draw(tables, own.draw / f"{name}.png")
        return tables
    options = dict(options or {})
    values = parse_sweep(rest, prog=f"{name}.py", extra=[*OPTIONS, *options])
    sweep_options = {key: values.pop(key) for key in OPTIONS if key in values and key != "variants"}
    options |= {key: values.pop(key) for key in options if key in values}
    folder = own.figures or Path(values.get("output_dir", f"runs/{name}"))
    rows = sweep(values, **sweep_options)
    tables = measure(rows, values, **options)
    folder.mkdir(parents=True, exist_ok=True)
    for table, lines in tables.items():
        write_csv(folder / f"{name}_{table}.csv", lines, list(dict.fromkeys(key for row in lines for key in row)))
    draw(tables, folder / f"{name}.png")
    return tables


def best_runs(rows: list[dict], values: dict) -> list[tuple[dict, Arguments]]:
    """The row that every run of a sweep keeps, each with the arguments of the run."""
    runs = {Path(run.training.output_dir).name: run for run in expand(values)}
    return [(row, runs[row["run"]]) for row in best_rows(rows)]


def classified(rows: list[dict]) -> list[dict]:
    """The row that every run of a classifier keeps, with its `error` on the test set and its `relative_error`.

    That is the error over the error of a blind guess among equally frequent classes.
    """
    found = []
    for row in best_rows(rows):
        error, classes = 1 - row["test_accuracy"], GrammarParameters.from_name(row["data"]).num_classes
        found.append(row | {"error": error, "relative_error": error / (1 - 1 / classes)})
    return found


def data_name(run: Arguments) -> str:
    """What a table calls the data of a run: the grammar's name, the corpus's, or a file's without its folder."""
    return run.data.grammar if run.data.text is None else Path(run.data.text).stem


def read_tables(folder: Path, name: str) -> Tables:
    """The tables `<name>_<table>.csv` of a folder.

    Raises:
        `ValueError`: where there is none.
    """
    paths = sorted(folder.glob(f"{name}_*.csv"))
    if not paths:
        raise ValueError(f"--draw {folder}: there is no {name}_*.csv; measure first, with --config")
    return {path.stem.removeprefix(f"{name}_"): read_csv(path) for path in paths}
