"""Learners that count: the loss at the last token, and the synonyms recognised, against the number of sentences P.

    python recipes/ngram/ngram.py [--grammar v16-m4-s2-L3] [--num_grammars 8] [--max_log2 20]
    python recipes/ngram/ngram.py --draw docs/figures

Nothing is trained. Writes `ngram.png` and its tables: `ngram_losses.csv` and `_agreement.csv` (a row per grammar, P
and learner), `_plateaus.csv` (exact) and `_half_way.csv` (measured against theory).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, marked, scale, where
from rhm_hf.inference import last_token_plateaus, next_token_probs
from rhm_hf.models.ngram.counts import SmoothedLaws, count_contexts
from rhm_hf.plots import curve, finish, level_line, note, place_line, sheet
from rhm_hf.statistics import half_way_points, last_crossing, learn_latents, synonym_agreement
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "grammar": "v16-m4-s2-L3",  # the ensemble
    "num_grammars": 8,  # rules_seed = 0, 1, ..
    "max_log2": 20,  # log2 of the largest P
    "num_judged": 8192,  # fresh sentences that every loss is a mean over
}
TINY = {"grammar": "v4-m2-s2-L3", "num_grammars": 2, "max_log2": 9, "num_judged": 128}
TARGETS = ("last_token", "sibling_token", "sibling_latent")
NAMES = {
    "plain": "n-gram",
    "hierarchical": "true latents",
    "sibling_latent": "sibling latents",
    "sibling_token": "sibling tokens",
    "last_token": "last token",
}


def measure(grammar: str, num_grammars: int, max_log2: int, num_judged: int) -> Tables:
    """Losses and agreements of all learners for every grammar and P."""
    tables: Tables = {"losses": [], "agreement": [], "plateaus": []}
    for seed in tqdm(range(num_grammars), unit="grammar", disable=not sys.stderr.isatty()):
        source = Grammar.from_name(grammar, rules_seed=seed)
        for level, loss in enumerate(last_token_plateaus(source)):
            tables["plateaus"].append({"grammar": grammar, "rules_seed": seed, "level": level, "loss": loss})
        for size in (2**k for k in range(4, max_log2 + 1)):
            losses, agreements = measure_size(source, size, num_judged)
            tables["losses"] += losses
            tables["agreement"] += agreements
    return tables


def conclude(tables: Tables) -> Tables:
    """Where losses and agreements are half way, beside theory."""
    plateaus = averages(tables["plateaus"], "level", "loss")[1]
    grammar = Grammar.from_name(tables["losses"][0]["grammar"])
    return {"half_way": compare_half_way(grammar, tables["losses"], tables["agreement"], plateaus)}


def measure_size(grammar: Grammar, size: int, num_judged: int) -> tuple[list[dict], list[dict]]:
    """Losses and agreements of all learners on P = `size` sentences."""
    train = grammar.sample(size, sampling="iid").astype(np.int64)
    fresh = grammar.sample(num_judged, split="evaluation", sampling="iid").astype(np.int64)
    law = next_token_probs(grammar, fresh)[:, -1]
    run = {"grammar": grammar.name, "rules_seed": grammar.parameters.rules_seed, "num_train": size}
    losses, agreements = [], []

    def judge(learner: str, contexts, judged_contexts) -> None:
        loss = last_token_loss(train[:, -1], contexts, judged_contexts, law)
        losses.append({**run, "learner": learner, "loss": loss})

    judge("plain", train[:, -2::-1].T, fresh[:, -2::-1].T)
    truth = grammar.parse(fresh)
    judge("hierarchical", siblings(grammar, grammar.parse(train)), siblings(grammar, truth))
    for targets in TARGETS:
        v, s = grammar.vocab_size, grammar.tuple_size_at(1)
        latents = learn_latents(train, v, s, targets=targets, num_symbols=v)
        derivation = latents.parse(fresh)
        judge(targets, siblings(grammar, latents.parse(train)), siblings(grammar, derivation))
        for level, ancestor, nodes in learnt_nodes(grammar, targets):
            agreement = float(np.mean([node_agreement(grammar, derivation, truth, level, part) for part in nodes]))
            agreements.append(
                {**run, "targets": targets, "level": level, "ancestor": ancestor, "agreement": agreement}
            )
    return losses, agreements


def last_token_loss(targets: np.ndarray, contexts, judged_contexts, law: torch.Tensor) -> float:
    """Cross-entropy, nats, of the law of the last token and its Kneser-Ney estimate: the row of an n-gram model."""
    v = law.shape[1]
    orders = count_contexts(np.zeros_like(targets), targets, contexts, v, v)
    tensors = [tuple(torch.from_numpy(array) for array in order) for order in orders]
    estimate = SmoothedLaws(tensors, v, v, "kneser_ney", 0.0, None)
    chain = (torch.from_numpy(np.ascontiguousarray(column)) for column in judged_contexts)
    probs = estimate(torch.zeros(len(law), dtype=torch.int64), chain)
    return float(-torch.where(law > 0, law * probs.log(), 0).sum(1).mean())


def siblings(grammar: Grammar, derivation: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The hierarchical context of the last token, nearest first."""
    for level in range(grammar.depth):
        for back in range(2, grammar.tuple_size_at(level + 1) + 1):
            yield derivation[level][:, -back].astype(np.int64)


