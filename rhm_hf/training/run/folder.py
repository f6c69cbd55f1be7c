"""The folder of a run: whose it is, whether it is finished, and the model in it."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...files import make_readable, own_folder, remove, remove_partial, sha256, write_atomically
from .. import results
from ..arguments import Arguments
from . import identity
from .checkpoint_files import PREFIX, checkpoint_steps, remove_checkpoints


RUN_FILE = "run.json"  # arguments, what they stand for, and whether the run is finished
RESULTS_FILE = "results.csv"
LOG_FILE = "log.jsonl"
PROGRESS_FILE = "progress.json"
MODEL_FOLDER = "model"  # the best model
PROGRESS_EVERY = 2.0  # seconds between two writings of PROGRESS_FILE


def finished(arguments: Arguments) -> list[dict[str, Any]] | None:
    """The rows of a finished run with these very arguments, None where it is not there or not finished.

    Raises:
        `ValueError`: where the folder holds another run, one of a text or grammar that has changed since, or a
            finished one whose results.csv is not what it was when the run ended.
    """
    folder = Path(arguments.training.output_dir)
    known = _read(folder)
    if known is None:
        return None
    identity.check_same(known, arguments)
    return _rows(folder, known) if known["finished"] else None


def _read(folder: Path) -> dict[str, Any] | None:
    """What run.json says, None where there is none."""
    path = folder / RUN_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(known, dict) and isinstance(known["arguments"], dict) and known["finished"] in (0, 1)):
            raise ValueError("it has no arguments or does not say whether the run is finished")
        return known
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"output_dir={str(folder)!r} cannot be read: {error.strerror}: {path}") from None
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, and the run goes on from its checkpoint") from None


def _rows(folder: Path, known: dict[str, Any]) -> list[dict[str, Any]]:
    path = folder / RESULTS_FILE
    remedy = f"put it back, or delete {folder} to train again"
    if not path.is_file():
        raise ValueError(f"{path} of a finished run is missing: {remedy}")
    if known.get("results_sha256") not in (None, sha256(path)):  # None: of version 0.1.0
        raise ValueError(f"{path} is not as the run left it, but cut short or changed: {remedy}")
    return results.read_csv(path)


def write_run(folder: Path, arguments: Arguments, is_finished: bool) -> None:
    """Writes run.json: the arguments, the content of what they name, and the checksum of a whole run's results."""
    values = identity.described(arguments) | {"finished": is_finished}
    if is_finished:
        values["results_sha256"] = sha256(folder / RESULTS_FILE)
    write_atomically(folder / RUN_FILE, json.dumps(values, indent=2) + "\n")


def clean(folder: Path) -> None:
    """Removes what a run needs no more once it is finished, and what one that was killed has left."""
    remove_checkpoints(folder)
    remove_partial(folder)
    (folder / PROGRESS_FILE).unlink(missing_ok=True)


def needs_cleaning(folder: Path) -> bool:
    """Whether a finished run was killed before it had cleaned up."""
    return any(folder.glob(f"{PREFIX}*")) or any(folder.glob(".*.partial*"))


def save_model(model: Any, tokenizer: Any, grammar: Any, folder: Path) -> None:
    """Saves a model, its tokenizer and its grammar; a model that lies there is replaced file by file, weights last."""
    from transformers.utils import logging as transformers_logging

    partial = folder.with_name(f".{folder.name}.partial")
    remove(partial)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model.save_pretrained(partial)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    tokenizer.save_pretrained(partial)
    if grammar is not None:
        grammar.save_pretrained(partial / "grammar")
    make_readable(partial)
    own_folder(folder)
    for path in sorted((p for p in partial.rglob("*") if p.is_file()), key=lambda p: p.suffix == ".safetensors"):
        target = folder / path.relative_to(partial)
        own_folder(target.parent).mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    remove(partial)


@contextlib.contextmanager
def owned(folder: Path, is_main_process: bool) -> Iterator[None]:
    """Holds the folder's lock, which the system releases when the process ends, however it ends."""
    if not is_main_process:
        yield
        return
    lock = FileLock(folder / ".lock", mode=0o644)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another process is at work in {folder}: wait for it or choose another output_dir"
        ) from None
    except OSError as error:
        raise ValueError(
            f"output_dir={str(folder)!r} cannot be written: {error.strerror}: choose another output_dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


class ProgressFile:
    """How far a run is, for whoever watches its folder: rewritten every two seconds, gone when it ends."""

    def __init__(self, folder: Path, max_steps: int, active: bool):
        self.path: Path = folder / PROGRESS_FILE
        self.max_steps: int = max_steps
        self.active: bool = active
        self._next = time.monotonic()

    def update(self, step: int) -> None:
        """Called at each step; most calls do nothing."""
        if self.active and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_EVERY
            values = {"step": step, "max_steps": self.max_steps, "time": time.time()}
            try:
                write_atomically(self.path, json.dumps(values) + "\n")
            except OSError as error:  # a full disk ends a run at its next checkpoint, not here
                print(f"{self.path}: {error.strerror}", file=sys.stderr)


def steps_done(folder: Path) -> int:
    """How many steps a run has made, 0 where nothing says so."""
    try:
        return int(json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return max(checkpoint_steps(folder), default=0) if folder.is_dir() else 0
