"""Processes of tests that start in milliseconds: imports of transformers and datasets take five seconds."""

import atexit
import multiprocessing
import shutil
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ["evaluate", "matplotlib.pyplot", "rhm_hf.training.run.loop", "rhm_hf.cli.app", "rhm_hf.metrics"]


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
