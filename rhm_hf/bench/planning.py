"""The runs of a bench: a sweep that chooses learning rates, and one that measures with those."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..training.arguments import Arguments
from ..training.sweep import expand
from .architectures import Architecture, config_fields
from .suite import BenchTask, Suite


SPREAD = "-spread"  # ends the names of the variants whose model seeds are further ones


@dataclass(frozen=True)
class Plan:
    """An architecture, a suite, and the folder of their runs.

    Attributes:
        architecture ([`Architecture`]): what is benched.
        suite ([`Suite`]): with the tasks that it can do.
        folder (`Path`): `tuning/` and `runs/` in it are sweeps like any other.
    """

    architecture: Architecture
    suite: Suite
    folder: Path

    def common(self, task: BenchTask) -> dict[str, Any]:
        """What all runs of a task share."""
        return {
            **self.suite.training,
            **task.arguments,
            "task": task.task,
            "grammar": task.grammar,
            "model_type": self.architecture.model_type,
            "config_overrides": config_fields(self.architecture, self.suite, task),
        }

    def tuning(self) -> dict[str, Any]:
        """The sweep that tries every learning rate of the suite once for every task."""
        suite = self.suite
        tried = {
            task.name: self.common(task)
            | {
                "num_train": task.tuning_size,
                task.varied: suite.tuning_seed,
                "model_seed": suite.model_seed,
                "learning_rate": list(suite.learning_rates),
            }
            for task in suite.tasks
        }
        return {"output_dir": str(self.folder / "tuning"), "variants": tried}

    def measuring(self, rates: Mapping[str, float]) -> dict[str, Any]:
        """The sweep that measures, every task with its learning rate; the longest runs first."""
        suite, measured = self.suite, {}
        for task in suite.tasks:
            own = self.common(task) | {"learning_rate": rates[task.name]}
            cells = {"num_train": list(task.num_train[::-1]), task.varied: list(task.seeds)}
            measured[task.name] = own | cells | {"model_seed": suite.model_seed}
            if suite.spread_seeds:
                further = {"num_train": task.num_train[-1], task.varied: task.seeds[0]}
                measured[task.name + SPREAD] = own | further | {"model_seed": list(suite.spread_seeds)}
        return {"output_dir": str(self.folder / "runs"), "variants": measured}

    def largest(self, task: BenchTask) -> Arguments:
        """One run of a task at its largest P, in a folder that is never written to: for what is tried beforehand."""
        values = self.common(task) | {
            "num_train": task.num_train[-1],
            task.varied: task.seeds[0],
            "learning_rate": self.suite.learning_rates[0],
            "output_dir": str(self.folder / "trial"),
        }
        return Arguments.from_dict(values)

    def num_runs(self) -> dict[str, tuple[int, int]]:
        """Of every task how many runs there are, those that tune included, and how many steps they make at most."""
        rates = dict.fromkeys((task.name for task in self.suite.tasks), self.suite.learning_rates[0])
        found = {}
        for task in self.suite.tasks:
            alone = replace(self, suite=replace(self.suite, tasks=(task,)))
            runs = [*expand(alone.tuning()), *expand(alone.measuring(rates))]
            found[task.name] = len(runs), sum(run.training.max_steps for run in runs)
        return found
