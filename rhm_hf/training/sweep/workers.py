"""The side that hands runs to a zygote: standard library only, so that a cluster's node need import nothing else."""

import json
import os
import select
import subprocess
import sys
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
        self.process = subprocess.Popen(
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


_early: list[Zygote] = []


def start_early() -> None:
    """Starts a zygote that [`take`] will give, if none is waiting: it imports while this process does."""
    if not _early:
        _early.append(Zygote())


def take() -> Zygote:
    """A zygote, the one that was started early if there is one."""
    return _early.pop() if _early else Zygote()


def close_early() -> None:
    """Ends a zygote that nobody took."""
    while _early:
        _early.pop().close()
