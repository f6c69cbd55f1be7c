"""Before anything is trained: every task is tried for a few steps. What would fail later is said now, in a line."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..judging.limits import LIMITS, stated_limit
from ..training import plugins
from ..training.run.devices import caller_left_as_found
from ..training.run.loop import Run
from .architectures import kind_of
from .planning import Plan
from .suite import BenchTask
from .yardsticks import source_of


TIMED = 3  # steps


@dataclass(frozen=True)
class Tried:
    """What a few steps of a task say.

    Attributes:
        task ([`BenchTask`]): which.
        parameters (`int`): trained ones.
        flops (`int`): of matrix products, forward and backward, in one step.
        seconds (`float`): of one step, on this machine as it is now.
    """

    task: BenchTask
    parameters: int
    flops: int
    seconds: float


def try_tasks(plan: Plan, timed: bool = False) -> tuple[Plan, list[Tried], dict[str, str]]:
    """Makes the model of every task and trains it for a step.

    Args:
        plan ([`Plan`]): with all tasks of the suite.
        timed (`bool`, *optional*, defaults to `False`): also time a few steps.

    Returns:
        `tuple`: the plan with the tasks that the architecture can do, what was found about each, and why it cannot do
        the others, by their names.

    Raises:
        `ValueError`: where it can do none, a model is larger than the suite's budget, its context is too short for a
            task, it reads what it should predict, or its loss or a gradient is NaN or infinite.
    """
    found, left_out = [], {}
    for task in plan.suite.tasks:
        if reason := _unfit(plan, task):
            left_out[task.name] = reason
            continue
        try:
            with caller_left_as_found():
                found.append(_try(plan, task, timed))
        except NotCausal as error:
            left_out[task.name] = str(error)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"{plan.architecture.given} can do no task of {plan.suite.name}: {reasons}")
    able = replace(plan.suite, tasks=tuple(tried.task for tried in found))
    return replace(plan, suite=able), found, left_out


class NotCausal(ValueError):
    """Of a model that reads both ways and is offered a causal task; it has masked ones of its own."""


def cost_rows(plan: Plan) -> list[dict[str, Any]]:
    """What every task of a bench costs at most, that is if no run stops early; nothing is trained but a few steps.

    Returns:
        `list[dict]`: a row a task: `task`, its `question`, `runs` (those that tune included), `steps at most`,
        `parameters`, `FLOPs a step`, `seconds a step` on this machine as it is now, `seconds at most` of one core; a
        task that the architecture cannot do has the reason in `remark`. Of learners that count the runs alone.
    """
    if plan.architecture.counts:
        cells = [len(task.num_train) * len(task.seeds) for task in plan.suite.tasks]
        return [_cost_row(task, runs) for task, runs in zip(plan.suite.tasks, cells, strict=True)]
    able, found, left_out = try_tasks(plan, timed=True)
    tried = {trial.task.name: trial for trial in found}
    runs = able.num_runs()
    rows = []
    for task in plan.suite.tasks:
        if task.name in left_out:
            rows.append(_cost_row(task, None, remark=left_out[task.name]))
            continue
        trial = tried[task.name]
        rows.append(_cost_row(task, runs[task.name][0], runs[task.name][1], trial))
    return rows


def _cost_row(
    task: BenchTask, runs: int | None, steps: int | None = None, trial: Tried | None = None, remark: str = ""
) -> dict[str, Any]:
    return {
        "task": task.name,
        "question": task.question,
        "runs": runs,
        "steps at most": steps,
        "parameters": trial and trial.parameters,
        "FLOPs a step": trial and trial.flops,
        "seconds a step": trial and trial.seconds,
        "seconds at most": trial and trial.seconds * steps,
        "remark": remark,
    }


def _unfit(plan: Plan, task: BenchTask) -> str:
    """Why no model of this type can be trained on a task; empty where one can."""
    try:
        kind_of(plan.architecture.model_type, plugins.task_class(task.task).auto_classes)
    except ValueError:
        return "it has no head for it"
    fields = plan.common(task)["config_overrides"]
    if "filter_size" in fields and task.task == "masked":
        return "it reads one length and predicts one token"
    return ""


def _try(plan: Plan, task: BenchTask, timed: bool) -> Tried:
    arguments = plan.largest(task)
    given = [(name, value) for name, value in plan.architecture.fields.items() if name in LIMITS]
    needed = source_of(task, task.seeds[0]).max_length
    if given and needed is not None:
        _check_context(min(given, key=lambda entry: entry[1]), needed, f"{plan.architecture.given} at {task.name}")
    try:
        run = Run(arguments)
    except ValueError as error:
        if "reads later tokens" in str(error) or _reads_both_ways(plan, str(error)):
            raise NotCausal("it reads both ways, which gives the next token away") from None
        raise ValueError(f"{plan.architecture.given} is refused at {task.name}: {error}") from None
    model, name = run.bare_model, plan.architecture.given
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if parameters > plan.suite.max_parameters:
        raise ValueError(
            f"{name} has {parameters:,} parameters at {task.name}: the budget of {plan.suite.name} is "
            f"{plan.suite.max_parameters:,}; give a smaller one as a config.json"
        )
    _check_context(stated_limit(model), run.task.context_length, f"{name} at {task.name}")
    run.model.train()
    with FlopCounterMode(display=False) as counter, _recurrent(model) as recurrent:
        run.train_step()
    broken = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
    if broken or not torch.isfinite(run.loss_sum):
        raise ValueError(
            f"{name} at {task.name} is NaN or infinite after one step: {', '.join(broken[:3]) or 'its loss'}"
        )
    seconds = [_seconds(run) for _ in range(TIMED)] if timed else [0.0]
    return Tried(task, parameters, counter.get_total_flops() + recurrent[0], statistics.median(seconds))


@contextlib.contextmanager
def _recurrent(model: torch.nn.Module) -> Iterator[list[int]]:
    """Counts what torch's counter does not see: of recurrent layers of torch one product a weight, token and pass."""
    found, hooks = [0], []

    def count(module: torch.nn.RNNBase, args: tuple, output: tuple) -> None:
        weights = sum(p.numel() for p in module.parameters() if p.ndim == 2)
        found[0] += 3 * 2 * weights * args[0].shape[:-1].numel()

    for module in model.modules():
        if isinstance(module, torch.nn.RNNBase):
            hooks.append(module.register_forward_hook(count))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run.train_step()
    return time.perf_counter() - start


def _reads_both_ways(plan: Plan, message: str) -> bool:
    """Whether a refusal is about causality, of a type whose models are masked ones as well."""
    if "causal" not in message:
        return False
    try:
        kind_of(plan.architecture.model_type, ("AutoModelForMaskedLM",))
    except ValueError:
        return False
    return ":" not in plan.architecture.model_type


def _check_context(limit: tuple[str, int] | None, needed: int, what: str) -> None:
    if limit is not None and limit[1] < needed:
        raise ValueError(
            f"{what} reads {limit[1]} ids at most ({limit[0]}), and sentences of the suite need {needed}: give more, "
            "or leave it out of the configuration"
        )
