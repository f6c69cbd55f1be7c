"""What a run takes from outside the package: `module:Name` in a YAML file, and modules that are imported first.

Nothing is imported that the arguments do not name. A module is looked for as Python does, then in the working
directory: last, so that a file there hides no library.
"""

import functools
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from ..tasks import Task


def import_modules(names: str) -> None:
    """Imports the modules of `--import a,b`, which register what they bring (models with transformers, families with
    [`rhm_hf.grammar.registry`], tasks in [`rhm_hf.tasks.TASKS`]).

    Raises:
        `ValueError`: for a module that is not there or that fails.
    """
    for name in names.split(","):
        _module("imports", names, name.strip())


def load(argument: str, value: str) -> Any:
    """The object that `module:Name` names.

    Args:
        argument (`str`): whose value it is, for messages.
        value (`str`): `package.module:Name`.

    Raises:
        `ValueError`: for another form, a module that is not there or fails, or a name that it lacks.
    """
    module_name, _, name = value.partition(":")
    module = _module(argument, value, module_name)
    if not hasattr(module, name):
        raise ValueError(f"{argument}={value!r}: the module {module_name} ({module.__file__}) has no {name}")
    return getattr(module, name)


def check_form(argument: str, value: str) -> None:
    """Loads what `module:Name` names and checks that it is a class of the right kind; other values pass."""
    if ":" in value:
        {"model_type": model_class, "task": task_class, "optimizer": optimizer_class}[argument](value)


def model_class(value: str) -> type:
    """The class of models that `model_type: module:Name` names: a `PreTrainedModel` with its `config_class`."""
    from transformers import PreTrainedModel

    found = load("model_type", value)
    _check_class("model_type", value, found, PreTrainedModel)
    if found.config_class is None:
        raise ValueError(f"model_type={value!r} has no config_class: name the class of its configurations there")
    return found


def tasks() -> "dict[str, type[Task]]":
    """The tasks that have a name: those of this package, and what a module of `--import` has added."""
    from ..tasks import TASKS

    return TASKS


def task_class(value: str) -> "type[Task]":
    """The class of a task, one that has a name or one given as `module:Name`."""
    if ":" not in value:
        return tasks()[value]
    from ..tasks import Task

    found = load("task", value)
    _check_class("task", value, found, Task)
    for name in ("name", "auto_classes"):
        if not hasattr(found, name):
            raise ValueError(f"task={value!r} has no attribute {name}: see rhm_hf.tasks.Task")
    return found


def optimizer_class(value: str) -> type:
    """The class of optimizers that `optimizer: module:Name` names."""
    import torch

    found = load("optimizer", value)
    _check_class("optimizer", value, found, torch.optim.Optimizer)
    return found


@functools.cache
def check_scheduler(name: str) -> None:
    """Raises a `ValueError` for a schedule that needs more than a number of steps, or that there is not."""
    import torch
    from transformers import get_scheduler
    from transformers.trainer_utils import SchedulerType

    known = [kind.value for kind in SchedulerType]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        schedule = get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=3)
        optimizer.step()
        schedule.step()
    except Exception as error:
        reason = "" if name not in known else f" ({error})"
        raise ValueError(
            f"lr_scheduler_type={name!r} cannot be used{reason}: take linear, cosine, constant, constant_with_warmup "
            "or another of transformers' that needs the numbers of steps only"
        ) from None


def source_files(*values: str | None) -> list[Path]:
    """The files that plug-ins were loaded from: what a run's result depends on beside its arguments."""
    names = [part.partition(":")[0].strip() for value in values if value for part in value.split(",")]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    return [Path(file) for file in files if file]


def _module(argument: str, value: str, name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{argument}={value!r}: {name!r} is no module's name: write package.module:Name")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(
                f"{argument}={value!r}: there is no module {error.name}, neither installed nor in {here}"
            ) from None
        raise ValueError(f"{argument}={value!r}: importing {name} failed: {error}") from error
    except Exception as error:
        raise ValueError(f"{argument}={value!r}: importing {name} failed: {type(error).__name__}: {error}") from error


def _check_class(argument: str, value: str, found: Any, base: type) -> None:
    if not inspect.isclass(found) or not issubclass(found, base):
        kind = found.__name__ if inspect.isclass(found) else f"a {type(found).__name__}"
        raise ValueError(f"{argument}={value!r} is {kind}, not a subclass of {base.__module__}.{base.__qualname__}")
