"""`rhm train`, `rhm sweep`, `rhm export`. The arguments of the first two are those of `rhm_hf.training`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..group import Silent, suggestion
from ..options import GrammarName, RulesSeed
from ..output import note
from ..progress import heavy, progress


def train(context: typer.Context) -> None:
    """Train one model: --config run.yaml, any argument overridden after it; killed, the same command goes on."""
    with heavy():
        from ...training import best_row, parse_arguments
        from ...training import train as run
        from ...training.arguments import field_names
    _check_options(context.args, field_names(), "rhm train")
    arguments = parse_arguments(context.args, prog="rhm train")
    try:
        row = best_row(run(arguments))
    except KeyboardInterrupt:
        note(f"rhm train: interrupted; the run in {arguments.training.output_dir} is not finished")
        note("the same command again goes on from its last checkpoint")
        raise Silent(130) from None
    if int(os.environ.get("RANK", 0)):  # under a launcher the first process speaks for all
        return
    distance = f"KL {row['kl']:.4f} +- {row['kl_stderr']:.4f}" if "kl" in row else f"test loss {row['test_loss']:.4f}"
    print(
        f"{arguments.training.output_dir}: best at step {row['step']}, validation loss {row['validation_loss']:.4f}, "
        f"{distance} nats per target, accuracy {row['test_accuracy']:.3f}"
    )


def sweep(context: typer.Context) -> None:
    """Train a model for every combination of listed values: --config sweep.yaml --num_workers 2, --executor ray."""
    with heavy():
        from ...training.arguments import field_names, parse_sweep
        from ...training.sweep import OPTIONS, UnfinishedRuns, expand
        from ...training.sweep import sweep as run
    _check_options(context.args, [*field_names(), *OPTIONS], "rhm sweep")
    values = parse_sweep(context.args, prog="rhm sweep", extra=OPTIONS)
    options = {name: values.pop(name) for name in OPTIONS if name in values and name != "variants"}
    try:
        rows = run(values, **options)
    except (UnfinishedRuns, KeyboardInterrupt) as error:
        note(f"rhm sweep: {error}")
        raise Silent(1 if isinstance(error, UnfinishedRuns) else 130) from None
    if options.get("executor") == "print":  # standard output is for the commands
        done = len({row["run"] for row in rows})
        note(f"{done} of {len(expand(values))} runs are finished, {len(rows)} evaluations")
    else:
        print(f"{len({row['run'] for row in rows})} runs, {len(rows)} evaluations")


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


def _check_options(words: list[str], known: list[str], command: str) -> None:
    """Refuses an option that is none, with what was probably meant; argparse would print all of them."""
    names = [*known, "config", "help"]
    for word in words:
        if not word.startswith("--"):
            continue
        name = word[2:].partition("=")[0]
        if name.replace("-", "_") not in names:
            print(
                f"{command}: there is no option --{name}.{suggestion(name, names)} {command} --help lists them.",
                file=sys.stderr,
            )
            raise Silent(2)
