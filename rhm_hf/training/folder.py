"""The folder of a run: whose it is, whether it is finished, and the model in it."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout
from transformers.utils import logging as transformers_logging

from ..grammar import Grammar
from . import results
from .arguments import Arguments


RUN_FILE = "run.json"  # arguments, and whether the run is finished
RESULTS_FILE = "results.csv"
LOG_FILE = "log.jsonl"
MODEL_FOLDER = "model"  # the best model


def finished(arguments: Arguments) -> list[dict] | None:
    """The rows of a finished run with these very arguments, None where it is not there or not finished."""
    folder = Path(arguments.training.output_dir)
    if not (folder / RUN_FILE).exists():
        return None
    known = json.loads((folder / RUN_FILE).read_text())
    wanted = json.loads(json.dumps(arguments.identity()))
    differing = sorted(k for k in wanted | known["arguments"] if wanted.get(k) != known["arguments"].get(k))
    if differing:
        pairs = ", ".join(f"{k}={known['arguments'].get(k)!r} (now {wanted.get(k)!r})" for k in differing)
        raise ValueError(
            f"output_dir={str(folder)!r} holds a run with {pairs}: choose another output_dir or delete it"
        )
    return results.read_csv(folder / RESULTS_FILE) if known["finished"] else None


def save_model(model, tokenizer, grammar: Grammar | None, folder: Path) -> None:
    """Saves a model, its tokenizer and its grammar; a model that lies there is replaced file by file, weights last."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
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
    for path in sorted((p for p in partial.rglob("*") if p.is_file()), key=lambda p: p.suffix == ".safetensors"):
        target = folder / path.relative_to(partial)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(partial)


@contextlib.contextmanager
def owned(folder: Path, is_main_process: bool):
    """Holds the folder's lock, which the system releases when the process ends, however it ends."""
    if not is_main_process:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeError(
            f"another process is at work in {folder}: wait for it or choose another output_dir"
        ) from None
    try:
        yield
    finally:
        lock.release()
