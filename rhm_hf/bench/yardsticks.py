"""What a model is held against: exact losses of the best models that see less, and where theory puts levels."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from .. import theory
from ..data.provenance import named_grammar
from ..grammar import Source
from ..judging.divergence import divergence
from ..models.ngram.modeling_ngram import NGramForCausalLM
from ..plots import plateaus
from ..tasks import TASKS
from .suite import BenchTask


COUNTED = 2**16  # sentences that the n-grams of sources without blocks are counted on
ORDERS = (1, 2, 4)  # of those
LEAST_STEP = 1e-3  # a step between two lines that is smaller, in shares of the first, is not looked for


@dataclass(frozen=True)
class Yardstick:
    """The lines of one member of a task, from no context to the truth.

    Attributes:
        measure (`str`): the column of results that is held against them: `kl` or `error_gap`.
        names (`tuple[str, ...]`): of the steps, `len(values) - 1`.
        values (`tuple[float, ...]`): falling to 0.
        exact (`bool`): whether they are computed from the law; else n-grams were counted on 65 536 sentences.
        theory (`dict`): for every step the predicted P by name of the theory.
    """

    measure: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    exact: bool
    theory: dict[str, dict[str, float]]


def source_of(task: BenchTask, seed: int) -> Source:
    """The law of one member of a task."""
    return named_grammar(task.grammar, seed if task.varied == "rules_seed" else None)


def yardstick(task: BenchTask, seed: int) -> Yardstick:
    """The lines of a task for one of its members."""
    source = source_of(task, seed)
    if task.task == "classification":
        prior = np.asarray(source.root_probs, dtype=float) if hasattr(source, "root_probs") else None
        blind = float(prior.max()) if prior is not None else 1 / source.num_classes
        return Yardstick("error_gap", ("class",), (1 - blind, 0.0), True, {"class": _class_theory(source)})
    if not source.has_blocks:
        return _counted(task.task, source)
    if task.task == "masked":
        measure, values = "kl", _masked_lines(source, dict(task.arguments))
    else:
        measure, column = "kl", "kl_last" if task.task == "last_token" else "kl"
        values = [row[column] for row in plateaus(source)]
    names = [f"level {level}" for level in range(1, len(values))]
    return _without_flat_steps(measure, names, values, source, task.task)


def _without_flat_steps(measure: str, names: list[str], values: list[float], source: Source, task: str) -> Yardstick:
    """Levels that tell nothing new have no step, and are left out."""
    kept, steps = [values[0]], []
    for name, value in zip(names, values[1:], strict=True):
        if kept[-1] - value > LEAST_STEP * values[0]:
            kept.append(max(value, 0.0))
            steps.append(name)
    predicted = {name: _level_theory(source, int(name.split()[1]), task) for name in steps}
    return Yardstick(measure, tuple(steps), tuple(kept), True, predicted)


def _masked_lines(source: Source, options: dict[str, Any]) -> list[float]:
    """The KL of the posterior given one's own block of every level, at the hidden tokens that models are judged at."""
    task = TASKS["masked"](source.vocab_size, source.sentence_length, source, **options)
    targets = task.judged
    laws, counted = targets.laws, targets.counted
    weights = targets.weights[:, None] * counted
    terms = divergence(laws[-1:], laws.log())
    means = (torch.where(counted, terms, 0) * weights).sum((1, 2)) / weights.sum()
    return means.tolist()


@lru_cache(maxsize=64)  # alike for every architecture
def _counted(task: str, source: Source) -> Yardstick:
    """N-grams of many sentences, judged as models are; what no window of tokens says is the last step."""
    tokens = source.sample(COUNTED, split="train", sampling="iid", seed=2**31)
    judge = TASKS[task](source.vocab_size, tokens.shape[1], source, kl_sentences=COUNTED // 16)
    values = []
    for order in ORDERS:
        model = NGramForCausalLM.fit(tokens, order, num_symbols=source.vocab_size, tied=True, ends=source.lengths_vary)
        values.append(judge.judge(model)["kl"])
    steps = [f"{order - 1} before" for order in ORDERS[1:]] + ["all before"]
    return Yardstick("kl", tuple(steps), (*values, 0.0), False, {})


def _level_theory(source: Source, level: int, task: str) -> dict[str, float]:
    """The published P of a level, where the ensemble is plain."""
    found = {}
    laws = {"masked": {"masked": {"task": "masked"}}}.get(
        task,
        {
            "transformer": {"architecture": "transformer"},
            "cnn": {"architecture": "cnn"},
            "ngram": {"task": "ngram"},
            "hierarchical_ngram": {"task": "hierarchical_ngram"},
        },
    )
    for name, options in laws.items():
        try:
            found[name] = theory.sample_complexity(source.parameters, level, **options)
        except (ValueError, AttributeError, TypeError):
            return {}
    return found


def _class_theory(source: Source) -> dict[str, float]:
    parameters = source.parameters
    if getattr(parameters, "sparsity", 0):
        laws = {
            name: lambda name=name: theory.sparse_sample_complexity(parameters, architecture=name)
            for name in ("cnn", "lcn")
        }
    else:
        laws = {"deep": lambda: theory.sample_complexity(parameters, task="classification")}
    found = {}
    for name, law in laws.items():
        try:
            found[name] = law()
        except ValueError:
            return {}
    return found
