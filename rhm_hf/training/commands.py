"""What `rhm train` and `rhm sweep` do with their words; the command itself only calls these two."""

import contextlib
import functools
import itertools
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .results import is_main_process
from .strict_yaml import read_yaml


T = TypeVar("T")
INTERRUPTED = 130  # as shells say of a programme that was interrupted


def train_command(argv: Sequence[str], prog: str = "rhm train") -> int:
    """`rhm train --config run.yaml [--argument value ..]`, as [`run_train`], for processes that nobody speaks for.

    Returns:
        `int`: the exit status. What goes wrong is one line on standard error.
    """
    return _said(run_train, argv, prog)


def sweep_command(argv: Sequence[str], prog: str = "rhm sweep") -> int:
    """`rhm sweep --config sweep.yaml ..`, as [`run_sweep`]; what goes wrong is one line on standard error."""
    return _said(run_sweep, argv, prog)


def run_train(argv: Sequence[str], prog: str = "rhm train") -> int:
    """`rhm train --config run.yaml [--argument value ..]`.

    Args:
        argv (`Sequence[str]`): the words after the command.
        prog (`str`, *optional*): what messages begin with.

    Returns:
        `int`: the exit status.

    Raises:
        `ValueError`, `FileExistsError`, `RuntimeError`: for what goes wrong; `UsageError`, a `ValueError`, for words
            that are not understood.
    """
    from .arguments import parse_arguments

    arguments = parse_arguments(argv, prog=prog)
    folder = arguments.training.output_dir
    try:
        from .results import best_row
        from .run.loop import train

        rows = train(arguments, announce=lambda text: print(text, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print(f"\n{prog}: interrupted; the run in {folder} is not finished", file=sys.stderr)
        print("the same command again goes on from its last checkpoint", file=sys.stderr)
        return INTERRUPTED
    if is_main_process():  # under a launcher the first process speaks for all
        row = best_row(rows)
        found = f"KL {row['kl']:.4f} +- {row['kl_stderr']:.4f}" if "kl" in row else f"test loss {row['test_loss']:.4f}"
        print(
            f"{folder}: best at step {row['step']}, validation loss {row['validation_loss']:.4f}, {found} nats per "
            f"target, accuracy {row['test_accuracy']:.3f}"
        )
    return 0


def run_sweep(argv: Sequence[str], prog: str = "rhm sweep", finished: Callable[[Path], None] | None = None) -> int:
    """`rhm sweep --config sweep.yaml [--argument value ..] [--num_workers 2] [--executor local|ray|print]`.

    Args:
        argv (`Sequence[str]`): the words after the command.
        prog (`str`, *optional*): what messages begin with.
        finished (`Callable`, *optional*): is called with the sweep's folder where all runs are finished.

    Returns:
        `int`: the exit status, 1 where runs are missing, which standard error names.

    Raises:
        `ValueError`, `FileExistsError`, `RuntimeError`: as [`run_train`].
    """
    from .sweep import workers

    start_workers(argv)
    try:
        return _sweep(argv, prog, finished)
    finally:
        workers.close_early()


def start_workers(argv: Sequence[str]) -> None:
    """Starts the process that will fork the runs of a sweep, if it will have some: it imports while this one does."""
    from .sweep import workers

    if _wants_workers(argv):
        workers.start_early()


def _wants_workers(argv: Sequence[str]) -> bool:
    """Whether a sweep will surely have processes of its own, as far as its words and its file say at a glance."""
    words = [part for word in argv for part in word.split("=", 1)]
    given = dict(itertools.pairwise(words))
    values = {}
    if "--config" in given:
        with contextlib.suppress(ValueError):  # said in its place
            values = read_yaml(given["--config"])
    values |= {name: given[f"--{name}"] for name in ("num_workers", "executor") if f"--{name}" in given}
    return str(values.get("executor", "local")) == "local" and str(values.get("num_workers", 1)) not in ("1", "None")


def _sweep(argv: Sequence[str], prog: str, finished: Callable[[Path], None] | None) -> int:
    from .arguments import parse_sweep
    from .sweep import OPTIONS, UnfinishedRuns, expand, sweep

    try:
        values = parse_sweep(argv, prog=prog, extra=OPTIONS)
        options = {name: values.pop(name) for name in OPTIONS if name in values and name != "variants"}
        rows = sweep(values, **options)
    except KeyboardInterrupt as error:
        print(f"\n{prog}: {error}", file=sys.stderr)
        return INTERRUPTED
    except UnfinishedRuns as error:  # a line for each
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    if options.get("executor") == "print":  # standard output is for the commands
        done = len({row["run"] for row in rows})
        print(f"{done} of {len(expand(values))} runs are finished, {len(rows)} evaluations", file=sys.stderr)
    else:
        print(f"{len({row['run'] for row in rows})} runs, {len(rows)} evaluations")
        if finished is not None and is_main_process():  # under a launcher the first speaks for all
            finished(Path(expand(values)[0].training.output_dir).parent)
    return 0


def as_command(function: Callable[..., T]) -> Callable[..., T]:
    """Makes `function(argv, name=.., ..)` a command where `argv` is None: what goes wrong is one line, as with `rhm`.

    Elsewhere errors are those of the function. `--debug`, anywhere on the line, shows the traceback.
    """

    @functools.wraps(function)
    def call(argv: Sequence[str] | None, **parts: Any) -> T:
        if argv is not None:
            return function(argv, **parts)
        prog = f"{parts['name']}.py"
        words = [word for word in sys.argv[1:] if word != "--debug"]
        try:
            return function(words, **parts)
        except (KeyboardInterrupt, ValueError, OSError, RuntimeError, ImportError) as error:
            if len(words) < len(sys.argv) - 1:
                traceback.print_exc()
            print(f"{prog}: {str(error) or 'interrupted; the same command again goes on'}", file=sys.stderr)
            sys.exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1))

    return call


def _said(command: Callable[[Sequence[str], str], int], argv: Sequence[str], prog: str) -> int:
    try:
        return command(argv, prog)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, FileExistsError, RuntimeError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
