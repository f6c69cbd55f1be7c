"""Noise a sentence, denoise it exactly: does its class survive, and how many tokens change together?

    python recipes/forward_backward/forward_backward.py [--grammar v32-m8-s2] [--depths 4 6 8 10] [--num_grammars 12]
    python recipes/forward_backward/forward_backward.py --draw docs/figures

Nothing is trained: belief propagation is the optimal denoiser. Writes into `output_dir` `forward_backward.csv` (a row
per noise, depth and time), `forward_backward_transitions.csv` (a row per noise and pair of depths) and the figure.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import (
    EpsilonProcess,
    GaussianDiffusion,
    MaskedDiffusion,
    UniformDiffusion,
    crossing,
    forward_backward,
)
from rhm_hf.statistics import Accumulator
from rhm_hf.training.results import read_csv, write_csv


PROCESSES = {  # name: its class, what its time is called, 1 - alpha, and the times around the transition of (32, 8, 2)
    "epsilon": (EpsilonProcess, r"$\epsilon$", (0.56, 0.92)),
    "masked": (MaskedDiffusion, "fraction of masked tokens", (0.04, 0.52)),
    "uniform": (UniformDiffusion, r"$1 - \bar\alpha$ (uniform symbols)", (0.02, 0.38)),
    "gaussian": (GaussianDiffusion, r"$1 - \bar\alpha$ (Gaussian)", (0.04, 0.24)),
}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grammar", default="v32-m8-s2", help="v, m and s of the ensemble")
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 6, 8, 10], help="L, two or more, growing")
    parser.add_argument("--processes", nargs="+", default=list(PROCESSES), choices=PROCESSES)
    parser.add_argument("--num_grammars", type=int, default=12, help="rules_seed = 0, 1, ..")
    parser.add_argument("--num_sentences", type=int, default=64, help="of every grammar")
    parser.add_argument("--num_times", type=int, default=19)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/forward_backward"))
    parser.add_argument("--draw", type=Path, help="only draw, from the tables in this folder")
    args = parser.parse_args(argv)
    if args.draw is not None:
        rows, transitions = (read_csv(args.draw / f"forward_backward{table}.csv") for table in ("", "_transitions"))
        draw(rows, transitions, args.grammar, args.draw / "forward_backward.png")
        return
    if len(args.depths) < 2 or sorted(set(args.depths)) != args.depths:
        raise ValueError(f"depths={args.depths} must be two or more, growing: curves of two depths cross")
    torch.set_num_threads(args.num_threads)
    start, rows, transitions = time.perf_counter(), [], []
    for name in args.processes:
        curves = {depth: measure(name, depth, args) for depth in args.depths}
        rows += [row for curve in curves.values() for row in curve]
        found = [transition(curves, *pair) for pair in zip(args.depths, args.depths[1:], strict=False)]
        transitions += [{"process": name} | row for row in found]
        for row in found:
            print("{shallow} and {deep} levels cross at {crossing} +- {crossing_stderr}".format(**row), flush=True)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    write_csv(
        args.output_dir / "forward_backward.csv", [{k: v for k, v in r.items() if k != "by_grammar"} for r in rows]
    )
    write_csv(args.output_dir / "forward_backward_transitions.csv", transitions)
    draw(rows, transitions, args.grammar, args.output_dir / "forward_backward.png")
    print(f"{time.perf_counter() - start:.0f} s")


def measure(name: str, depth: int, args) -> list[dict]:
    """One row a time: means over grammars, with errors from their spread."""
    make, _, (first, last) = PROCESSES[name]
    grammars = [nested_grammar(f"{args.grammar}-L{args.depths[-1]}", seed, depth) for seed in range(args.num_grammars)]
    process, rows = make(grammars[0].vocab_size), []
    times = np.linspace(first, last, args.num_times).tolist()
    for t in tqdm(times, desc=f"{name}, L = {depth}", unit="time", leave=False, disable=not sys.stderr.isatty()):
        found = [forward_backward(grammar, process, t, args.num_sentences) for grammar in grammars]
        row = {"process": name, "depth": depth, "t": round(t, 6)}
        by_grammar = [result.survival[-1] for result in found]
        traces = [result.covariance.trace().item() for result in found]
        columns = {  # values of the grammars and what they are divided by: in some, no token may have changed
            "class_survival": (by_grammar, [1.0] * len(found)),
            "token_survival": ([result.survival[0] for result in found], [1.0] * len(found)),
            "susceptibility": ([result.covariance.sum().item() for result in found], traces),
        }
        for column, (values, counts) in columns.items():
            ratio = Accumulator()
            ratio.add(torch.tensor(values, dtype=torch.float64), torch.tensor(counts))
            row[column] = ratio.mean.item() if any(counts) else 0.0
            row[f"{column}_stderr"] = ratio.stderr.item() if len(found) > 1 and any(counts) else 0.0
        rows.append(row | {"by_grammar": by_grammar})
    peak = max(rows, key=lambda row: row["susceptibility"])
    print(f"{name}, L = {depth}: susceptibility {peak['susceptibility']:.1f} at {peak['t']:.3f}", flush=True)
    return rows


def nested_grammar(name: str, rules_seed: int, depth: int) -> Grammar:
    """The lowest levels of a deep grammar: where depths share their rules, their curves cross with less noise."""
    deep = Grammar.from_name(name, rules_seed=rules_seed)
    return deep if depth == deep.depth else Grammar.from_rules(deep.rules[-depth:])


def transition(curves: dict[int, list[dict]], shallow: int, deep: int) -> dict:
    """Where the survival curves of two depths cross, with a jackknife over grammars."""
    times = [row["t"] for row in curves[deep]]
    low, high = (np.array([row["by_grammar"] for row in curves[depth]]) for depth in (shallow, deep))
    num = high.shape[1]
    parts = (
        [crossing(times, *(np.delete(c, i, 1).mean(1) for c in (low, high))) for i in range(num)] if num > 1 else []
    )
    known = [part for part in parts if part is not None]
    spread = math.sqrt((num - 1) * np.var(known)) if num > 1 and len(known) == num else None
    half = crossing(times, np.full(len(times), 0.5), high.mean(1))
    return {
        "shallow": shallow,
        "deep": deep,
        "crossing": crossing(times, low.mean(1), high.mean(1)),
        "crossing_stderr": spread,
        "half": half,  # where the deeper one keeps its class half of the time
        "peak": max(curves[deep], key=lambda row: row["susceptibility"])["t"],
        "largest_susceptibility": max(row["susceptibility"] for row in curves[deep]),
    }


def predicted_survival(parameters, epsilon: np.ndarray, depth: int) -> np.ndarray:
    """The belief in the true class after L iterations of the mean-field map."""
    belief_above, belief = theory.denoising_map(parameters), 1 - epsilon + epsilon / parameters.vocab_size
    for _ in range(depth):
        belief = np.array([belief_above(p) for p in belief])
    return belief


def draw(rows: list[dict], transitions: list[dict], title: str, path: Path) -> None:
    """Class survival above, susceptibility below, a column for every noise."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["process"] for row in rows))
    depths = sorted({row["depth"] for row in rows})
    figure = Figure(figsize=(0.6 + 3.1 * len(names), 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(names), sharex="col", sharey="row", squeeze=False)
    for (top, bottom), name in zip(axes.T, names, strict=True):
        for i, depth in enumerate(depths):
            part = [row for row in rows if (row["process"], row["depth"]) == (name, depth)]
            times, colour = [row["t"] for row in part], colormaps["viridis"](0.9 * i / max(1, len(depths) - 1))
            for ax, column in ((top, "class_survival"), (bottom, "susceptibility")):
                values, errors = ([row[key] for row in part] for key in (column, f"{column}_stderr"))
                ax.errorbar(
                    times, values, errors, fmt="o-", markersize=2.5, linewidth=1, color=colour, label=f"L = {depth}"
                )
            if name == "epsilon":
                parameters = Grammar.from_name(f"{title}-L{depth}").parameters
                predicted = predicted_survival(parameters, np.array(times), depth)
                top.plot(times, predicted, "--", color="black", linewidth=0.8, label="map" if i == 0 else None)
        parameters = Grammar.from_name(f"{title}-L{depths[-1]}").parameters
        if name == "epsilon" and theory.has_denoising_transition(parameters):
            for ax in (top, bottom):
                ax.axvline(theory.denoising_transition(parameters)[0], color="black", linestyle="--", linewidth=1)
        last = [row["crossing"] for row in transitions if row["process"] == name][-1]
        if last not in (None, ""):  # as measured and as read: curves that do not cross
            for ax in (top, bottom):
                ax.axvline(last, color="0.6", linewidth=1, zorder=0)
        top.set_title(name, fontsize=10)
        bottom.set(xlabel=PROCESSES[name][1], ylim=(0, None))
        for ax in (top, bottom):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("probability that the class survives")
    axes[1, 0].set_ylabel(r"susceptibility $\chi$ (tokens)")
    axes[0, 0].legend(frameon=False, fontsize=7, loc="lower left")
    figure.suptitle(f"{title}, exact denoiser", fontsize=11)
    figure.savefig(path)


if __name__ == "__main__":
    main()
