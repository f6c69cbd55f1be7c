"""What importing the training loop takes beside the libraries that it brings along, in fresh processes.

With bytecode at hand, as every installation has it: the first process, which is not counted, writes it.
"""

import os
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
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(1 + REPEATS):
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found.append(tuple(map(float, done.stdout.split())))
    found = found[1:]
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