def learnt_nodes(grammar: Grammar, targets: str) -> Iterator[tuple[int, int, list]]:
    """Level of nodes, level of their lowest common ancestor with what they are correlated with, and which nodes.

    Nodes that share their labels are judged together, others one by one.
    """
    for level in range(1, grammar.depth):
        if targets != "last_token":
            yield level, level + 1, [slice(None)]
            continue
        last = grammar.num_nodes_at(level) - 1
        for ancestor in range(level + 1, grammar.depth + 1):
            block = grammar.block_length(ancestor) // grammar.block_length(level)
            inner = grammar.block_length(ancestor - 1) // grammar.block_length(level)
            nodes = [n for n in range(last) if n // block == last // block and n // inner != last // inner]
            yield level, ancestor, [slice(n, n + 1) for n in nodes]


def node_agreement(grammar: Grammar, learnt: list, truth: list, level: int, nodes: slice) -> float:
    """Of inferred and true symbols of a level at some nodes."""
    tuples = truth[level - 1].astype(np.int64).reshape(len(truth[0]), -1, grammar.tuple_size_at(level))
    rules = grammar.prefix_tree(level).find(tuples[:, nodes])
    return synonym_agreement(learnt[level][:, nodes], truth[level][:, nodes], rules)


def compare_half_way(
    grammar: Grammar, losses: list[dict], agreements: list[dict], plateaus: list[float]
) -> list[dict]:
    """Where mean losses are half way between two plateaus and mean agreements are 1/2, beside the theory."""
    parameters, rows = grammar.parameters, []

    def add(learner: str, quantity: str, point: float, sizes: list[int], expected: float) -> None:
        found = marked(float(point), sizes, "measured")
        row = {"learner": learner, "quantity": quantity, **found, "theory": expected}
        rows.append({**row, "ratio": found["measured"] / expected})

    for learner, task in (("plain", "ngram"), ("hierarchical", "hierarchical_ngram"), *((t, None) for t in TARGETS)):
        sizes, curve, _ = averages(where(losses, learner=learner), "num_train", "loss")
        measured = half_way_points(sizes, curve, plateaus)
        for level in range(1, grammar.depth + 1):
            if task is not None:
                expected = theory.sample_complexity(parameters, level, task=task)
            elif level == 1:  # nothing latent yet: counting pairs of tokens
                expected = theory.sample_complexity(parameters, 1, task="hierarchical_ngram")
            else:
                expected = clustering(parameters, learner, level - 1, level)
            add(learner, f"loss L_{level - 1} to L_{level}", measured[level - 1], sizes, expected)
    for targets in TARGETS:
        for level, ancestor, _ in learnt_nodes(grammar, targets):
            chosen = where(agreements, targets=targets, level=level, ancestor=ancestor)
            sizes, curve, _ = averages(chosen, "num_train", "agreement")  # it rises, so its negative falls
            measured = last_crossing(sizes, [-value for value in curve], -0.5)
            add(
                targets,
                f"level {level}, ancestor {ancestor}",
                measured,
                sizes,
                clustering(parameters, targets, level, ancestor),
            )
    return rows


def clustering(parameters, targets: str, level: int, ancestor: int) -> float:
    """Sentences at which the latents of a level are learnt: of them and of those they are made of, the slowest."""
    if targets == "sibling_latent":
        return theory.clustering_complexity(parameters, level + 1, level, level - 1)
    if targets == "sibling_token":
        return theory.clustering_complexity(parameters, level + 1, level)
    return theory.clustering_complexity(parameters, ancestor)


def draw(tables: Tables, path: Path) -> None:
    """Losses and plateaus; then the agreement of the latents of each kind of learner."""
    losses, agreements = tables["losses"], tables["agreement"]
    grammar = Grammar.from_name(losses[0]["grammar"])
    figure, axes = sheet(4, height=2.9)
    for i, (learner, name) in enumerate(NAMES.items()):
        curve(axes[0], where(losses, learner=learner), "num_train", "loss", i, name)
    for level, loss in zip(*averages(tables["plateaus"], "level", "loss")[:2], strict=True):
        level_line(axes[0], loss, f"$L_{level}$")
    labels = {"xlabel": "training sentences P", "ylabel": "loss at the last token (nats)"}
    finish(axes[0], losses[0]["grammar"], "lines", xscale="log", yscale="log", **labels)
    for ax, targets in zip(axes[1:], TARGETS, strict=True):
        nodes = list(learnt_nodes(grammar, targets))
        for i, (level, ancestor, _) in enumerate(nodes):
            chosen = where(agreements, targets=targets, level=level, ancestor=ancestor)
            curve(ax, chosen, "num_train", "agreement", i, f"level {level}, anc. {ancestor}", of=len(nodes))
        for level in range(2, grammar.depth + 1):
            place_line(ax, theory.sample_complexity(grammar.parameters, level), f"$P_{level}$")
        labels = {"xlabel": "training sentences P", "ylabel": "synonym agreement"}
        finish(ax, f"From {targets.replace('_', ' ')}s", "lines", xscale="log", ylim=(-0.05, 1.1), **labels)
    note(figure, f"{scale(losses)}; bars: standard error over them. $P_\\ell$: theory of a transformer.")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="ngram",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        trains=False,
        shows="half_way",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
