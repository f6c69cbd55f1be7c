"""A process that imports once and forks a process for every run: `python -P zygote.py`, started by [`workers`].

With the file of a run's arguments after it, it trains that run and nothing else.

Requests come on standard input, one JSON object a line: `{"run": name, "config": file of arguments, "output": file,
"environment": {..}}`. Answers go to standard output: `{"run": name, "status": n}`, n the exit status, negative for a
signal. When standard input ends, all runs do.

A run is a fork of a process that has imported modules and done nothing else: it has one thread, has drawn no random
number, trained nothing and holds no GPU. So a run begins as a process of its own would, whatever was run before it;
one that is killed takes nothing along; and no memory is left behind. Plug-ins (`--import`, `module:Name`) are imported
by the fork, never here.

`-P` keeps the working directory, where a file may be called `datasets.py`, out of the search for modules.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any


PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def main() -> int:
    """Serves until standard input ends; in a fork, trains and ends the process with the exit status of the run."""
    if len(sys.argv) > 1:
        return _train(sys.argv[1])
    answers = os.dup(1)
    os.dup2(2, 1)  # what anybody prints must not end up between the answers
    os.set_inheritable(answers, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; this one ends when it is told to
    signal.signal(signal.SIGTERM, _end)
    here = os.getpid()
    _make_importable()
    from rhm_hf.training.sweep import warming

    warming.import_libraries()
    gc.freeze()  # a collection in a fork would copy all that is imported
    fork = Zygote(answers, warming).serve()
    if fork is None:
        return 0
    request, learnt = fork
    before = set(sys.modules)
    status = 1
    try:
        _become(request, here)
        status = _train(request["config"])
        os.write(learnt, json.dumps(sorted(set(sys.modules) - before)).encode()[: 2**16])
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # all of an exit but the taking apart of what was imported, which takes seconds
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _train(config: str) -> int:
    _make_importable()
    from rhm_hf.training.commands import train_command

    return train_command(["--config", config])


class Zygote:
    """Forks a process for each request and says how it ended.

    Args:
        answers (`int`): descriptor of what is read by who asks.
        warming (module): what to import before a fork.
    """

    def __init__(self, answers: int, warming: Any):
        self.answers: int = answers
        self.warming: Any = warming
        self.waiting: selectors.DefaultSelector = selectors.DefaultSelector()
        self.running: dict[int, tuple[str, int, int]] = {}  # by the descriptor of a process: run, pid, what it learns
        self.received: bytes = b""

    def serve(self) -> tuple[dict[str, Any], int] | None:
        """In a fork its request and the descriptor for the modules that it imports; None here when all is over."""
        self.waiting.register(0, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self.waiting.select():
                    if key.fd != 0:
                        self._answer(key.fd)
                        continue
                    part = os.read(0, 2**16)
                    if not part:
                        return None
                    *lines, self.received = (self.received + part).split(b"\n")
                    for line in lines:
                        if (fork := self._fork(json.loads(line))) is not None:
                            return fork
        finally:
            self.waiting.close()
            for _, process, _ in self.running.values():  # none in a fork
                os.kill(process, signal.SIGTERM)
            for _, process, _ in self.running.values():
                os.waitpid(process, 0)

    def _fork(self, request: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
        self.warming.import_for(request["config"])
        learnt, learns = os.pipe()
        process = os.fork()
        if process == 0:
            for descriptor in (self.answers, learnt, *self.running, *(pipe for _, _, pipe in self.running.values())):
                os.close(descriptor)
            self.running.clear()
            return request, learns
        os.close(learns)
        descriptor = os.pidfd_open(process)
        self.running[descriptor] = request["run"], process, learnt
        self.waiting.register(descriptor, selectors.EVENT_READ)
        return None

    def _answer(self, descriptor: int) -> None:
        run, process, learnt = self.running.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.waiting.unregister(descriptor)
        os.close(descriptor)
        os.write(self.answers, (json.dumps({"run": run, "status": status}) + "\n").encode())
        os.set_blocking(learnt, False)
        with contextlib.suppress(BlockingIOError, ValueError):  # nothing is there from a run that was killed
            self.warming.import_modules(json.loads(os.read(learnt, 2**16) or b"[]"))
        os.close(learnt)


def _become(request: dict[str, Any], parent: int) -> None:
    """Makes a fork the process of a run: its output, its environment, its signals."""
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    os.environ.update(request["environment"])


def _make_importable() -> None:
    """Makes `import rhm_hf` find the package that this file lies in, wherever that is."""
    if "rhm_hf" in sys.modules:
        return
    folder = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "rhm_hf", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["rhm_hf"] = module
    spec.loader.exec_module(module)


def _die_with(parent: int) -> None:
    """Asks Linux to kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
