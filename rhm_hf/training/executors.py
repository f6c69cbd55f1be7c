"""Where the runs of a sweep are trained: this process, processes beside it, Ray, or a list of commands.

Each executor trains runs that know nothing of each other and yields every run when it has ended, well or not: whether
it is finished is written in its folder. All but the first start the same command, `rhm train --config
<folder>/arguments.yaml`.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml
from accelerate.utils import parse_flag_from_env

from .arguments import Arguments
from .checkpoint import write_atomically
from .loop import train


ARGUMENTS_FILE = "arguments.yaml"
OUTPUT_FILE = "output.txt"
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def prepare(run: Arguments) -> Path:
    """Makes the folder of a run and writes its arguments there; the path of that file."""
    path = Path(run.training.output_dir) / ARGUMENTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(run.to_dict(), sort_keys=False))
    return path


def command(run: Arguments) -> list[str]:
    """`rhm train --config <folder>/arguments.yaml`, without its interpreter: the words after `python`."""
    return ["-m", "rhm_hf.cli", "train", "--config", str(Path(run.training.output_dir) / ARGUMENTS_FILE)]


def in_process(runs: Sequence[Arguments]) -> Iterator[Arguments]:
    """One after the other in this process, or in all processes of a launcher."""
    for run in runs:
        if int(os.environ.get("RANK", 0)) == 0:
            prepare(run)
            _output(run).unlink(missing_ok=True)  # of an earlier attempt
        try:
            train(run)
        except Exception:
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # the others would wait for this process for ever
                raise
            _output(run).write_text(traceback.format_exc())
        yield run


def in_processes(runs: Sequence[Arguments], num_workers: int) -> Iterator[Arguments]:
    """At most `num_workers` at a time, each in a process with one thread unless `num_threads` says otherwise.

    Workers share the visible GPUs round robin: worker k sees the one at place k modulo their number.
    """
    waiting, gpus = list(runs), visible_gpus()
    working: dict[int, tuple[subprocess.Popen, Arguments]] = {}
    try:
        while waiting or working:
            for worker in range(num_workers):
                if worker not in working and waiting:
                    run = waiting.pop(0)
                    working[worker] = _start(run, gpus[worker % len(gpus)] if gpus else None), run
            time.sleep(0.1)
            for worker in [k for k, (process, _) in working.items() if process.poll() is not None]:
                yield working.pop(worker)[1]
    finally:  # where this is interrupted, nobody would wait for them
        for process, _ in working.values():
            process.terminate()
        for process, _ in working.values():
            process.wait()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available():
        return []
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",") if listed else [str(number) for number in range(torch.cuda.device_count())]


def _start(run: Arguments, gpu: str | None) -> subprocess.Popen:
    prepare(run)
    environment = os.environ | _threads(run) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    with open(_output(run), "w") as output:
        return subprocess.Popen(
            [sys.executable, *command(run)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def _output(run: Arguments) -> Path:
    return Path(run.training.output_dir) / OUTPUT_FILE


def last_line(run: Arguments) -> str:
    """How the output of a run ends, and where it is."""
    path = _output(run)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return f"{lines[-1]} ({path})" if lines else "no output"


def _threads(run: Arguments) -> dict[str, str]:
    threads = str(run.training.num_threads or 1)
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}


# A sweep that is killed cannot stop its workers: Linux does. Loaded here, as little as possible is safe after a fork.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def on_ray(runs: Sequence[Arguments], num_workers: int | None, runs_per_gpu: int | None) -> Iterator[Arguments]:
    """As many at a time as the resources of a Ray cluster allow, at most `num_workers` where that is given.

    A run takes `num_threads` CPUs (one where it is left out) and, where the cluster has GPUs, the share
    1 / `runs_per_gpu` of one. Joins the cluster that runs here or at RAY_ADDRESS, else starts one on this machine for
    as long as the sweep takes. Folders must be the same for all nodes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported
    try:
        import ray
    except ImportError:
        raise ValueError("executor='ray' needs the package ray: pip install 'rhm-hf[ray]'") from None
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        share = _gpu_share(ray.cluster_resources().get("GPU", 0), runs_per_gpu)
        task, waiting, working = ray.remote(_ray_task()), list(runs), {}
        while waiting or working:
            while waiting and (num_workers is None or len(working) < num_workers):
                run = waiting.pop(0)
                cpus, name = run.training.num_threads or 1, prepare(run).parent.name
                environment = _threads(run) | ({} if share else {"CUDA_VISIBLE_DEVICES": ""})
                submitted = task.options(num_cpus=cpus, num_gpus=share, name=name).remote(
                    command(run), os.getcwd(), str(_output(run)), environment
                )
                working[submitted] = run
            for ended in ray.wait(list(working))[0]:
                run = working.pop(ended)
                try:
                    ray.get(ended)
                except ray.exceptions.RayError as error:  # a lost node, a folder that is not there
                    _output(run).write_text(str(error))
                yield run
    finally:
        if started:
            ray.shutdown()


def _ray_task():
    """What a Ray worker does, sent by value and with standard modules only: it need not import torch."""

    def call(words: list[str], folder: str, output: str, environment: dict[str, str]) -> None:
        with open(os.path.join(folder, output), "w") as file:
            subprocess.run(
                [sys.executable, *words],
                cwd=folder,
                env=os.environ | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )

    return call


def _gpu_share(gpus: float, runs_per_gpu: int | None) -> float:
    if parse_flag_from_env("ACCELERATE_USE_CPU") or not gpus:
        if runs_per_gpu is not None:
            raise ValueError(f"runs_per_gpu={runs_per_gpu} and the Ray cluster has no GPU to use: leave it out")
        return 0
    return 1 / (runs_per_gpu or 1)


def print_commands(runs: Sequence[Arguments]) -> Iterator[Arguments]:
    """Trains nothing: prints one shell command per run, to be started from the folder the sweep was."""
    for run in runs:
        prepare(run)
        print(shlex.join([sys.executable, *command(run)]))
        yield run
