"""Learners that count: rows for which nothing is trained, on the same sentences and judged in the same way."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from ..grammar import Grammar, Source
from ..models.ngram.modeling_hierarchical_ngram import HierarchicalNGramForCausalLM
from ..models.ngram.modeling_ngram import NGramForCausalLM
from ..statistics import learn_latents
from ..tasks import TASKS, Task
from ..training.arguments import Arguments
from ..training.data import load_data
from .afterwards import nearest_oracle


DISCOUNT = 0.75  # of Kneser-Ney: a given one excludes no symbol, so that no KL is infinite
CAUSAL = ("next_token", "last_token")


def why_not(learner: str, task: str, source: Source) -> str:
    """Why a learner cannot do a task; empty where it can."""
    if task not in CAUSAL:
        return "it predicts tokens from those before them"
    if learner == "hierarchical_ngram" and not isinstance(source, Grammar):
        return "it parses with the rules of a fixed tree"
    if learner == "correlation_learner" and not (isinstance(source, Grammar) and source.depth > 1):
        return "it infers the latents of a fixed tree"
    return ""


def count_run(learner: str, arguments: Arguments) -> dict[str, Any]:
    """The row of one cell: fitted to the training sentences, its context chosen on the validation sentences.

    Args:
        learner (`str`): `ngram`; `hierarchical_ngram`, which is given the grammar; `correlation_learner`, which infers
            latents from the correlations of siblings and counts in those.
        arguments ([`Arguments`]): of the cell.

    Returns:
        `dict`: `validation_loss`, `order` (the context chosen), `seconds`, `parameters` (stored counts), `oracle`
            (the level of the nearest one), and what the task says of a model.
    """
    t = arguments.training
    data = load_data(arguments.data, False, t.kl_sentences)
    task = TASKS[t.task](data.num_symbols, data.length, data.grammar, "AutoModelForCausalLM", **t.task_options())
    train, validation = (data.splits[split] for split in ("train", "validation"))
    best, start = None, time.perf_counter()
    for order, make in _candidates(learner, train, data.grammar):
        model = make()
        loss = _loss(task, model, validation)
        if best is None or loss < best[0]:
            best = loss, order, model
    loss, order, model = best
    seconds = time.perf_counter() - start
    stored = sum(buffer.numel() for buffer in model.buffers())
    found = {"validation_loss": loss, "order": order, "seconds": round(seconds, 3), "parameters": stored}
    found |= task.judge(model)
    return found | {"oracle": nearest_oracle(found, lambda: model, data.grammar, t.task)}


def _candidates(learner: str, train: torch.Tensor, source: Source) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Contexts to choose from: the length of an n-gram, the level of a hierarchical one."""
    tokens, v = train.numpy().astype("int64"), source.vocab_size
    if learner == "ngram":
        vary = source.lengths_vary
        for order in sorted(
            {2, 3, 4, 6, 8} if vary else {1 + source.block_length(k) for k in range(source.depth + 1)}
        ):
            yield (
                order,
                lambda n=order: NGramForCausalLM.fit(
                    tokens, n, num_symbols=v, tied=vary, ends=vary, discount=DISCOUNT
                ),
            )
        return
    grammar = source
    if learner == "correlation_learner":
        latents = learn_latents(
            tokens, source.num_symbols_at(1), source.tuple_size_at(1), targets="sibling_token", num_symbols=v
        )
        grammar = latents.grammar()
    for level in range(1, source.depth + 1):
        yield level, lambda n=level: HierarchicalNGramForCausalLM.fit(tokens, grammar, n, discount=DISCOUNT)


@torch.no_grad()
def _loss(task: Task, model: Any, rows: torch.Tensor) -> float:
    """Nats per target. A token that counts exclude costs what it must: the loss is infinite then."""
    batch = task.collate(rows)
    logits, targets = task.predictions(model, batch)
    return float(F.cross_entropy(logits.double(), targets))
