"""What importing the training loop takes beside the libraries that it brings along, in fresh processes."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.timing import Row


LIBRARIES = "torch, transformers, datasets, accelerate"
SCRIPT = f"""
import time
start = time.process_time()
import {LIBRARIES}
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, get_scheduler
libraries = time.process_time()
from rhm_hf.training import Arguments, train
print(time.process_time() - libraries, libraries - start)
"""
REPEATS = 3


def rows() -> Iterator[Row]:
    """One row, CPU seconds: ours and the libraries', which load the classes of a model at its first use."""
    found = []
    for _ in range(REPEATS):
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        found.append(tuple(map(float, done.stdout.split())))
    ours, libraries = (median(column) for column in zip(*found, strict=True))
    ratio = median(other / own for own, other in found)
    yield Row(
        "import the training loop (rhm_hf.training.train), vs its libraries",
        ours,
        libraries,
        ratio,
        "ours <= 0.2 s",
        LIBRARIES,
    )
