"""A recipe: from a YAML to tables and a picture, or from the tables to the picture alone.

A script of `recipes/` is two or three functions and one call: `measure` makes tables of the runs of a sweep (or of
options alone, where nothing is trained), `conclude` reads more tables off those, `draw` makes the picture. All tables
are CSV files beside the picture, so that it is redrawn, and what was concluded is concluded anew, without training.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import did_you_mean
from ..data.provenance import is_rules_file, named_grammar
from ..ensembles import ENDINGS
from ..grammar import Grammar, Source
from . import plugins
from .arguments import Arguments, parse_sweep
from .arguments.command_line import Parser
from .commands import as_command
from .results import best_rows, read_csv, write_csv
from .strict_yaml import parse_yaml, read_yaml
from .sweep import OPTIONS, expand, sweep


if TYPE_CHECKING:
    from ..data import CharCorpus


Tables = dict[str, list[dict[str, Any]]]


@as_command
def recipe_main(
    argv: Sequence[str] | None,
    *,
    name: str,
    measure: Callable[..., Tables],
    draw: Callable[[Tables, Path], None],
    conclude: Callable[[Tables], Tables] | None = None,
    options: Mapping[str, object] | None = None,
    trains: bool = True,
    shows: str | None = None,
    tiny: Mapping[str, object] | None = None,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Tables:
    """The command line of a recipe.

    - `--config cpu.yaml [overrides] [--figures FOLDER]` trains what is missing, measures and draws.
    - `--draw FOLDER` draws from the tables of a folder, `--conclude FOLDER` also makes the concluded tables anew.
    - `--tiny` shrinks everything to toy size: a dry run of the whole way in seconds. Its numbers mean nothing.

    The tables are `<name>_<table>.csv` and the picture `<name>.png`, in `--figures`, by default the sweep's
    `output_dir`.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        name (`str`): what files are called.
        measure (`Callable`): `measure(rows, values, **options)`, the rows of all runs and the sweep's arguments to
            tables, each a list of rows; without training `measure(**options)`.
        draw (`Callable`): tables and the path of the picture.
        conclude (`Callable`, *optional*): tables to further tables: what needs no model.
        options (`Mapping`, *optional*): names beside the arguments of a sweep, with their defaults.
        trains (`bool`, *optional*, defaults to `True`): whether there are runs; otherwise there are only options.
        shows (`str`, *optional*): the table that is printed at the end.
        tiny (`Mapping`, *optional*): values of options in a dry run.
        check (`Callable`, *optional*): refuses arguments of a sweep by a `ValueError`, before any compute is spent.

    Returns:
        `dict`: the tables; empty where `--executor print` has left runs to be done.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py", allow_abbrev=False, add_help=False)
    parser.add_argument("--draw", type=Path, help="only draw, from the tables in this folder")
    parser.add_argument("--conclude", type=Path, help="conclude anew from the tables in this folder, and draw")
    parser.add_argument("--figures", type=Path, help="where tables and picture are written")
    parser.add_argument("--tiny", action="store_true", help="a dry run at toy size")
    own, rest = parser.parse_known_args(argv)
    if {"-h", "--help"} & set(rest):
        parser.print_help()  # and below those of a sweep
    folder = own.conclude or own.draw
    if folder is None:
        folder, measured = _measured(own, rest, name, measure, dict(options or {}), dict(tiny or {}), trains, check)
        if measured is None:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        tables = _written(folder, name, measured)
    else:
        tables = read_tables(folder, name)
    if own.draw is None and conclude is not None:
        tables |= _written(folder, name, conclude(tables))
    draw(tables, folder / f"{name}.png")
    _report(folder, name, tables, shows)
    return tables


def _measured(own, rest, name, measure, options, tiny, trains, check) -> tuple[Path, Tables | None]:
    """Where tables and picture go, and the tables; none where `--executor print` has left runs to be done."""
    chosen = options | tiny if own.tiny else options
    if not trains:
        chosen |= parse_options(rest, options, prog=f"{name}.py")
        return own.figures or Path(f"runs/{name}"), measure(**chosen)
    values = parse_sweep(rest, prog=f"{name}.py", extra=[*OPTIONS, *options])
    if own.tiny:
        from .tiny import shrunk

        values = shrunk(values, keep=_named(rest))
    sweep_options = {key: values.pop(key) for key in OPTIONS if key in values and key != "variants"}
    given = {key: values.pop(key) for key in options if key in values}
    fixed = set(tiny) - _named(rest) if own.tiny else set()
    chosen |= {key: value for key, value in given.items() if key not in fixed}
    folder = own.figures or Path(values.get("output_dir", f"runs/{name}"))
    if check is not None:
        check(values)
    rows = sweep(values, **sweep_options)
    return folder, None if _left(values, rows, sweep_options) else measure(rows, values, **chosen)


def _written(folder: Path, name: str, tables: Tables) -> Tables:
    """Tables as their files hold them: what is concluded and drawn now is what is drawn from the files later."""
    write_tables(folder, name, tables)
    return {table: read_csv(Path(folder) / f"{name}_{table}.csv") for table in tables}


def _named(argv: Sequence[str]) -> set[str]:
    """The arguments that a command line names."""
    return {part[2:].partition("=")[0] for part in argv if part.startswith("--")}


def _left(values: dict, rows: list[dict], options: dict) -> bool:
    """Says on stderr how many runs `--executor print` has left to be done; the commands are on stdout."""
    done, runs = len({row["run"] for row in rows}), len(expand(values))
    if options.get("executor") == "print" and done < runs:
        print(f"{done} of {runs} runs are finished: run these commands, then this one again", file=sys.stderr)
        return True
    return False


