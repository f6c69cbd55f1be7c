"""`make benchmark`: every module of this folder with rows of it, in one run on this machine, as one table."""

import importlib
import platform
import sys
import time
from datetime import date
from pathlib import Path

import torch

from benchmarks import timing


FOLDER = Path(__file__).parent
ROWS = "\ndef rows() -> Iterator[Row]:"  # what a module of the table defines; the others are studies of their own


def main(wanted: list[str]) -> None:
    """Prints the table of the wanted modules, all of them by default; with `--cpu` in CPU seconds of this process."""
    if "--cpu" in wanted:
        timing.clock = time.process_time
        wanted = [name for name in wanted if name != "--cpu"]
    names = [path.stem for path in sorted(FOLDER.glob("*.py")) if ROWS in path.read_text(encoding="utf-8")]
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
