"""How cost grows: time and memory against every size that a user can choose, with exponents, as a table and a figure.

    python -m benchmarks.scaling --output docs/figures          # all; a few minutes on one core
    python -m benchmarks.scaling --output docs/figures --only charts
    python -m benchmarks.scaling --output docs/figures --only huge   # 10^9 sentences and characters; half an hour
    python -m benchmarks.scaling --output docs/figures --draw   # the picture alone, from its tables

Times are CPU seconds of one thread, the least of a few calls: on a machine that others use that is what the work
takes. The exponent is that of the last three sizes. A plain copy, measured beside every study, gives the bandwidth
of the memory, and `of_copy` the share of it that reading the input and writing the result once would take: near 1 the
memory bounds the work, far below it the instructions do.
"""

import argparse
import ctypes
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scaling_studies import Study, studies
from rhm_hf.ensembles import group
from rhm_hf.plots import finish, ink, note, sheet
from rhm_hf.training.results import read_csv, write_csv


REPEATS, LEAST = 3, 0.05  # calls, and CPU seconds that they take together at least
COPIED = 2**28  # bytes of the plain copy
GROUP = 2**20  # rows that a process holds while it writes Parquet
LAST = 3  # sizes that the exponent is of
NAME = "scaling_cost"


def cpu_seconds(run: Callable[[], Any]) -> float:
    """The least CPU seconds of a call, after one that is not counted."""
    run()
    found: list[float] = []
    while len(found) < REPEATS or sum(found) < LEAST:
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def grown(run: Callable[[], Any]) -> float | None:
    """MB by which the process's resident memory grows at most during a call; None where the system does not say."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what earlier calls gave back would else be taken again and not be seen
    try:
        reset.write_text("5")  # the peak starts anew
        before = _field(status, "VmRSS")
        run()
        return max(0.0, _field(status, "VmHWM") - before)
    except OSError:
        return None


def _field(status: Path, name: str) -> float:
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1000


def bandwidth(size: int) -> float:
    """GB/s of a plain copy: each byte is read and written."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)  # pages of zeros would be one page
    return 2 * size / cpu_seconds(lambda: np.copyto(target, source)) / 1e9


def rows_of(study: Study, copied: int) -> Iterator[dict[str, Any]]:
    """A row for every size."""
    rate, found = bandwidth(copied), []
    for size in study.sizes:
        call = study.make(size)
        seconds = cpu_seconds(call.run)
        memory = grown(call.run)
        row = {"work": study.work, "axis": study.axis, "size": size, "unit": study.unit, "units": int(call.units)}
        row |= {"seconds": seconds, "ns": seconds / call.units * 1e9, "mb": "" if memory is None else round(memory, 1)}
        row |= {"of_copy": call.bytes / seconds / rate / 1e9, "copy_gb_s": rate}
        found.append(row)
        yield row


def exponent(rows: list[dict[str, Any]]) -> float:
    """d ln(time of a unit) / d ln(size) over the last sizes, by least squares."""
    last = rows[-LAST:]
    logs = np.log([[row["size"], row["ns"]] for row in last])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def concluded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for every study: smallest and largest size, exponent, memory and what bounds it."""
    found = []
    for (work, axis), mine in group(rows, "work", "axis").items():
        first, last = mine[0], mine[-1]
        row = {"work": work, "axis": axis, "unit": first["unit"], "from": first["size"], "to": last["size"]}
        row |= {"ns_from": first["ns"], "ns_to": last["ns"], "exponent": exponent(mine), "mb_to": last["mb"]}
        found.append(row | {"of_copy_to": last["of_copy"]})
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time of a unit against every axis, a panel for each kind of work."""
    kinds = list(group(rows, "work"))
    figure, axes = sheet(len(kinds), height=2.9)
    for ax, kind in zip(axes, kinds, strict=True):
        mine = [row for row in rows if row["work"] == kind]
        unit = mine[0]["unit"]
        scale, name = (1e6, "ms") if unit == "step" else (1.0, "ns")
        for i, (axis, line) in enumerate(group(mine, "axis").items()):
            label = f"{axis.split('; ')[kind == 'charts']}: {exponent(line):+.2f}"
            times = [row["ns"] / scale for row in line]
            ax.plot([row["size"] for row in line], times, label=label, markersize=3.5, **ink(i))
        ax.set_ylabel(f"{name} a {unit}")
        finish(ax, kind, xscale="log", yscale="log", xlabel="size")
        low, high = min(row["ns"] for row in mine) / scale, max(row["ns"] for row in mine) / scale
        ax.set_ylim(low / 1.2, high * max(4.0, (high / low) ** 0.7))  # room for the names
    note(figure, "CPU time of one thread; after the name of an axis its exponent over the last three sizes")
    figure.savefig(path)


# Large amounts, each process in CPU seconds of its own.


