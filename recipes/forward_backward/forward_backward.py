"""Noise a sentence, denoise it exactly: does its class survive, and how many tokens change together?

    python recipes/forward_backward/forward_backward.py [--grammar v32-m8-s2] [--depths 4 6 8 10] [--num_grammars 12]
    python recipes/forward_backward/forward_backward.py --draw docs/figures

Nothing is trained: belief propagation is the optimal denoiser. Writes `forward_backward.png` and its tables:
`forward_backward_curves.csv` (a row per noise, depth and time) and `_transitions.csv` (a row per noise and pair of
depths).
"""

import math
import sys
from itertools import pairwise
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
from rhm_hf.ensembles import distinct, where
from rhm_hf.plots import curve as draw_curve
from rhm_hf.plots import finish, note, place_line, sheet
from rhm_hf.statistics import Accumulator
from rhm_hf.training.recipe import Tables, recipe_main


PROCESSES = {  # name: its class, what its time is called, 1 - alpha, and the times around the transition of (32, 8, 2)
    "epsilon": (EpsilonProcess, r"$\epsilon$", (0.56, 0.92)),
    "masked": (MaskedDiffusion, "fraction of masked tokens", (0.04, 0.52)),
    "uniform": (UniformDiffusion, r"$1 - \bar\alpha$ (uniform symbols)", (0.02, 0.38)),
    "gaussian": (GaussianDiffusion, r"$1 - \bar\alpha$ (Gaussian)", (0.04, 0.24)),
}


OPTIONS = {
    "grammar": "v32-m8-s2",  # v, m and s of the ensemble
    "depths": [4, 6, 8, 10],  # L, two or more, growing: curves of two depths cross
    "processes": list(PROCESSES),
    "num_grammars": 12,  # rules_seed = 0, 1, ..
    "num_sentences": 64,  # of every grammar
    "num_times": 19,
    "num_threads": 1,
}
TINY = {"grammar": "v8-m2-s2", "depths": [2, 3], "num_grammars": 2, "num_sentences": 16, "num_times": 5}


def measure(num_threads: int, depths: list[int], processes: list[str], **options) -> Tables:
    """Sends sentences there and back for every noise and depth."""
    if len(depths) < 2 or sorted(set(depths)) != depths:
        raise ValueError(f"depths={depths} must be two or more, growing: curves of two depths cross")
    if unknown := [name for name in processes if name not in PROCESSES]:
        raise ValueError(f"processes={unknown}: there are {', '.join(PROCESSES)}")
    torch.set_num_threads(num_threads)
    rows, transitions = [], []
    for name in processes:
        curves = {depth: curve(name, depth, depths[-1], **options) for depth in depths}
        rows += [row for of_depth in curves.values() for row in of_depth]
        transitions += [{"process": name} | transition(curves, *pair) for pair in pairwise(depths)]
    return {"curves": [{k: v for k, v in r.items() if k != "by_grammar"} for r in rows], "transitions": transitions}


def curve(
    name: str, depth: int, deepest: int, grammar: str, num_grammars: int, num_sentences: int, num_times: int
) -> list[dict]:
    """One row a time: means over grammars, with errors from their spread."""
    make, _, (first, last) = PROCESSES[name]
    grammars = [nested_grammar(f"{grammar}-L{deepest}", seed, depth) for seed in range(num_grammars)]
    process, rows = make(grammars[0].vocab_size), []
    times = np.linspace(first, last, num_times).tolist()
    for t in tqdm(times, desc=f"{name}, L = {depth}", unit="time", leave=False, disable=not sys.stderr.isatty()):
        found = [forward_backward(source, process, t, num_sentences) for source in grammars]
        row = {"data": grammar, "grammars": num_grammars, "sentences": num_sentences}
        row |= {"process": name, "depth": depth, "t": round(t, 6)}
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


def draw(tables: Tables, path: Path) -> None:
    """A row for every noise: class survival and susceptibility, with the mean-field map where it holds."""
    rows, transitions = tables["curves"], tables["transitions"]
    names, data = distinct(rows, "process"), rows[0]["data"]
    depths = sorted(distinct(rows, "depth"))
    figure, axes = sheet(2 * len(names), height=2.3)
    for name, left, right in zip(names, axes[::2], axes[1::2], strict=True):
        for i, depth in enumerate(depths):
            part = where(rows, process=name, depth=depth)
            for ax, column in ((left, "class_survival"), (right, "susceptibility")):
                style = {"of": len(depths), "errors": f"{column}_stderr", "markersize": 2.5}
                draw_curve(ax, part, "t", column, i, f"L = {depth}", **style)
            if name == "epsilon":
                times = np.array([row["t"] for row in part])
                predicted = predicted_survival(Grammar.from_name(f"{data}-L{depth}").parameters, times, depth)
                left.plot(times, predicted, "--", color="black", linewidth=0.7)
        parameters = Grammar.from_name(f"{data}-L{depths[-1]}").parameters
        last = where(transitions, process=name)[-1]["crossing"]
        for ax in (left, right):
            if name == "epsilon" and theory.has_denoising_transition(parameters):
                place_line(ax, theory.denoising_transition(parameters)[0])
            if last not in (None, ""):  # as measured and as read: curves that do not cross
                ax.axvline(last, color="0.6", linewidth=1, zorder=0)
        finish(left, name, "lines", xlabel=PROCESSES[name][1], ylabel="class survives", ylim=(0, 1.05))
        finish(
            right, name, "lines", xlabel=PROCESSES[name][1], ylabel=r"susceptibility $\chi$ (tokens)", ylim=(0, None)
        )
    text = f"{data}, exact denoiser, {rows[0]['grammars']} grammars, {rows[0]['sentences']} sentences each. "
    note(figure, text + "Dashed: mean-field map and its threshold; grey: where the two deepest curves cross.")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="forward_backward",
        measure=measure,
        draw=draw,
        options=OPTIONS,
        trains=False,
        shows="transitions",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
