"""Checkpoints: tensors as safetensors, everything else as JSON, complete or not there.

A checkpoint is a folder `checkpoint-<step>`, written beside its place and renamed when all of it is on the disk. Its
`state.json` holds a SHA-256 of every file, its own content included, so a truncated or damaged checkpoint is noticed
and the one before it is used. Nothing in it is executed when it is read.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


PREFIX = "checkpoint-"
STATE = "state.json"
KEEP = 2  # the newest, and the one before it should the newest be damaged


def save(folder: Path, step: int, tensors: dict[str, dict[str, torch.Tensor]], state: dict) -> None:
    """Writes `folder/checkpoint-<step>` and removes all but the newest two.

    Args:
        tensors: one safetensors file `<key>.safetensors` for each entry.
        state: plain values; floats survive JSON to the last bit.
    """
    partial, final = folder / f".{PREFIX}{step}.partial", folder / f"{PREFIX}{step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    checksums = {}
    for name, values in tensors.items():
        path = partial / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in values.items()}, path)
        checksums[path.name] = _sha256(path)
        _flush(path)
    write_atomically(partial / STATE, json.dumps(_sealed({"state": state, "files": checksums})))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    _flush(folder)
    for old in steps(folder)[KEEP:]:
        shutil.rmtree(folder / f"{PREFIX}{old}")


def load(folder: Path, step: int) -> tuple[dict[str, dict[str, torch.Tensor]], dict]:
    """The tensors and the state of `folder/checkpoint-<step>`.

    Raises:
        `ValueError`: if a file is missing, truncated or changed.
    """
    place = folder / f"{PREFIX}{step}"
    try:
        sealed = json.loads((place / STATE).read_text())
        if _sealed({"state": sealed["state"], "files": sealed["files"]}) != sealed:
            raise ValueError(f"{STATE} does not match its checksum")
        for name, checksum in sealed["files"].items():
            if _sha256(place / name) != checksum:
                raise ValueError(f"{name} does not match its checksum")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place} is damaged: {error}") from error
    return {name.removesuffix(".safetensors"): load_file(place / name) for name in sealed["files"]}, sealed["state"]


def steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in a folder, newest first, damaged ones included."""
    names = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def remove_all(folder: Path) -> None:
    """Removes every checkpoint, whole or partial, of a run that needs them no more."""
    for path in (*folder.glob(f"{PREFIX}*"), *folder.glob(f".{PREFIX}*.partial")):
        shutil.rmtree(path)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file beside its place and renames it: it is never seen half written."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's state, tied weights under one of their names: safetensors refuses shared memory."""
    return {name: value for name, value in model.state_dict().items() if name not in _second_names(model)}


def restore_model(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of [`model_tensors`]; `ValueError` where names are missing or unknown."""
    missing, unknown = model.load_state_dict(tensors, strict=False)
    if unknown or set(missing) - _second_names(model):
        raise ValueError(f"the checkpoint is of another model: it lacks {missing} and has {unknown}")


def _second_names(model: torch.nn.Module) -> set[str]:
    return dict(model.named_parameters(remove_duplicate=False)).keys() - dict(model.named_parameters()).keys()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as flat tensors: `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of [`optimizer_tensors`]; learning rates and the like come from the arguments and the schedule."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _sealed(content: dict) -> dict:
    canonical = json.dumps(content, sort_keys=True)
    return content | {"checksum": hashlib.sha256(canonical.encode()).hexdigest()}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
