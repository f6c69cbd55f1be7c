"""The `rhm` command: `rhm train`, `rhm sweep`, `rhm info`, `rhm export`."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path


COMMANDS = {
    "train": "train one model: --config run.yaml, any argument overridden after it",
    "sweep": "train a model for every combination of listed values: --config sweep.yaml --num_workers 2, "
    "--executor local, ray or print",
    "info": "print a grammar's size, entropy and exact plateaus: v16-m4-s2-L3 --rules_seed 0",
    "export": "write a data set as Parquet files with card and grammar: v16-m4-s2-L3 folder --train_size 8192",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `rhm` command.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command and its arguments.

    Returns:
        `int`: the exit status. A `ValueError` of the library is printed as a line, not as a traceback.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: rhm <command> ..\n\n" + "\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items()))
        return 0
    if argv[0] not in COMMANDS:
        print(f"rhm: no command {argv[0]!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    command = {"train": _train, "sweep": _sweep, "info": _info, "export": _export}[argv[0]]
    try:
        return command(argv[1:]) or 0
    except (ValueError, FileExistsError) as error:
        print(f"rhm {argv[0]}: {error}", file=sys.stderr)
        return 1


def _train(argv: list[str]) -> None:
    from .training import best_row, parse_arguments, train

    arguments = parse_arguments(argv, prog="rhm train")
    row = best_row(train(arguments))
    if int(os.environ.get("RANK", 0)):  # under a launcher the first process speaks for all
        return
    distance = f"KL {row['kl']:.4f} +- {row['kl_stderr']:.4f}" if "kl" in row else f"test loss {row['test_loss']:.4f}"
    print(
        f"{arguments.training.output_dir}: best at step {row['step']}, validation loss {row['validation_loss']:.4f}, "
        f"{distance} nats per target, accuracy {row['test_accuracy']:.3f}"
    )


def _sweep(argv: list[str]) -> int:
    from .training.arguments import parse_sweep
    from .training.sweep import OPTIONS, UnfinishedRuns, expand, sweep

    values = parse_sweep(argv, prog="rhm sweep", extra=OPTIONS)
    options = {name: values.pop(name) for name in OPTIONS if name in values and name != "variants"}
    try:
        rows = sweep(values, **options)
    except (UnfinishedRuns, KeyboardInterrupt) as error:
        print(f"rhm sweep: {error}", file=sys.stderr)
        return 1 if isinstance(error, UnfinishedRuns) else 130  # as shells say of a programme that was interrupted
    if options.get("executor") == "print":  # standard output is for the commands
        done = len({row["run"] for row in rows})
        print(f"{done} of {len(expand(values))} runs are finished, {len(rows)} evaluations", file=sys.stderr)
    else:
        print(f"{len({row['run'] for row in rows})} runs, {len(rows)} evaluations")
    return 0


def _info(argv: list[str]) -> None:
    from .grammar import Grammar

    parser = argparse.ArgumentParser("rhm info", allow_abbrev=False)
    parser.add_argument("name", help="a grammar's short name, or a directory that holds a grammar")
    parser.add_argument("--rules_seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    from .inference import plateau, position_entropies

    stored = Path(arguments.name).is_dir()
    grammar = (
        Grammar.from_pretrained(arguments.name)
        if stored
        else Grammar.from_name(arguments.name, rules_seed=arguments.rules_seed)
    )
    length = grammar.sentence_length
    print(f"{grammar.name}\n")
    print(f"tokens per sentence  {length}")
    count = grammar.num_sentences
    print(f"sentences            {'too many to count' if count == math.inf else f'10^{math.log10(count):.3f}'}")
    print(f"entropy              {grammar.entropy:.6f} nats per sentence, {grammar.entropy / length:.6f} per token")
    print("\nBest loss of a model that sees only its own aligned block (nats per token)")
    print(f"{'level':>5} {'block':>6} {'all positions':>14} {'last position':>14}")
    for level in range(grammar.depth + 1):
        try:
            last = f"{float(position_entropies(grammar, level)[-1]):.6f}"
        except ValueError:  # too many contexts to enumerate
            last = "-"
        print(f"{level:5} {grammar.block_length(level):6} {plateau(grammar, level):14.6f} {last:>14}", flush=True)


def _export(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("rhm export", allow_abbrev=False)
    parser.add_argument("name", help="a grammar's short name")
    parser.add_argument("folder", help="where to write; must not exist, or be empty")
    parser.add_argument("--rules_seed", type=int, default=0)
    parser.add_argument("--sample_seed", type=int, default=0)
    for split, size in {"train": 8192, "validation": 1024, "test": 1024}.items():
        parser.add_argument(f"--{split}_size", type=int, default=size)
    parser.add_argument("--levels", action="store_true", help="also the hidden symbols of every level")
    arguments = vars(parser.parse_args(argv))
    from datasets import load_dataset

    from .data import export_parquet

    name, folder = arguments.pop("name"), arguments.pop("folder")
    print(export_parquet(load_dataset("rhm", name, **arguments), folder))


if __name__ == "__main__":
    sys.exit(main())
