"""The side that hands runs to a zygote: standard library only, so that a cluster's node need import nothing else."""

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


# One thread until a run asks for more: no other thread lives on in a fork. And the driver of a GPU must not be asked
# whether there is one, as no fork could use it after that.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}


class Zygote:
    """A process that imports once and trains each run in a fork of itself; see [`zygote`].

    Args:
        environment (`Mapping[str, str]`, *optional*): variables beside those of this process.
        folder (`str`, *optional*): its working directory.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, folder: str | None = None):
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, **SETTINGS, **(environment or {})},
        )
        self._received = b""

    def start(self, run: str, config: str, output: str, environment: Mapping[str, str]) -> None:
        """Has a run trained; `BrokenPipeError` where the zygote has ended."""
        request = {"run": run, "config": config, "output": output, "environment": dict(environment)}
        self.process.stdin.write((json.dumps(request) + "\n").encode())
        self.process.stdin.flush()

    def ended(self, seconds: float | None = None) -> list[dict[str, Any]] | None:
        """The runs that have ended, waiting for the first of them so many seconds at most, by default for ever.

        Returns:
            `list[dict]`: `run` and exit `status` of each; None where the zygote itself has ended.
        """
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            return []
        part = os.read(self.process.stdout.fileno(), 2**16)
        if not part:
            return None
        *lines, self._received = (self._received + part).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Ends it and the runs that it still trains."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Processes:
    """The same where processes cannot be forked (all but Linux): each run imports for itself."""

    def __init__(self, environment: Mapping[str, str] | None = None, folder: str | None = None):
        self.environment: dict[str, str] = {**os.environ, **SETTINGS, **(environment or {})}
        self.folder: str | None = folder
        self.working: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, run: str, config: str, output: str, environment: Mapping[str, str]) -> None:
        """Starts the process of a run."""
        with open(output, "xb") as file:
            self.working[run] = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("zygote.py")), config],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self.environment, **environment},
            )

    def ended(self, seconds: float | None = None) -> list[dict[str, Any]] | None:
        """The runs that have ended, waiting so many seconds at most for the first."""
        until = math.inf if seconds is None else time.monotonic() + seconds
        while not (ended := [run for run, process in self.working.items() if process.poll() is not None]):
            if not self.working or time.monotonic() >= until:
                return []
            time.sleep(0.05)
        return [{"run": run, "status": self.working.pop(run).returncode} for run in ended]

    def close(self) -> None:
        """Ends the runs that are still trained."""
        for process in self.working.values():
            process.terminate()
        for process in self.working.values():
            process.wait()


def make(environment: Mapping[str, str] | None = None, folder: str | None = None) -> Zygote | Processes:
    """What trains runs on this system."""
    return (Zygote if sys.platform == "linux" else Processes)(environment, folder)


_early: list[Zygote | Processes] = []


def start_early() -> None:
    """Starts a zygote that [`take`] will give, if none is waiting: it imports while this process does."""
    if not _early:
        _early.append(make())


def take() -> Zygote | Processes:
    """A zygote, the one that was started early if there is one."""
    return _early.pop() if _early else make()


def close_early() -> None:
    """Ends a zygote that nobody took."""
    while _early:
        _early.pop().close()
