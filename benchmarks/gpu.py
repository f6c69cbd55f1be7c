"""`make gpu`: does every CUDA path give the CPU's numbers, and how fast is each? One table, and JSON beside it.

First the tests marked `cuda`. Then, with synchronised timers, exact laws and pair counts (each checked against the
CPU), and training (`gpu_training.py`). On a machine without a GPU the same is measured on the CPU, and the table says
so. A measurement that fails is a row with the reason; after the time limit the rest are rows that say so.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import gpu_training
from benchmarks.gpu_timing import Budget, Line, OtherNumbers, per_second
from rhm_hf.files import write_atomically
from rhm_hf.grammar import Grammar
from rhm_hf.inference import next_token_probs, posteriors, prefix_probs
from rhm_hf.statistics.pairs.pair_counts import PairCounts


SAME = 1e-4  # in probability, float32 on a device against float64 on the CPU
CHECKED = 4  # sentences whose laws are compared with the CPU's
HIDDEN = 0.15  # of the tokens, for posteriors


@dataclass(frozen=True)
class Sizes:
    """What is measured: names, sentences of a batch, and sizes of the rest.

    Args:
        next_token, posterior, chart (`tuple`): names of grammars and sentences of a batch.
        tokens (`int`): of a text whose pairs are counted.
        copied (`int`): bytes of the plain copy.
        training ([`~benchmarks.gpu_training.Sizes`]): of the runs.
    """

    next_token: tuple[tuple[str, int], ...]
    posterior: tuple[tuple[str, int], ...]
    chart: tuple[tuple[str, int], ...]
    tokens: int
    copied: int
    training: gpu_training.Sizes


FULL = Sizes(
    next_token=(("v16-m4-s2-L6", 4096), ("v32-m8-s2-L10", 64), ("v16-m4-s2-L6-cut2", 1024)),
    posterior=(("v32-m8-s2-L4", 16384), ("v16-m4-s2-L6", 4096), ("v64-m8-s4-L4", 256), ("v32-m8-s2-L10", 256)),
    chart=(("trees-v16-s2m4-s3m64-L3", 1024), ("pcfg-dyck2", 64)),
    tokens=2**26,
    copied=2**30,
    training=gpu_training.FULL,
)
TINY = Sizes(
    next_token=(("v4-m2-s2-L3", 8),),
    posterior=(("v4-m2-s2-L3", 8),),
    chart=(("trees-v4-s2m2-s3m2-L2", 8),),
    tokens=2**12,
    copied=2**16,
    training=gpu_training.TINY,
)


def copies(sizes: Sizes, device: torch.device, budget: Budget) -> Line:
    """The memory's bandwidth, of a plain copy: each byte is read and written."""
    source = torch.zeros(sizes.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rate = per_second(lambda: target.copy_(source), device, budget.seconds)
    return Line("memory", "plain copy", 2 * sizes.copied * rate / 1e9, "GB/s", f"{sizes.copied} bytes")


def same_as_on_cpu(laws: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor) -> str:
    """A note; `OtherNumbers` where the device has other numbers than the CPU."""
    found, expected = laws(tokens[:CHECKED], torch.float32), laws(tokens[:CHECKED].cpu(), torch.float64)
    worst = float((found.cpu().double() - expected).abs().max())
    if not worst <= SAME:  # NaN is none
        raise OtherNumbers(f"laws differ by {worst:.2g} from those of the CPU in float64")
    return f"within {worst:.1g} of the CPU in float64"


def law_lines(sizes: Sizes, device: torch.device, budget: Budget) -> Iterator[Line]:
    """Next-token laws, posteriors and charts, tokens a second."""
    kinds = {"next-token laws": sizes.next_token, "posteriors": sizes.posterior, "charts": sizes.chart}
    for what, name, num in [(what, *entry) for what, entries in kinds.items() for entry in entries]:
        yield budget.line(what, f"{name}, {num} sentences", partial(law_line, what, name, num, device, budget))


def law_line(what: str, name: str, num: int, device: torch.device, budget: Budget) -> Line:
    """One of them, float32, its first sentences checked against the CPU."""
    source = Grammar.from_name(name)
    rows = source.sample(num, sampling="iid", return_lengths=True)
    tokens, lengths = torch.as_tensor(rows[0].astype(np.int64), device=device), rows[1]
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < HIDDEN

    def laws(some: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if what == "posteriors":
            return posteriors(source, some, mask[: len(some)].to(some.device), dtype=dtype)[0]
        if what == "charts":
            return prefix_probs(source, some, dtype=dtype)[0]
        return next_token_probs(source, some, dtype=dtype)

    note = same_as_on_cpu(laws, tokens)
    rate = per_second(lambda: laws(tokens, torch.float32), device, budget.seconds)
    return Line(what, f"{name}, {num} sentences", float(lengths.sum()) * rate, "tokens/s", note)


def pair_line(sizes: Sizes, device: torch.device, budget: Budget) -> Line:
    """Pairs of a text of 64 ids at eight distances; the counts are those of the CPU."""
    distances, ids = range(1, 9), np.random.default_rng(0).integers(0, 64, sizes.tokens)
    few, all_ids = torch.as_tensor(ids[: 2**12]), torch.as_tensor(ids, device=device)

    def counted(tokens: torch.Tensor, where: torch.device) -> PairCounts:
        counts = PairCounts(distances, 64, device=where)
        counts.add(tokens)
        return counts

    for t in distances:
        one, other = (counted(few.to(where), where).blocks(t).law().values for where in (device, torch.device("cpu")))
        if not np.array_equal(one, other):
            raise OtherNumbers(f"counts at distance {t} differ from those of the CPU")
    rate = per_second(lambda: counted(all_ids, device), device, budget.seconds)
    return Line("pair counts", f"{sizes.tokens} tokens, 8 distances", sizes.tokens * rate, "tokens/s", "as on the CPU")


def tests_line(budget: Budget) -> Line:
    """The tests marked `cuda`, in a process of their own that has half of the time at most."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
    place, most = Path(__file__).parent.parent, max(0.0, budget.left / 2)
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=most)
    except subprocess.TimeoutExpired:
        return Line("tests", "marked cuda", 0.0, "passed", f"not finished after {most:.0f} seconds")
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    # pytest says 5 where nothing was collected, and skips all without a device
    return Line("tests", "marked cuda", float(done.returncode == 0), "passed", last)


def lines(sizes: Sizes, device: torch.device, budget: Budget, with_tests: bool) -> Iterator[Line]:
    """All lines of the table, as they are measured."""
    if with_tests:
        yield tests_line(budget)
    yield budget.line("memory", "plain copy", lambda: copies(sizes, device, budget))
    yield from law_lines(sizes, device, budget)
    yield budget.line("pair counts", f"{sizes.tokens} tokens", lambda: pair_line(sizes, device, budget))
    with tempfile.TemporaryDirectory() as folder:
        yield from gpu_training.lines(sizes.training, device, budget, Path(folder))


def described(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"NO GPU: {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; 1 where a CUDA test failed or a law is another one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try that everything runs")
    parser.add_argument("--no-tests", action="store_true", help="without the tests marked cuda")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu.json"))
    parser.add_argument(
        "--limit", type=float, default=460.0, help="seconds, by which all is measured: what needs more is left out"
    )
    given = parser.parse_args(arguments)
    device, sizes = torch.device(given.device), TINY if given.tiny else FULL
    if device.type == "cpu" and torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"  # runs are where Accelerate puts them
    budget = Budget(time.monotonic() + given.limit, 0.0 if given.tiny else 2.0)
    facts = {"date": str(date.today()), "device": described(device), "torch": torch.__version__, "tiny": given.tiny}
    print(", ".join(f"{value}" for value in facts.values()))
    print("| what | size | value | unit | note |\n|---|---|---|---|---|")
    found = []
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for line in lines(sizes, device, budget, not given.no_tests):
        found.append(line)
        report = facts | {"lines": [asdict(line) for line in found]}
        write_atomically(given.output, json.dumps(report, indent=1) + "\n")  # what ends the rest keeps these
        value = "-" if line.value is None else f"{line.value:.4g}"
        print(f"| {line.what} | {line.size} | {value} | {line.unit} | {line.note} |", flush=True)
    return int(any(line.wrong or (line.what == "tests" and not line.value) for line in found))


if __name__ == "__main__":
    sys.exit(main())