def streamed(name: str, sentences: int, processes: int) -> dict[str, Any]:
    """Sentences of the streaming data set written as Parquet, each process its share of the shards."""
    with tempfile.TemporaryDirectory() as folder:
        context = get_context("spawn")
        with context.Pool(processes) as pool:
            jobs = [(name, sentences, processes, i, f"{folder}/{i}.parquet") for i in range(processes)]
            start = time.perf_counter()
            parts = pool.starmap(write_share, jobs)
            wall = time.perf_counter() - start
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "work": f"{name} streamed to Parquet, {processes} process{'es' * (processes > 1)}",
        "amount": sentences,
        "cpu_seconds": sum(seconds for seconds, _ in parts),
        "wall_seconds": wall,
        "mb_a_process": max(memory for _, memory in parts),
        "bytes": size,
    }


def write_share(name: str, sentences: int, processes: int, index: int, path: str) -> tuple[float, float]:
    """CPU seconds, and MB of resident memory at most, of one process.

    A group of a million rows at a time: `IterableDataset.to_parquet` would hold all of its rows before it writes.
    """
    import datasets
    import pyarrow.parquet

    import rhm_hf  # noqa: F401  registers the data set

    datasets.disable_progress_bars()
    sizes = {"train_size": sentences, "validation_size": 0, "test_size": 0}
    rows = datasets.load_dataset("rhm", name, streaming=True, **sizes)["train"]
    start = time.process_time()
    tables = rows.shard(num_shards=processes, index=index).with_format("arrow").iter(GROUP)
    with pyarrow.parquet.ParquetWriter(path, rows.features.arrow_schema) as writer:
        for table in tables:
            writer.write_table(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return time.process_time() - start, peak


def counted_file(characters: int) -> dict[str, Any]:
    """Pairs at eight distances of a text of 64 characters, read and counted by datatrove's pipeline."""
    import json

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader

    from rhm_hf.data import char_corpus
    from rhm_hf.data.pipeline import CountPairs

    alphabet = np.array([chr(c) for c in range(48, 112)])
    with tempfile.TemporaryDirectory() as folder:
        text, place = np.random.default_rng(0).integers(0, 64, 10**5), Path(folder)
        line = json.dumps({"text": "".join(alphabet[text])}) + "\n"
        (place / "whole.txt").write_text("".join(alphabet))
        char_corpus(text_file=place / "whole.txt").tokenizer.save_pretrained(place / "characters")
        (place / "corpus").mkdir()
        with open(place / "corpus" / "0.jsonl", "w") as file:
            for _ in range(max(1, characters // 10**5)):
                file.write(line)
        step = CountPairs(str(place / "counts"), distances=range(1, 9), tokenizer=str(place / "characters"))
        pipeline = [JsonlReader(str(place / "corpus")), step]
        before, start = _cpu(), time.perf_counter()
        LocalPipelineExecutor(pipeline, tasks=1, workers=1, logging_dir=str(place / "logs")).run()
        seconds, wall = _cpu() - before, time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {
        "work": "pairs of characters at 8 distances, by datatrove",
        "amount": max(1, characters // 10**5) * 10**5,
        "cpu_seconds": seconds,
        "wall_seconds": wall,
        "mb_a_process": peak,
        "bytes": "",
    }


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def large(tiny: bool) -> Iterator[dict[str, Any]]:
    """Amounts of some seconds: their cost is proportional to the amount, as the table says."""
    for sentences, processes in ((2**18, 2),) if tiny else ((10**6, 1), (10**7, 1), (10**7, 2)):
        yield streamed("v16-m4-s2-L4", sentences, processes)
    for characters in (10**5,) if tiny else (10**6, 10**7, 10**8):
        yield counted_file(characters)


def huge() -> Iterator[dict[str, Any]]:
    """10^9 of each: half an hour of one core, and 9 GB of disk."""
    yield counted_file(10**9)
    for processes in (1, 2):
        yield streamed("v16-m4-s2-L4", 10**9, processes)


def replaced(path: Path, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """A table with some rows measured anew, written."""
    old = read_csv(path) if path.exists() else []
    new = {tuple(row[key] for key in keys) for row in rows}
    rows = [row for row in old if tuple(row[key] for key in keys) not in new] + rows
    write_csv(path, rows)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, and writes two tables, what follows from the first, and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try that everything runs")
    parser.add_argument("--output", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--only", default="", help="studies whose work begins so, `large` or `huge`")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = given.output / f"{NAME}_times.csv"
    if not given.draw:
        with tempfile.TemporaryDirectory() as folder:
            for study in studies(folder, given.tiny):
                if study.work.startswith(given.only):
                    rows = list(rows_of(study, 2**16 if given.tiny else COPIED))
                    replaced(path, rows, ("work", "axis"))
                    print(f"{study.work}; {study.axis}: exponent {exponent(rows):+.2f}", flush=True)
        if "large".startswith(given.only):
            replaced(given.output / f"{NAME}_large.csv", list(large(given.tiny)), ("work", "amount"))
        if given.only == "huge":
            for row in huge():
                replaced(given.output / f"{NAME}_large.csv", [row], ("work", "amount"))
    rows = read_csv(path)
    write_csv(given.output / f"{NAME}_exponents.csv", concluded(rows))
    draw(rows, given.output / f"{NAME}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
