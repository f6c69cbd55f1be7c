"""Processes of tests that start in milliseconds: imports of transformers and datasets take five seconds."""

import atexit
import multiprocessing
import os
import shutil
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest

from rhm_hf.training.sweep import workers


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


class ForkedZygote(workers.Zygote):
    """A zygote that need not import: it is a fork, too. All else is the zygote's own."""

    def __init__(self, environment=None, folder=None):
        theirs_in, ours_in = multiprocessing.Pipe(duplex=False)
        ours_out, theirs_out = multiprocessing.Pipe(duplex=False)
        variables = {**os.environ, **workers.SETTINGS, **(environment or {})}
        child = apart().Process(target=serve, args=(theirs_in, theirs_out, variables, folder or os.getcwd()))
        child.start()
        self.process = SimpleNamespace(
            pid=child.pid,
            stdin=os.fdopen(os.dup(ours_in.fileno()), "wb"),
            stdout=os.fdopen(os.dup(ours_out.fileno()), "rb"),
            wait=child.join,
            poll=lambda: child.exitcode,
            kill=child.kill,
        )
        for end in (theirs_in, ours_in, ours_out, theirs_out):
            end.close()
        self._received = b""


def serve(requests, answers, variables, folder):
    """What `python -P zygote.py` does in a folder with such an environment."""
    os.dup2(requests.fileno(), 0)
    os.dup2(answers.fileno(), 1)
    requests.close()
    answers.close()
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.path[:0] = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["zygote.py"]
    from rhm_hf.training.sweep import zygote

    sys.exit(zygote.main())
