"""`rhm train`, `rhm sweep`, `rhm export`. The arguments of the first two are those of `rhm_hf.training`."""

from pathlib import Path
from typing import Annotated

import typer

from ..group import Silent
from ..options import GrammarName, RulesSeed
from ..progress import heavy, progress


def train(context: typer.Context) -> None:
    """Train one model: --config run.yaml, any argument overridden after it; killed, the same command goes on."""
    with heavy():
        from ...training.commands import run_train
        from ...training.run import loop  # noqa: F401
    _end(run_train(context.args))


def sweep(context: typer.Context) -> None:
    """Train a model for every combination of listed values, and draw: --config sweep.yaml --num_workers 2."""
    from ...training.commands import run_sweep, start_workers

    start_workers(context.args)  # they import while this process does
    with heavy():
        from ...training import arguments  # noqa: F401
    _end(run_sweep(context.args, finished=_show))


def _show(folder: Path) -> None:
    """A sweep ends with the table and the pictures, as `rhm status` and `rhm plot` have them."""
    from ...drawing.result_pictures import usual_pictures
    from ..output import screen, show_table
    from .folders import best_table, results_of

    path, rows = results_of(folder)
    show_table(best_table(rows), "The best row of every run", screen())
    with progress("drawing"):
        files = usual_pictures(rows, path.parent, path.stem)
    print("\n".join(map(str, [path, *files])))


def _end(status: int) -> None:
    if status:
        raise Silent(status)  # what was wrong has been said


def export(
    grammar: GrammarName,
    folder: Annotated[Path, typer.Argument(help="Where to write; must not exist, or be empty.")],
    rules_seed: RulesSeed = None,
    sample_seed: Annotated[int, typer.Option(help="Picks the sentences.")] = 0,
    train_size: Annotated[int, typer.Option(help="Sentences of the split; 0: no such split.")] = 8192,
    validation_size: Annotated[int, typer.Option(help="Likewise.")] = 1024,
    test_size: Annotated[int, typer.Option(help="Likewise.")] = 1024,
    levels: Annotated[bool, typer.Option("--levels", help="Also the hidden symbols of every level.")] = False,
) -> None:
    """Write a data set as Parquet files with its card and its grammar."""
    from ..operands import read_grammar

    with heavy("Datasets"):
        from datasets import load_dataset

        from ... import register  # noqa: F401
        from ...data import export_parquet
    source = read_grammar(grammar, rules_seed)
    sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
    with progress(f"drawing {sum(sizes.values())} sentences and writing them"):
        dataset = load_dataset("rhm", grammar=source, sample_seed=sample_seed, levels=levels, **sizes)
        print(export_parquet(dataset, folder))
