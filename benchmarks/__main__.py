"""`make benchmark`: every module of this folder that defines `rows()`, in one run on this machine, as one table."""

import importlib
import pkgutil
import platform
import sys
import time
from datetime import date

import torch

import benchmarks
from benchmarks import timing


def main(wanted: list[str]) -> None:
    """Prints the table of the wanted modules, all of them by default; with `--cpu` in CPU seconds of this process."""
    if "--cpu" in wanted:
        timing.clock = time.process_time
        wanted = [name for name in wanted if name != "--cpu"]
    others = ("__main__", "timing", "earley", "tiny_models", "plain_earley", "gpu_timing", "gpu_training")
    others += ("coverage", "zoo", "gpu", "fuzz", "fuzz_values", "scaling", "scaling_studies")  # studies of their own
    names = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in others]
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, Python {platform.python_version()}, ", end=""
    )
    print(f"torch {torch.__version__}\n")
    print("| work | ours (s) | plain (s) | plain / ours | goal | note |\n|---|---|---|---|---|---|")
    for name in wanted or names:
        for row in importlib.import_module(f"benchmarks.{name}").rows():
            print(
                f"| {row.name} | {row.ours:.4g} | {row.plain:.4g} | {row.ratio:.3g} | {row.goal} | {row.note} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
