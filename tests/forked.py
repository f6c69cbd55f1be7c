"""Processes of tests that start in milliseconds: imports of transformers and datasets take five seconds."""

import atexit
import multiprocessing
import os
import runpy
import shutil
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

import pytest

from rhm_hf.training.sweep import workers, zygote


ROOT = Path(__file__).resolve().parents[1]
PRELOADED = [
    "evaluate",
    "matplotlib.pyplot",
    "pytest",
    "transformers.models.gpt2.modeling_gpt2",
    "rhm_hf.cli.app",
    "rhm_hf.data.rhm",
    "rhm_hf.drawing.figures",
    "rhm_hf.grammar.layered.laws.layered_laws",
    "rhm_hf.metrics.context_loss",
    "rhm_hf.metrics.effective_context",
    "rhm_hf.metrics.rhm_kl",
    "rhm_hf.training.commands",
    "rhm_hf.training.run.loop",
    "rhm_hf.training.sweep.running",
]


@cache
def apart() -> multiprocessing.context.ForkServerContext:
    """Processes that are forks of one that has imported what tests use, and done nothing else.

    They find an empty home: Hugging Face's libraries read its place as they are imported.
    """
    context, home = multiprocessing.get_context("forkserver"), tempfile.mkdtemp()
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", home)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(sys, "path", [str(ROOT), *sys.path])
        forkserver.ensure_running()
    return context


def exit_code(function, *given) -> int:
    """Of a function that such a process runs to its end: 0 where it returned, 1 where it raised."""
    process = apart().Process(target=function, args=given)
    process.start()
    process.join()
    return process.exitcode


def write_to(output, *descriptors) -> None:
    """Makes what this process says on its descriptors, 1 and 2, go to a file."""
    with open(output, "w", encoding="utf-8") as file:
        for descriptor in descriptors:
            os.dup2(file.fileno(), descriptor)


class Python:
    """Stands in for `subprocess.Popen([sys.executable, ..])` with pipes for its input and output: a fork, too.

    Args:
        command (`list`): as of a process: an interpreter, its options, `-m` and a module or a script, arguments.
        env (`dict`, *optional*): all of its environment; by default that of this process.
        cwd (`str`, *optional*): its working directory.
        text (`bool`, *optional*, defaults to `False`): whether pipes take `str`.
        kwargs: `stdin` and `stdout` are pipes here, whatever is asked for.
    """

    def __init__(self, command, env=None, cwd=None, text=False, **kwargs):
        theirs_in, ours_in = multiprocessing.Pipe(duplex=False)
        ours_out, theirs_out = multiprocessing.Pipe(duplex=False)
        words = [str(word) for word in command[1:] if word != "-P"]
        given = (theirs_in, theirs_out, dict(os.environ if env is None else env), cwd or os.getcwd(), words)
        self._process = apart().Process(target=serve, args=given)
        self._process.start()
        self.pid, self.kill, self.wait = self._process.pid, self._process.kill, self._process.join
        kind = "" if text else "b"
        self.stdin = os.fdopen(os.dup(ours_in.fileno()), f"w{kind}")
        self.stdout = os.fdopen(os.dup(ours_out.fileno()), f"r{kind}")
        for end in (theirs_in, ours_in, ours_out, theirs_out):
            end.close()

    def poll(self):
        """Its exit code, None while it runs."""
        return self._process.exitcode

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.stdin.close()
        self.wait()
        self.stdout.close()


class ForkedZygote(workers.Zygote):
    """A zygote that need not import: it is a fork, too. All else is the zygote's own."""

    def __init__(self, environment=None, folder=None):
        variables = {**os.environ, **workers.SETTINGS, **(environment or {})}
        self.process = Python([sys.executable, "-P", zygote.__file__], variables, folder)
        self._received = b""


def serve(requests, answers, variables, folder, words):
    """What an interpreter does with such words, in a folder with such an environment."""
    os.dup2(requests.fileno(), 0)
    os.dup2(answers.fileno(), 1)
    requests.close()
    answers.close()
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.path[:0] = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = words[1:] if words[0] == "-m" else words
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")
