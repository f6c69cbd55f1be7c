"""Checkpoints: tensors as safetensors, everything else as JSON, complete or not there.

A checkpoint is a folder `checkpoint-<step>`, written beside its place and renamed when all of it is on the disk. Its
`state.json` holds a SHA-256 of every file, its own content included, so a truncated or damaged checkpoint is noticed
and the one before it is used. Nothing in it is executed when it is read.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ...files import make_readable, remove, sha256, write_atomically
from .checkpoint_files import PREFIX
from .checkpoint_files import checkpoint_steps as steps


STATE = "state.json"
KEEP = 2  # the newest, and the one before it should the newest be damaged


def save(folder: Path, step: int, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
    """Writes `folder/checkpoint-<step>` and removes all but the newest two.

    Args:
        folder (`Path`): of the run.
        step (`int`): optimizer steps made.
        tensors (`dict`): one safetensors file `<key>.safetensors` for each entry.
        state (`dict`): plain values; floats survive JSON to the last bit.
    """
    partial, final = folder / f".{PREFIX}{step}.partial", folder / f"{PREFIX}{step}"
    remove(partial)
    partial.mkdir(parents=True)
    checksums = {}
    for name, values in tensors.items():
        path = partial / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in values.items()}, path)
        checksums[path.name] = sha256(path)
        _flush(path)
    make_readable(partial)
    write_atomically(partial / STATE, json.dumps(_sealed({"state": state, "files": checksums})))
    remove(final)
    os.replace(partial, final)
    _flush(folder)
    for old in steps(folder)[KEEP:]:
        remove(folder / f"{PREFIX}{old}")


def load(folder: Path, step: int) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """The tensors and the state of `folder/checkpoint-<step>`.

    Raises:
        `ValueError`: if a file is missing, truncated or changed.
    """
    place = folder / f"{PREFIX}{step}"
    try:
        if links := [path.name for path in (place, *place.iterdir()) if path.is_symlink()]:
            raise ValueError(f"{links[0]} is a symbolic link")
        sealed = json.loads((place / STATE).read_text())
        if _sealed({"state": sealed["state"], "files": sealed["files"]}) != sealed:
            raise ValueError(f"{STATE} does not match its checksum")
        for name, checksum in sealed["files"].items():
            if name != Path(name).name or sha256(place / name) != checksum:
                raise ValueError(f"{name} does not match its checksum")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{place} is damaged: {error}") from error
    return {name.removesuffix(".safetensors"): load_file(place / name) for name in sealed["files"]}, sealed["state"]


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's state, tied weights under one of their names: safetensors refuses shared memory."""
    second = _second_names(model)
    return {name: value for name, value in model.state_dict().items() if name not in second}


def check_model(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """`ValueError` where tensors are not those of the model, by name, shape or type. Loads nothing."""
    wanted = model_tensors(model)
    _check_tensors("model", wanted, tensors)


def restore_model(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of [`model_tensors`]; `ValueError`, with nothing loaded, where they are another model's."""
    check_model(model, tensors)
    model.load_state_dict(tensors, strict=False)


def _check_tensors(what: str, wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    def described(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
        return {name: f"{tuple(value.shape)} {value.dtype}" for name, value in tensors.items()}

    ours, theirs = described(wanted), described(found)
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"the checkpoint is of another {what}: {name} is {theirs.get(name, 'missing')} there and "
            f"{ours.get(name, 'unknown')} here, one of {len(differing)} differences"
        )


def _second_names(model: torch.nn.Module) -> set[str]:
    return dict(model.named_parameters(remove_duplicate=False)).keys() - dict(model.named_parameters()).keys()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The tensors of the optimizer's state, flat: `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def optimizer_values(optimizer: torch.optim.Optimizer) -> dict[str, int | float | bool | str | None]:
    """What else its state holds, as an optimizer of one's own may: plain values, by the same names.

    Raises:
        `ValueError`: for anything that is neither a tensor nor a plain value, which no checkpoint could hold.
    """
    found = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, bool | int | float | str | None):
                found[f"{index}.{name}"] = value
            elif not isinstance(value, torch.Tensor):
                raise ValueError(
                    f"{type(optimizer).__name__} keeps {name} as a {type(value).__name__}: a checkpoint holds tensors "
                    "and plain values"
                )
    return found


def check_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], values: dict[str, Any] | None = None
) -> None:
    """`ValueError` where a state is not that of an optimizer of these parameters. Loads nothing."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, value in {**tensors, **(values or {})}.items():
        index, _, name = key.partition(".")
        if not (index.isdigit() and name and int(index) < len(parameters)):
            raise ValueError(
                f"the checkpoint's optimizer has a state {key!r} and here are {len(parameters)} parameters"
            )
        shape = tuple(parameters[int(index)].shape)
        alike = isinstance(value, torch.Tensor) and name in _LIKE_PARAMETERS
        if alike and tuple(value.shape) != shape:
            raise ValueError(f"the checkpoint's {key} has shape {tuple(value.shape)}, its parameter {shape}")


_LIKE_PARAMETERS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")  # of the optimizers of torch


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], values: dict[str, Any] | None = None
) -> None:
    """Inverse of [`optimizer_tensors`] and [`optimizer_values`]; learning rates and the like come from the arguments
    and the schedule. `ValueError`, with nothing loaded, where they are another optimizer's."""
    check_optimizer(optimizer, tensors, values)
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **(values or {})}.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def check_state(state: Any, max_steps: int) -> None:
    """`ValueError` where what a checkpoint says beside its tensors is no state of a run of so many steps."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    right = (
        isinstance(state, dict)
        and isinstance(state.get("step"), int)
        and 0 < state["step"] <= max_steps
        and isinstance(state.get("rows"), list)
        and all(isinstance(row, dict) and is_number(row.get("validation_loss")) for row in state["rows"])
        and isinstance(state.get("stopped"), bool)
        and is_number(state.get("seconds"))
        and isinstance(state.get("scheduler"), dict)
    )
    if not right:
        raise ValueError("the checkpoint's state is not that of a run with these arguments")


def _sealed(content: dict) -> dict:
    canonical = json.dumps(content, sort_keys=True)
    return content | {"checksum": hashlib.sha256(canonical.encode()).hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
