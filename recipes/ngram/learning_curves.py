"""Learners that count: the loss at the last token, and the synonyms recognised, against the number of sentences P.

    python recipes/ngram/learning_curves.py [--grammar v16-m4-s2-L3] [--num_grammars 8] [--max_log2 20]

Writes into `output_dir`: `losses.csv` and `agreement.csv` (a row per grammar, P and learner), `half_way.csv` (measured
against theory) and the figure `ngram.png`.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from rhm_hf import Grammar, theory
from rhm_hf.inference import next_token_probs, position_entropies
from rhm_hf.models.ngram.counts import SmoothedLaws, count_contexts
from rhm_hf.statistics import half_way_points, last_crossing, learn_latents, synonym_agreement
from rhm_hf.training.results import write_csv


TARGETS = ("last_token", "sibling_token", "sibling_latent")
NAMES = {
    "plain": "plain $n$-gram",
    "hierarchical": "hierarchical, true latents",
    "sibling_latent": "latents learnt from sibling latents",
    "sibling_token": "latents learnt from sibling tokens",
    "last_token": "latents learnt from the last token",
}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grammar", default="v16-m4-s2-L3", help="short name of the ensemble")
    parser.add_argument("--num_grammars", type=int, default=8, help="rules_seed = 0, 1, ..")
    parser.add_argument("--max_log2", type=int, default=20, help="log2 of the largest P")
    parser.add_argument("--num_judged", type=int, default=8192, help="fresh sentences that every loss is a mean over")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/ngram"))
    args = parser.parse_args(argv)
    start = time.perf_counter()
    losses, agreements, plateaus = [], [], []
    for seed in range(args.num_grammars):
        grammar = Grammar.from_name(args.grammar, rules_seed=seed)
        plateaus.append([float(position_entropies(grammar, level)[-1]) for level in range(grammar.depth + 1)])
        for size in (2**k for k in range(4, args.max_log2 + 1)):
            found = measure(grammar, size, args.num_judged)
            losses += found[0]
            agreements += found[1]
        print(f"grammar {seed + 1} of {args.num_grammars}: {time.perf_counter() - start:.0f} s", flush=True)
    half_way = compare_half_way(grammar, losses, agreements, np.mean(plateaus, 0))
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name, rows in (("losses", losses), ("agreement", agreements), ("half_way", half_way)):
        write_csv(args.output_dir / f"{name}.csv", rows)
    draw(grammar, losses, agreements, np.mean(plateaus, 0), args.output_dir / "ngram.png")
    print(f"mean plateaus L_0 .. L_L: {', '.join(f'{loss:.3f}' for loss in np.mean(plateaus, 0))} nats\n")
    print(f"{'learner':>15} {'quantity':>22} {'half way at P':>14} {'theory':>10} {'ratio':>6}")
    for row in half_way:
        print("{learner:>15} {quantity:>22} {measured:14.0f} {theory:10.0f} {ratio:6.2f}".format(**row))


def measure(grammar: Grammar, size: int, num_judged: int) -> tuple[list[dict], list[dict]]:
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


def compare_half_way(grammar: Grammar, losses: list[dict], agreements: list[dict], plateaus: np.ndarray) -> list[dict]:
    """Where mean losses are half way between two plateaus and mean agreements are 1/2, beside the theory."""
    parameters, rows = grammar.parameters, []

    def add(learner: str, quantity: str, measured: float, expected: float) -> None:
        row = {"learner": learner, "quantity": quantity, "measured": measured, "theory": expected}
        rows.append({**row, "ratio": measured / expected})

    for learner, task in (("plain", "ngram"), ("hierarchical", "hierarchical_ngram"), *((t, None) for t in TARGETS)):
        curve = mean_curve([row for row in losses if row["learner"] == learner], "loss")
        measured = half_way_points(list(curve), list(curve.values()), plateaus)
        for level in range(1, grammar.depth + 1):
            if task is not None:
                expected = theory.sample_complexity(parameters, level, task=task)
            elif level == 1:  # nothing latent yet: counting pairs of tokens
                expected = theory.sample_complexity(parameters, 1, task="hierarchical_ngram")
            else:
                expected = clustering(parameters, learner, level - 1, level)
            add(learner, f"loss L_{level - 1} to L_{level}", float(measured[level - 1]), expected)
    for targets in TARGETS:
        for level, ancestor, _ in learnt_nodes(grammar, targets):
            chosen = [r for r in agreements if (r["targets"], r["level"], r["ancestor"]) == (targets, level, ancestor)]
            expected = clustering(parameters, targets, level, ancestor)
            curve = mean_curve(chosen, "agreement")  # it rises, so its negative falls
            measured = last_crossing(list(curve), [-value for value in curve.values()], -0.5)
            add(targets, f"level {level}, ancestor {ancestor}", measured, expected)
    return rows


def clustering(parameters, targets: str, level: int, ancestor: int) -> float:
    """Sentences at which the latents of a level are learnt: of them and of those they are made of, the slowest."""
    if targets == "sibling_latent":
        return theory.clustering_complexity(parameters, level + 1, level, level - 1)
    if targets == "sibling_token":
        return theory.clustering_complexity(parameters, level + 1, level)
    return theory.clustering_complexity(parameters, ancestor)


def mean_curve(rows: list[dict], key: str) -> dict[int, float]:
    """P -> mean over grammars."""
    sizes = sorted({row["num_train"] for row in rows})
    return {size: float(np.mean([row[key] for row in rows if row["num_train"] == size])) for size in sizes}


def draw(grammar: Grammar, losses, agreements, plateaus: np.ndarray, path: Path) -> None:
    """Losses and plateaus on the left, agreements on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for colour, (learner, name) in enumerate(NAMES.items()):
        curve = mean_curve([row for row in losses if row["learner"] == learner], "loss")
        left.plot(list(curve), list(curve.values()), marker="o", markersize=3, color=f"C{colour}", label=name)
    for level, loss in enumerate(plateaus):
        left.axhline(loss, color="black", linestyle="--", linewidth=1)
        left.text(max(curve), loss * 1.02, f"$L_{level}$", ha="right", va="bottom", fontsize=8)
    left.set(xscale="log", yscale="log", xlabel="training sentences P", ylabel="loss at the last token (nats)")
    left.set_yticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
    left.set_yticks([], minor=True)
    left.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 0.08))
    lines, markers = ("-", "--", ":", "-."), "os^v"
    for colour, targets in ((2, "sibling_latent"), (3, "sibling_token"), (4, "last_token")):
        for level, ancestor, _ in learnt_nodes(grammar, targets):
            chosen = [r for r in agreements if (r["targets"], r["level"], r["ancestor"]) == (targets, level, ancestor)]
            curve = mean_curve(chosen, "agreement")
            label = f"{targets.replace('_', ' ')}: level {level}, ancestor {ancestor}"
            style = {
                "color": f"C{colour}",
                "linestyle": lines[(ancestor - 2) % 4],
                "marker": markers[(level - 1) % 4],
            }
            right.plot(list(curve), list(curve.values()), markersize=3, label=label, **style)
    for level in range(2, grammar.depth + 1):
        expected = theory.sample_complexity(grammar.parameters, level)
        right.axvline(expected, color="black", linestyle="--", linewidth=1)
        right.text(expected * 1.1, 1.04, f"$P_{level}$", ha="left", fontsize=8)
    right.set(xscale="log", xlabel="training sentences P", ylabel="synonym agreement", ylim=(-0.05, 1.1))
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    num = len({row["rules_seed"] for row in losses})
    figure.suptitle(f"Learners that count, {grammar.name}, mean of {num} grammars", fontsize=11)
    figure.savefig(path)


if __name__ == "__main__":
    main()
