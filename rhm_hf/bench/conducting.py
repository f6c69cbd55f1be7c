"""A bench from start to end: tried, tuned, measured, asked, recorded. Started again, it goes on where it stopped."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..data.provenance import is_rules_file
from ..files import write_atomically
from ..judging.sentences import pad_id, row_lengths
from ..training.arguments import Arguments
from ..training.data import load_data
from ..training.recipe import KeptRun, kept_runs
from ..training.sweep import UnfinishedRuns, expand, sweep
from ..training.sweep.executors import last_line
from .afterwards import beyond_training, nearest_oracle
from .counters import count_run, why_not
from .levels import curves, learnt, left, left_row
from .planning import SPREAD, Plan
from .records import new_record
from .suite import BenchTask
from .tryout import Tried, try_tasks
from .yardsticks import source_of, yardstick


RATES_FILE = "rates.json"
CELLS_FILE = "cells.json"  # of learners that count: what is found so far
DIVERGED = "training diverged"  # in how the output of such a run ends
SCORES = ("kl", "kl_stderr", "kl_last", "kl_end", "entropy", "accuracy", "bayes_accuracy", "error_gap")


class Waiting(RuntimeError):
    """Says how a bench goes on whose runs are somebody else's to train: the printed commands."""


def conduct(
    plan: Plan, options: Mapping[str, Any], command: str, announce: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Benches an architecture on a suite.

    Args:
        plan ([`Plan`]): with all tasks of the suite.
        options (`Mapping`): of [`~rhm_hf.training.sweep.sweep`]: `num_workers`, `executor`, `runs_per_gpu`.
        command (`str`): that does the same, for the record.
        announce (`Callable`, *optional*): is told, in a line, what begins.

    Returns:
        `dict`: the record, see [`rhm_hf.bench.records`].

    Raises:
        `ValueError`: for a model that is refused, before anything is trained.
        [`~rhm_hf.training.sweep.UnfinishedRuns`]: where runs failed; the others are kept.
        [`Waiting`]: with `executor="print"`, as long as runs are missing.
    """
    if plan.architecture.counts:
        return _counted(plan, command, announce)
    announce(f"{plan.architecture.name}: trying the {len(plan.suite.tasks)} tasks of {plan.suite.name}")
    plan, tried, left_out = try_tasks(plan)
    announce(f"{plan.architecture.name}: learning rates, on a grammar that nothing is measured on")
    rates = _rates(plan, options)
    announce(f"{plan.architecture.name}: measuring, {len(expand(plan.measuring(_chosen(rates))))} runs")
    values = plan.measuring(_chosen(rates))
    rows = sweep(values, **options)
    _check_all_there(values, rows)
    runs = kept_runs(rows, values)
    ends = {row["run"]: row for row in rows}  # the last evaluation of every run
    tasks = {}
    for trial in tried:
        announce(f"{plan.architecture.name}: asking the models of {trial.task.name}")
        mine = [run for run in runs if run["variant"].removesuffix(SPREAD) == trial.task.name]
        cells = [_cell(trial, run, ends[run["run"]]) for run in mine]
        tasks[trial.task.name] = _task_record(trial.task, cells) | {
            "parameters": trial.parameters,
            **rates[trial.task.name],
        }
    return new_record(plan, command, tasks, left_out)


def _rates(plan: Plan, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of every task the learning rate with the lowest validation loss, and those of all; kept in the folder."""
    values, path = plan.tuning(), plan.folder / RATES_FILE
    wanted = json.loads(json.dumps(values))
    if path.exists() and (known := json.loads(path.read_text(encoding="utf-8")))["sweep"] == wanted:
        return known["rates"]
    rows, broken = _tuning_rows(values, options)
    found: dict[str, dict[str, Any]] = {}
    for run in kept_runs(rows, values):
        own = found.setdefault(run["variant"], {"tried": []})
        own["tried"].append([run.arguments.training.learning_rate, run["validation_loss"]])
    for variant, rate in broken:
        found.setdefault(variant, {"tried": []})["tried"].append([rate, None])
    for name, own in found.items():
        finite = [(loss, rate) for rate, loss in own["tried"] if loss is not None]
        if not finite:
            raise ValueError(f"{plan.architecture.given}: training diverged at {name} with every learning rate tried")
        own["tried"].sort()
        own["learning_rate"] = min(finite)[1]
    write_atomically(path, json.dumps({"sweep": wanted, "rates": found}, indent=2) + "\n")
    return found


def _tuning_rows(values: dict[str, Any], options: Mapping[str, Any]) -> tuple[list[dict], list[tuple[str, float]]]:
    """The rows of the trials; and which of them diverged, which is an answer and no failure."""
    try:
        rows = sweep(values, **options)
        _check_all_there(values, rows)
        return rows, []
    except UnfinishedRuns as error:
        runs = {Path(run.training.output_dir).name: run for run in expand(values)}
        broken = [name for name in error.runs if DIVERGED in last_line(runs[name])]
        if len(broken) < len(error.runs):
            raise
    lost = [(name.partition("_")[0], runs[name].training.learning_rate) for name in broken]
    rest = {}
    for variant, own in values["variants"].items():
        kept = [rate for rate in own["learning_rate"] if (variant, rate) not in lost]
        if kept:
            rest[variant] = own | {"learning_rate": kept}
    return (sweep(values | {"variants": rest}, **options) if rest else []), lost


def _chosen(rates: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: own["learning_rate"] for name, own in rates.items()}


def _check_all_there(values: dict[str, Any], rows: list[dict]) -> None:
    done, total = len({row["run"] for row in rows}), len(expand(values))
    if done < total:
        raise Waiting(f"{done} of {total} runs are finished: run the commands above, then this one again")


def _cell(trial: Tried, run: KeptRun, end: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of one run."""
    task, arguments = trial.task, run.arguments
    found = _cell_names(task, arguments) | {
        "spread": run["variant"].endswith(SPREAD),
        "step": run["step"],
        "steps": end["step"],
        "stopped_by": run["stopped_by"],
        "validation_loss": run["validation_loss"],
        "train_loss": run["train_loss"],
        "seconds": end["seconds"],
        "flops": trial.flops * end["step"],
        **{name: run.row[name] for name in SCORES if run.row.get(name, "") != ""},
    }
    if found["spread"]:
        return found
    if arguments.data.num_train == task.num_train[-1]:
        found["oracle"] = nearest_oracle(run.row, run.model, run.grammar(), task.task)
    if task.beyond:
        found |= _beyond(run)
    return found


def _cell_names(task: BenchTask, arguments: Arguments) -> dict[str, Any]:
    return {
        "num_train": arguments.data.num_train,
        "seed": getattr(arguments.data, task.varied),
        "model_seed": arguments.model.model_seed,
    }


def _beyond(run: KeptRun) -> dict[str, Any]:
    """How the model of a run does beyond its longest training sentence."""
    data = load_data(run.arguments.data, False, run.arguments.training.kl_sentences)
    longest = int(row_lengths(data.splits["train"].long(), pad_id(data.grammar)).max())
    return {"longest": longest} | beyond_training(run.model(), data.grammar, longest, data.length)


def _task_record(task: BenchTask, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record says of a task: the lines it is held against, the levels, all cells."""
    laws = task.seeds if task.varied == "rules_seed" else task.seeds[:1]  # samples of one law have its lines
    exact = {seed: asdict(yardstick(task, seed)) for seed in laws}
    lines = {seed: exact.get(seed, exact[laws[0]]) for seed in task.seeds}
    measure = next(iter(lines.values()))["measure"]
    members = curves(cells, measure)
    return {
        "question": task.question,
        "task": task.task,
        "grammar": Path(task.grammar).name if is_rules_file(task.grammar) else task.grammar,
        "varied": task.varied,
        "measure": measure,
        **left_row(left(members, lines)),
        "levels": learnt(members, lines),
        "lines": {str(seed): own for seed, own in lines.items()},
        "cells": cells,
    }


def _counted(plan: Plan, command: str, announce: Callable[[str], None]) -> dict[str, Any]:
    """The same for a learner that counts; its cells are kept in the folder as they are found."""
    learner, path = plan.architecture.model_type, plan.folder / CELLS_FILE
    suite, left_out = plan.suite, {}
    for task in suite.tasks:
        if reason := why_not(learner, task.task, source_of(task, task.seeds[0])):
            left_out[task.name] = reason
    able = tuple(task for task in suite.tasks if task.name not in left_out)
    if not able:
        raise ValueError(f"{learner} can do no task of {suite.name}: {next(iter(left_out.values()))}")
    plan = replace(plan, suite=replace(suite, tasks=able))
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    tasks = {}
    for task in able:
        announce(f"{learner}: {task.name}")
        cells = []
        for arguments in _cells_of(plan, task):
            key = json.dumps([task.name, suite.sha256, suite.name, _cell_names(task, arguments)])
            if key not in known:
                known[key] = count_run(learner, arguments)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, json.dumps(known) + "\n")
            cells.append(_cell_names(task, arguments) | {"spread": False, "stopped_by": "counted"} | known[key])
        tasks[task.name] = _task_record(task, cells) | {"parameters": max(cell["parameters"] for cell in cells)}
    return new_record(plan, command, tasks, left_out)


def _cells_of(plan: Plan, task: BenchTask) -> list[Arguments]:
    values = {**plan.suite.training, **task.arguments, "task": task.task, "grammar": task.grammar}
    values |= {
        "num_train": list(task.num_train),
        task.varied: list(task.seeds),
        "output_dir": str(plan.folder / "cells"),
    }
    return expand(values)
