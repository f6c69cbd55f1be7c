"""What a zygote imports before it forks: modules, and what they keep of themselves. No thread, no random state."""

import contextlib
import functools
import importlib
import importlib.util
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any


# What takes long to import and is imported by functions; the rest is learnt from the first run.
MODULES = (
    "rhm_hf.training.commands",
    "rhm_hf.training.run.loop",
    "rhm_hf.data.rhm",
    "torch._dynamo",
    "transformers.modeling_utils",
    "transformers.generation",
)


def import_libraries() -> None:
    """Imports what every run needs; a module that this version of a library lacks is left to the run."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from .. import results

    results.versions()  # of the code that is imported here
    _load_kernels()


def _load_kernels() -> None:
    """Takes the machine code of sampling from numba's cache, or compiles it, which every fork would do again."""
    from ...grammar import Grammar

    grammar = Grammar.from_name("v4-m2-s2-L2")
    for sampling in ("iid", "unique"):
        grammar.sample(1, sampling=sampling)


def import_modules(names: Sequence[str]) -> None:
    """Imports what a run has imported: modules of this package and of what is installed, nobody's plug-ins."""
    for name in names:
        top = name.partition(".")[0]
        if top in _installed():
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def import_for(config: str) -> None:
    """Imports what a run needs beside that: the module of its model. Whatever fails is said by the run itself."""
    with contextlib.suppress(Exception):
        from ..strict_yaml import read_yaml

        values = read_yaml(config)
        if values.get("imports") is None and ":" not in str(values.get("model_type")):
            _prepare(values.get("model_type"), values.get("lr_scheduler_type"))


@functools.cache
def _prepare(model_type: Any, schedule: Any) -> None:
    """Makes what the first run would make and keep: the class of a model, transformers' table of converted weights."""
    from transformers import AutoConfig

    from ...auto_classes import classes_of
    from .. import plugins

    plugins.check_scheduler(schedule)
    config_class = type(AutoConfig.for_model(model_type))
    for name in ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"):
        classes_of(config_class, name)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    get_checkpoint_conversion_mapping(model_type)


@functools.cache
def _installed() -> frozenset[str]:
    """The packages beside this one that lie where installed ones do, or are Python's own."""
    import sys

    folders = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    found = {path.name.partition(".")[0] for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return frozenset(found | set(sys.stdlib_module_names) | {"rhm_hf"})