def parse_options(argv: Sequence[str], options: Mapping[str, object], prog: str | None = None) -> dict[str, Any]:
    """The options of a recipe that trains nothing, from `--config FILE` and the command line over it.

    Args:
        argv (`Sequence[str]`): the command line.
        options (`Mapping`): names with their defaults, whose types the values must have; several values make a list.
        prog (`str`, *optional*): the name of the programme in its help.

    Raises:
        `ValueError`: for a name that is no option, or a value of another type.
    """
    parser = Parser(prog=prog, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, help="YAML file of options")
    for name, default in options.items():
        parser.add_argument(f"--{name}", nargs="+", metavar="VALUE", help=f"by default {default}")
    given = parser.read(argv)
    for name in given.keys() - {"config"}:
        given[name] = [parse_yaml(word, f"--{name} {word}") for word in given[name]]
    values = read_yaml(given.pop("config")) if "config" in given else {}
    values |= given
    for name, value in values.items():
        if name not in options:
            raise ValueError(
                f"unknown option {name}{did_you_mean(name, options) or ': known are ' + ', '.join(options)}"
            )
        default = options[name]
        if isinstance(default, (list, tuple)):
            value = value if isinstance(value, list) else [value]
        elif isinstance(value, list) and len(value) == 1:
            value = value[0]
        if (
            default is not None
            and not isinstance(value, type(default))
            and not (isinstance(default, float) and isinstance(value, int))
        ):
            raise ValueError(f"{name}={value!r} must be of the type of its default, {default!r}")
        values[name] = value
    return values


@dataclass(frozen=True)
class KeptRun:
    """A run of a sweep as its recipe sees it.

    Attributes:
        row (`dict`): of the evaluation that the run kept.
        arguments ([`Arguments`]): of the run.
    """

    row: dict[str, Any]
    arguments: Arguments

    def __getitem__(self, column: str) -> Any:
        return self.row[column]

    @property
    def data(self) -> str:
        """What a table calls the data: the grammar's name, the corpus's, or a file's without its folder."""
        return data_name(self.arguments)

    def keys(self, *columns: str) -> dict[str, Any]:
        """Some columns of the row, to begin a row of a table with; `data` has no path in it."""
        return {name: self.data if name == "data" else self.row[name] for name in columns}

    def grammar(self) -> Source:
        """The source whose sentences the run was trained on."""
        return named_grammar(self.arguments.data.grammar, self.arguments.data.rules_seed)

    def model(self) -> Any:
        """The model that the run kept, without a bar for the loading of its weights."""
        from transformers import logging

        from ..judging.loading import load_model

        logging.disable_progress_bar()
        folder, model_type = str(Path(self.arguments.training.output_dir) / "model"), self.arguments.model.model_type
        if ":" in model_type:  # no Auto class knows it
            return plugins.model_class(model_type).from_pretrained(folder)
        return load_model(folder)

    def corpus(self) -> "CharCorpus":
        """The text that the run was trained on."""
        from .data import load_text

        return load_text(self.arguments.data)

    @property
    def stopped_by_steps(self) -> bool:
        """Whether the run was not done: its step limit ended it while its loss fell, or it learnt nothing."""
        if self.row.get("stopped_by", "") != "":
            return not ENDINGS[self.row["stopped_by"]]
        return self.row["step"] == self.arguments.training.max_steps


def kept_runs(rows: list[dict[str, Any]], values: dict[str, Any]) -> list[KeptRun]:
    """The row that every run of a sweep kept, with the arguments, grammar, model and corpus of the run."""
    runs = {Path(run.training.output_dir).name: run for run in expand(values)}
    return [KeptRun(row, runs[row["run"]]) for row in best_rows(rows)]


def classified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The row that every run of a classifier keeps, with its `error` on the test set and its `relative_error`.

    That is the error over the error of a blind guess among equally frequent classes.
    """
    found = []
    for row in best_rows(rows):
        error, classes = 1 - row["test_accuracy"], Grammar.from_name(row["data"], row["rules_seed"]).num_classes
        found.append(row | {"error": error, "relative_error": error / (1 - 1 / classes)})
    return found


def data_name(run: Arguments) -> str:
    """What a table calls the data of a run: the grammar's name, the corpus's, or a file's without its folder."""
    if run.data.text is not None:
        return Path(run.data.text).stem
    return Path(run.data.grammar).name if is_rules_file(run.data.grammar) else run.data.grammar


def read_tables(folder: Path, name: str) -> Tables:
    """The tables `<name>_<table>.csv` of a folder.

    Raises:
        `ValueError`: where there is none.
    """
    paths = sorted(Path(folder).glob(f"{name}_*.csv"))
    if not paths:
        raise ValueError(f"--draw {folder}: there is no {name}_*.csv; measure first, with --config")
    return {path.stem.removeprefix(f"{name}_"): read_csv(path) for path in paths}


def write_tables(folder: Path, name: str, tables: Tables) -> None:
    """Writes `<name>_<table>.csv` into a folder, with all columns that any row has."""
    for table, lines in tables.items():
        path = Path(folder) / f"{name}_{table}.csv"
        write_csv(path, lines, list(dict.fromkeys(key for row in lines for key in row)))


def _report(folder: Path, name: str, tables: Tables, shows: str | None) -> None:
    """Ends with the table and the paths of picture and tables."""
    if shows is not None and tables.get(shows):
        print(as_text(tables[shows]))
    print(f"\n{folder / f'{name}.png'}; tables: {name}_{{{','.join(tables)}}}.csv")


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """A table for the screen: numbers to four digits, columns of equal width, without versions."""
    from .results import versions

    columns = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in versions()]
    lines = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
