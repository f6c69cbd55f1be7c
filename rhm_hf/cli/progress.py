"""Nothing is silent: a bar with an estimate in a terminal, a line a minute elsewhere. All on standard error."""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


SECONDS = 60.0  # between lines, where there is no terminal


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[[float], None]]:
    """Shows that `label` goes on; yields a function that counts what is done.

    Args:
        label (`str`): what is done.
        total (`float`, *optional*): how much there is to do; without it there is no estimate.
        unit (`str`, *optional*): what is counted, in the plural.
    """
    if sys.stderr.isatty():
        with _bar(label, total, unit) as advance:
            yield advance
        return
    lines = Lines(label, total, unit)
    thread = threading.Thread(target=lines.run, daemon=True)
    thread.start()
    try:
        yield lines.advance
    finally:
        lines.over.set()
        thread.join()


@contextmanager
def _bar(label: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    counted = [TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit), TimeRemainingColumn()] if total else []
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total)
        yield lambda amount=1: shown.advance(task, amount)


class Lines:
    """Counts, and writes a line a minute until it is over."""

    def __init__(self, label: str, total: float | None, unit: str):
        self.label: str = label
        self.total: float | None = total
        self.unit: str = unit
        self.done: float = 0.0
        self.start: float = time.monotonic()
        self.over: threading.Event = threading.Event()

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""
        self.done += amount

    def run(self) -> None:
        """Writes until it is over."""
        while not self.over.wait(SECONDS):
            print(self.line(time.monotonic() - self.start), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """What is said after so many seconds."""
        text = f"{self.label}: {duration(seconds)}"
        if self.total:
            text += f", {self.done:.0f} of {self.total:.0f} {self.unit}".rstrip()
            if self.done:
                text += f", about {duration(seconds / self.done * max(0.0, self.total - self.done))} to go"
        elif self.done:
            text += f", {self.done:.0f} {self.unit}".rstrip()
        return text


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def counting(model: Any, label: str, total: float | None = None) -> Iterator[None]:
    """Counts the rows that a model reads, whoever calls it.

    Args:
        model (`PreTrainedModel`): its trunk is watched by a forward hook, which is removed afterwards.
        label (`str`): what is done.
        total (`float`, *optional*): rows that will be read, where that is known.
    """
    with progress(label, total, "rows") as advance:
        trunk, left = getattr(model, "base_model", model), math.inf if total is None else total

        def count(module, args, kwargs, output) -> None:
            nonlocal left
            rows = kwargs.get("input_ids", args[0] if args else None)
            read = len(rows) if rows is not None and hasattr(rows, "__len__") else 1
            read = min(read, left)  # the few rows of finding out what the model is come on top of the total
            left -= read
            advance(read)

        hook = trunk.register_forward_hook(count, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


@contextmanager
def heavy(what: str = "PyTorch and Transformers") -> Iterator[None]:
    """Says so while libraries are imported that take seconds."""
    with progress(f"loading {what}"):
        yield
