"""Where the runs of a sweep are trained: this process, processes beside it, Ray, or a list of commands.

Each executor trains runs that know nothing of each other and yields every run when it has ended, well or not: whether
it is finished is written in its folder. In between it yields None about once a second, so that whoever waits can look
how far the runs are. All but the first do what `rhm train --config <folder>/arguments.yaml` does.
"""

import contextlib
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...files import open_plain, write_atomically
from ..arguments import Arguments, dump_yaml
from . import workers


ARGUMENTS_FILE = "arguments.yaml"
OUTPUT_FILE = "output.txt"
HEARTBEAT = 1.0  # seconds
ATTEMPTS = 2  # of a run whose zygote ended: it need not be the run's fault


def prepare(run: Arguments) -> Path:
    """Makes the folder of a run and writes its arguments there; the path of that file."""
    path = Path(run.training.output_dir) / ARGUMENTS_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dump_yaml(run.to_dict()))
    except OSError as error:
        raise ValueError(
            f"output_dir={run.training.output_dir!r} cannot be written: {error.strerror}: choose another output_dir"
        ) from None
    return path


def command(run: Arguments) -> list[str]:
    """`rhm train --config <folder>/arguments.yaml`, without its interpreter: the words after `python`.

    `-P` keeps the working directory out of the search for modules: a file there may be called `datasets.py`.
    """
    path = Path(run.training.output_dir) / ARGUMENTS_FILE
    return ["-P", "-m", "rhm_hf.cli", "train", "--config", str(path)]


def in_process(runs: Sequence[Arguments]) -> Iterator[Arguments]:
    """One after the other in this process, or in all processes of a launcher."""
    from ..run import loop  # with all that trains, which a process that hands runs on does not need

    for run in runs:
        if int(os.environ.get("RANK", 0)) == 0:
            prepare(run)
            output_of(run).unlink(missing_ok=True)  # of an earlier attempt
        try:
            loop.train(run)
        except Exception:
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # the others would wait for this process for ever
                raise
            write_output(run, traceback.format_exc())
        yield run


def in_processes(runs: Sequence[Arguments], num_workers: int) -> Iterator[Arguments | None]:
    """At most `num_workers` at a time, each a process with one thread unless `num_threads` says otherwise.

    All are forks of one process that has imported what they need. Workers share the visible GPUs round robin: worker k
    sees the one at place k modulo their number.
    """
    waiting, gpus = list(runs), visible_gpus()
    free = list(range(num_workers))
    working: dict[str, tuple[int, Arguments]] = {}
    attempts: dict[str, int] = {}
    zygote = workers.take()
    try:
        while waiting or working:
            try:
                while waiting and free:
                    run, worker = waiting.pop(0), free.pop(0)
                    working[run.training.output_dir] = worker, run
                    _hand_over(zygote, run, gpus[worker % len(gpus)] if gpus else None)
                ended = zygote.ended(HEARTBEAT)
            except BrokenPipeError:
                ended = None
            if ended is None:
                zygote.close()
                zygote = workers.make()
                for name, (worker, run) in list(working.items()):
                    del working[name]
                    free.append(worker)
                    attempts[name] = attempts.get(name, 0) + 1
                    if attempts[name] < ATTEMPTS:
                        waiting.insert(0, run)
                    else:
                        write_output(run, "the process that trains the runs of the sweep was ended from outside\n")
                        yield run
                continue
            for answer in ended:
                worker, run = working.pop(answer["run"])
                free.append(worker)
                say_how_it_ended(run, answer["status"])
                yield run
            if not ended:
                yield None
    finally:  # where this is interrupted, nobody would wait for them
        zygote.close()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch
    from accelerate.utils import parse_flag_from_env

    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available():
        return []
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",") if listed else [str(number) for number in range(torch.cuda.device_count())]


def _hand_over(zygote: workers.Zygote | workers.Processes, run: Arguments, gpu: str | None) -> None:
    path = prepare(run)
    remove_output(run)
    environment = threads_of(run) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    zygote.start(run.training.output_dir, str(path), str(output_of(run)), environment)


def output_of(run: Arguments) -> Path:
    """The file that what a run prints goes to."""
    return Path(run.training.output_dir) / OUTPUT_FILE


def remove_output(run: Arguments) -> None:
    """Removes the output of an earlier attempt, or a link that lies in its place."""
    with contextlib.suppress(FileNotFoundError):
        output_of(run).unlink()


def write_output(run: Arguments, text: str) -> None:
    """Adds to the output of a run."""
    with os.fdopen(open_plain(output_of(run), append=True), "a", encoding="utf-8") as file:
        file.write(text)


def say_how_it_ended(run: Arguments, status: int) -> None:
    """Adds a line to the output of a run that a signal ended: it could not say so itself."""
    if status < 0:
        write_output(run, f"ended by the signal {signal.Signals(-status).name}\n")


def last_line(run: Arguments) -> str:
    """How the output of a run ends, and where it is."""
    path = output_of(run)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return f"{lines[-1]} ({path})" if lines else "no output"


def threads_of(run: Arguments) -> dict[str, str]:
    """The environment of a run with so many threads."""
    threads = str(run.training.num_threads or 1)
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


def print_commands(runs: Sequence[Arguments]) -> Iterator[Arguments]:
    """Trains nothing: prints one shell command per run, to be started from the folder the sweep was."""
    for run in runs:
        prepare(run)
        print(shlex.join([sys.executable, *command(run)]))
        yield run
