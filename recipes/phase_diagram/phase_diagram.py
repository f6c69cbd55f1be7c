"""Which levels of a sentence survive which noise, exactly; and the thresholds of infinite depth against m.

    python recipes/phase_diagram/phase_diagram.py [--ensemble v32-m8-s2] [--depth 8] [--vocab_sizes 16 32]
    python recipes/phase_diagram/phase_diagram.py --draw docs/figures

Nothing is trained: belief propagation is the optimal denoiser, and its messages carried from level to level without
end (population dynamics) have a threshold. Writes `phase_diagram.png` and its tables: `phase_diagram_survival.csv` (a
row per noise, time and level), `_half_way.csv` (where a level survives half of the time), `_thresholds.csv` (a row
per v, m and noise) and `_flow.csv` (a row per noise, strength around the threshold, sequence of rules and level).
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import EpsilonProcess, GaussianDiffusion, MaskedDiffusion, UniformDiffusion, crossing
from rhm_hf.diffusion import forward_backward as there_and_back
from rhm_hf.ensembles import averages, distinct, group, where
from rhm_hf.plots import curve, finish, note, sheet
from rhm_hf.training.recipe import Tables, recipe_main


NOISES = {  # name: its class, what its time is called, and the times around the transition of (32, 8, 2)
    "epsilon": (EpsilonProcess, r"$\epsilon$", (0.58, 0.88)),
    "masked": (MaskedDiffusion, "fraction of masked tokens", (0.02, 0.52)),
    "uniform": (UniformDiffusion, r"$1 - \bar\alpha$ (uniform symbols)", (0.01, 0.31)),
    "gaussian": (GaussianDiffusion, r"$1 - \bar\alpha$ (Gaussian)", (0.05, 0.21)),
}
MARKED = (0.1, 0.5, 0.9)  # survivals whose places are drawn in the map
AROUND = (0.85, 0.93, 0.97, 1.0, 1.03, 1.07, 1.15)  # thresholds: strengths whose flow is followed
OPTIONS = {
    "ensemble": "v32-m8-s2",  # of the maps
    "depth": 8,
    "noises": list(NOISES),
    "num_grammars": 8,  # rules_seed = 0, 1, ..
    "num_sentences": 32,  # of every grammar
    "num_times": 20,
    "vocab_sizes": [16, 32],  # of the thresholds, s as in the ensemble
    "synonyms": [2, 3, 4, 5, 6, 7, 8, 10, 12],
    "num_sequences": 8,  # of rules, at infinite depth
    "population": 32,
    "num_levels": 30,  # of the flow around the threshold
    "num_threads": 1,
}
TINY = {"ensemble": "v8-m2-s2", "depth": 3, "num_grammars": 2, "num_sentences": 16, "num_times": 5}
TINY |= {"vocab_sizes": [6, 8], "synonyms": [2, 3], "num_sequences": 2, "population": 16, "num_levels": 6}


def measure(ensemble: str, depth: int, noises: list[str], num_threads: int, **options) -> Tables:
    """The maps of all noises, then the thresholds, then the flow around them."""
    if unknown := [name for name in noises if name not in NOISES]:
        raise ValueError(f"noises={unknown}: there are {', '.join(NOISES)}")
    torch.set_num_threads(num_threads)
    sizes = {name: options.pop(name) for name in ("num_grammars", "num_sentences", "num_times")}
    survival = [row for name in noises for row in survival_rows(name, ensemble, depth, **sizes)]
    num_levels, shared = options.pop("num_levels"), (options["num_sequences"], options["population"])
    tuple_size = Grammar.from_name(f"{ensemble}-L1").parameters.tuple_size
    flow = [row for name in noises for row in flow_rows(name, ensemble, num_levels, *shared)]
    return {"survival": survival, "thresholds": threshold_rows(noises, tuple_size, **options), "flow": flow}


def survival_rows(
    name: str, ensemble: str, depth: int, num_grammars: int, num_sentences: int, num_times: int
) -> list[dict]:
    """The probability that a symbol of every level is the same after noise and exact denoising, for every grammar."""
    make, _, (first, last) = NOISES[name]
    grammars = {seed: Grammar.from_name(f"{ensemble}-L{depth}", rules_seed=seed) for seed in range(num_grammars)}
    process, rows = make(grammars[0].vocab_size), []
    times = np.linspace(first, last, num_times).tolist()
    for t in tqdm(times, desc=name, unit="time", leave=False, disable=not sys.stderr.isatty()):
        for seed, grammar in grammars.items():
            found = there_and_back(grammar, process, t, num_sentences)
            keys = {"data": f"{ensemble}-L{depth}", "rules_seed": seed, "sentences": num_sentences}
            keys |= {"noise": name, "t": round(t, 6)}
            rows += [keys | {"level": level, "survival": value} for level, value in enumerate(found.survival)]
    return rows


def flow_rows(kind: str, ensemble: str, num_levels: int, num_sequences: int, population: int) -> list[dict]:
    """Survival of the root of 0, 1, .. levels, at strengths around the threshold, for every sequence of rules."""
    parameters = Grammar.from_name(f"{ensemble}-L1").parameters
    found, _ = threshold(parameters, kind, num_sequences, population)
    if found is None:
        return []
    shares = [factor * found.noise for factor in AROUND if factor * found.noise < 1]
    flow = theory.recovery_flow(parameters, kind, shares, num_levels, num_sequences, population)
    keys = {"data": ensemble, "noise": kind, "population": population, "threshold": found.noise}
    return [
        keys | {"t": round(share, 6), "sequence": i, "level": level, "survival": survival}
        for share, of_share in zip(shares, flow.tolist(), strict=True)
        for i, of_sequence in enumerate(of_share)
        for level, survival in enumerate(of_sequence)
    ]


def threshold_rows(
    kinds: list[str],
    tuple_size: int,
    vocab_sizes: list[int],
    synonyms: list[int],
    num_sequences: int,
    population: int,
) -> list[dict]:
    """Thresholds of infinite depth, for every m up to v^(s-1)/2, beside the mean-field one of the ε-process.

    Beyond, F'(1) of the mean-field map is 1 or more: any noise spreads.
    """
    rows = []
    cases = [(v, m) for v in vocab_sizes for m in synonyms if 2 * m <= v ** (tuple_size - 1)]
    for v, m in tqdm(cases, desc="thresholds", unit="(v, m)", leave=False, disable=not sys.stderr.isatty()):
        parameters = Grammar.from_name(f"v{v}-m{m}-s{tuple_size}-L1").parameters
        has = theory.has_denoising_transition(parameters)
        mean_field = theory.denoising_transition(parameters)[0] if has else ""
        for kind in kinds:
            keys = {"vocab_size": v, "num_synonyms": m, "tuple_size": tuple_size, "noise": kind}
            keys |= {"sequences": num_sequences, "population": population}
            found, why = threshold(parameters, kind, num_sequences, population)
            spread = {"threshold": found.noise, "stderr": found.stderr} if found else {"threshold": "", "stderr": ""}
            rows.append(keys | spread | {"fate": why, "mean_field": mean_field if kind == "epsilon" else ""})
    return rows


@cache  # the flow asks for one of the table
def threshold(parameters, kind: str, num_sequences: int, population: int):
    """The threshold and "", or None and what becomes of the class at any noise."""
    try:
        return theory.recovery_threshold(parameters, kind, num_sequences, population), ""
    except ValueError as error:
        if "has no threshold" not in str(error):
            raise
        return None, "lost" if "is lost" in str(error) else "known"


def conclude(tables: Tables) -> Tables:
    """Where a symbol of every level survives half of the time, mean over grammars."""
    rows = []
    for (data, noise, level), mine in group(tables["survival"], "data", "noise", "level").items():
        times, means, _ = averages(mine, "t", "survival")
        half = crossing(times, np.full(len(times), 0.5), np.array(means))
        rows.append({"data": data, "noise": noise, "level": level, "half": "" if half is None else half})
    return {"half_way": rows}


def draw(tables: Tables, path: Path) -> None:
    """A map and the flow of every noise side by side, then the thresholds for every v."""
    survival, thresholds, flows = tables["survival"], tables["thresholds"], group(tables["flow"], "noise")
    noises, sizes = distinct(survival, "noise"), distinct(thresholds, "vocab_size")
    figure, axes = sheet(len(noises) + len(flows) + len(sizes), height=2.4)
    panels = iter(axes)
    for name in noises:
        draw_map(next(panels), name, where(survival, noise=name), thresholds)
        if name in flows:
            draw_flow(next(panels), name, flows[name])
    for v in sizes:
        draw_thresholds(next(panels), v, where(thresholds, vocab_size=v))
    one, other = survival[0], thresholds[0]
    text = (
        f"Maps: {one['data']}, exact denoiser, {len(distinct(survival, 'rules_seed'))} grammars, {one['sentences']} "
        f"sentences each; white: survival {', '.join(f'{value:g}' for value in MARKED)}; red: threshold at infinite "
        "depth. Beside them the root of trees of more levels, and below thresholds: population dynamics, "
        f"{other['sequences']} sequences of rules, {other['population']} messages a symbol; bars: standard errors; "
        "hollow: no threshold that can be told from 0 or 1."
    )
    note(figure, text)
    figure.savefig(path)


def draw_flow(ax, name: str, rows: list[dict]) -> None:
    """Survival against the levels above the noise, a line a strength."""
    shares = sorted(distinct(rows, "t"))
    for i, share in enumerate(shares):
        mine = where(rows, t=share)
        curve(ax, mine, "level", "survival", i, f"{share:.3f}", len(shares), over="sequence", marker="", capsize=0)
    labels = {"xlabel": "levels above the noise", "ylabel": "survival", "ylim": (-0.04, 1.04)}
    finish(ax, f"{name}, threshold {rows[0]['threshold']:.3f}", "lines", **labels)


def draw_map(ax, name: str, rows: list[dict], thresholds: list[dict]) -> None:
    times, levels = sorted(distinct(rows, "t")), sorted(distinct(rows, "level"))
    values = np.array([averages(where(rows, level=level), "t", "survival")[1] for level in levels])
    shown = ax.pcolormesh(times, levels, values, cmap="viridis", vmin=0, vmax=1, shading="nearest", rasterized=True)
    lines = ax.contour(times, levels, values, levels=list(MARKED), colors="white", linewidths=0.8)
    ax.clabel(lines, fontsize=5.5, fmt="%g")
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes([1.03, 0, 0.04, 1]))
    bar.ax.tick_params(labelsize=6)
    parameters = Grammar.from_name(rows[0]["data"]).parameters
    v, m = parameters.vocab_size, parameters.num_synonyms
    for row in where(thresholds, vocab_size=v, num_synonyms=m, tuple_size=parameters.tuple_size, noise=name):
        if row["threshold"] != "":
            ax.axvline(row["threshold"], color="#D55E00", linewidth=1.2)
    finish(ax, f"survival, {name}", xlabel=NOISES[name][1], ylabel="level")
    ax.grid(False)


def draw_thresholds(ax, v: int, rows: list[dict]) -> None:
    for i, (kind, mine) in enumerate(group(rows, "noise").items()):
        there = [row for row in mine if row["threshold"] != ""]
        curve(ax, there, "num_synonyms", "threshold", i, kind, errors="stderr")
        for row in mine:
            if row["threshold"] == "":
                place = 0.0 if row["fate"] == "lost" else 1.0
                ax.plot(row["num_synonyms"], place, "os^D"[i], color="0.4", markersize=4, markerfacecolor="white")
    field = [row for row in where(rows, noise="epsilon") if row["mean_field"] != ""]
    points = [[row[name] for row in field] for name in ("num_synonyms", "mean_field")]
    ax.plot(*points, "--", color="black", linewidth=0.8, label=r"mean field, $\epsilon$")
    labels = {"xlabel": "synonyms m", "ylabel": "threshold noise", "ylim": (-0.04, 1.04)}
    finish(ax, f"v = {v}, s = {rows[0]['tuple_size']}, infinite depth", "lines", **labels)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="phase_diagram",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        trains=False,
        shows="thresholds",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
