"""Suites: files that say what is measured. A released one never changes, so that rows made years apart compare."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checks import checked
from ..data.provenance import is_rules_file
from ..training.arguments import check_keys
from ..training.strict_yaml import read_yaml


FOLDER = Path(__file__).parent / "suites"
SHIPPED = {name: f"rhm-bench-1-{name}" for name in ("small", "standard", "paper")}
TASK_KEYS = ("question", "task", "grammar", "num_train", "tuning_size", "seeds", "beyond", "arguments")
SUITE_KEYS = (
    "suite",
    "about",
    "max_parameters",
    "sizes",
    "learning_rates",
    "tuning_seed",
    "seeds",
    "model_seed",
    "spread_seeds",
    "training",
    "tasks",
)


@dataclass(frozen=True)
class BenchTask:
    """One question of a suite.

    Attributes:
        name (`str`): short.
        question (`str`): in one sentence.
        task (`str`): of `rhm tasks`.
        grammar (`str`): a short name, or the path of a file of rules.
        num_train (`tuple[int, ...]`): the ladder of P, increasing.
        tuning_size (`int`): P at which learning rates are tried.
        seeds (`tuple[int, ...]`): independent members: grammars of the ensemble, or samples where rules are given.
        beyond (`bool`): whether the model is also judged at sentences longer than all it was trained on.
        arguments (`dict`): of its runs, over those of the suite.
    """

    name: str
    question: str
    task: str
    grammar: str
    num_train: tuple[int, ...]
    tuning_size: int
    seeds: tuple[int, ...]
    beyond: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def varied(self) -> str:
        """The argument of a run that `seeds` are: `rules_seed`, or `sample_seed` where the rules are given."""
        return "sample_seed" if is_rules_file(self.grammar) else "rules_seed"


@dataclass(frozen=True)
class Suite:
    """What is measured, and how.

    Attributes:
        name, about (`str`): what it is called, and for whom.
        sha256 (`str`): of its file and the files of rules beside it.
        max_parameters (`int`): the largest model that is taken.
        sizes (`dict`): of a model type that is given without sizes.
        learning_rates (`tuple[float, ...]`): tried by everybody.
        tuning_seed (`int`): of the grammars they are tried on, which nothing is measured on.
        model_seed (`int`): of the initial weights.
        spread_seeds (`tuple[int, ...]`): of further models, at the largest P of the first member.
        training (`dict`): arguments of every run.
        tasks (`tuple[BenchTask, ...]`)
    """

    name: str
    about: str
    sha256: str
    max_parameters: int
    sizes: Mapping[str, int]
    learning_rates: tuple[float, ...]
    tuning_seed: int
    model_seed: int
    spread_seeds: tuple[int, ...]
    training: Mapping[str, Any]
    tasks: tuple[BenchTask, ...]

    def only(self, names: Sequence[str]) -> "Suite":
        """The same with some of its tasks.

        Raises:
            `ValueError`: for a name that is no task's.
        """
        known = [task.name for task in self.tasks]
        if wrong := [name for name in names if name not in known]:
            raise ValueError(f"tasks={','.join(wrong)}: {self.name} has the tasks {', '.join(known)}")
        return replace(self, tasks=tuple(task for task in self.tasks if task.name in names))

    def tiny(self) -> "Suite":
        """The same at toy size: the whole way in seconds. Its numbers mean nothing, and its name says so."""
        from ..training.tiny import FIXED, shrunk

        fixed = {name: value for name, value in FIXED.items() if value is not None}
        tasks = tuple(
            replace(
                task,
                grammar=shrunk({"grammar": task.grammar})["grammar"],
                num_train=(16, 24),
                tuning_size=16,
                seeds=task.seeds[:2],
            )
            for task in self.tasks
        )
        return replace(
            self,
            name=f"{self.name}-tiny",
            sizes={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
            learning_rates=self.learning_rates[:2],
            spread_seeds=self.spread_seeds[:1],
            training={**self.training, **fixed, "max_steps": 3, "patience": 0},
            tasks=tasks,
        )


@checked
def load_suite(name: str) -> Suite:
    """A suite by its name (`small`, `standard`, `paper`), or from a YAML file of one's own.

    Raises:
        `ValueError`: for a name that is none, a file that cannot be read, a key that is unknown or missing.
    """
    path = Path(name)
    if name in SHIPPED:
        path = FOLDER / f"{SHIPPED[name]}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"suite={name!r} must be one of {', '.join(SHIPPED)}, or a YAML file such as {FOLDER}/*.yaml")
    values = read_yaml(path)
    _check(values, SUITE_KEYS, ("spread_seeds", "model_seed"), str(path))
    tasks, files = [], [path]
    for task, own in values["tasks"].items():
        _check(own, TASK_KEYS, ("tuning_size", "seeds", "beyond", "arguments"), f"{path}: {task}")
        grammar = own["grammar"]
        if is_rules_file(grammar):
            files.append(path.parent / grammar)
            grammar = str(files[-1])
        sizes = tuple(sorted(own["num_train"]))
        tasks.append(
            BenchTask(
                task,
                own["question"],
                own["task"],
                grammar,
                sizes,
                own.get("tuning_size", sizes[len(sizes) // 2]),
                tuple(own.get("seeds", values["seeds"])),
                own.get("beyond", False),
                own.get("arguments", {}),
            )
        )
        check_keys(tasks[-1].arguments)
    check_keys(values["training"])
    return Suite(
        name=values["suite"],
        about=values["about"],
        sha256=_hash(files),
        max_parameters=values["max_parameters"],
        sizes=values["sizes"],
        learning_rates=tuple(values["learning_rates"]),
        tuning_seed=values["tuning_seed"],
        model_seed=values.get("model_seed", 0),
        spread_seeds=tuple(values.get("spread_seeds", ())),
        training=values["training"],
        tasks=tuple(tasks),
    )


def _hash(files: Sequence[Path]) -> str:
    """SHA-256 of the contents of files, in order, each once."""
    found = hashlib.sha256()
    for file in dict.fromkeys(files):
        found.update(file.read_bytes())
    return found.hexdigest()


def _check(values: Any, known: Sequence[str], optional: Sequence[str], where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where} must hold a mapping, not {type(values).__name__}")
    unknown, missing = sorted(values.keys() - set(known)), sorted(set(known) - set(optional) - values.keys())
    if unknown or missing:
        said = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise ValueError(f"{where} has {said}: a suite is made of {', '.join(known)}")
