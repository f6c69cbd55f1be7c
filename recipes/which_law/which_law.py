"""Which law is the network? The exact law, truncated or whole, that a model is nearest to, along P and training.

    python recipes/which_law/which_law.py --config recipes/which_law/cpu.yaml [--figures FOLDER]
    python recipes/which_law/which_law.py --draw docs/figures

A run of every P, and shorter ones where beliefs are followed along training. It writes `which_law.png` and its tables:
`which_law_laws.csv` (a row per evaluation of a last-token run: the KL to the best law that knows the token's own block
of each level only, and which is lowest), `_beliefs.csv` (a row per kept model, layer and level: R^2 of an affine map
to the exact beliefs about hidden symbols, those above the last token, or all where all tokens are predicted) and
`_onsets.csv` (the P, and the step, from which models are nearest to a level's law, and the P at which R^2 is half way
up).
"""

import math
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, ensemble, group, marked, num_limited, scale, where
from rhm_hf.judging import read_model
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.plots import colour, curve, finish, note, place_line, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.statistics.intervals import student
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main


KEYS = ("data", "task", "model", "rules_seed", "model_seed", "num_train", "step")
TASKS = {"last_token": "last token", "next_token": "all tokens"}
NAMES = {"gpt2": "GPT-2", "hierarchical_cnn": "CNN"}
BELIEFS = {  # about the ancestors of the last token that is read; about all nodes, at every token
    "last_token": {"positions": "last", "hide_last": True},
    "next_token": {"nodes": "all"},
}
COLUMNS = ("r2", "stderr", "control", "control_stderr")


def measure(rows: list[dict], values: dict, num_fitted: int) -> Tables:
    """Laws of all evaluations, and beliefs of the kept models of those that read from left to right."""
    laws, beliefs = [], []
    for run in kept_runs(rows, values):
        if run["task"] not in TASKS:
            raise ValueError(f"task={run['task']!r}: this recipe needs one of {', '.join(TASKS)}")
        whole = run.arguments.training.keep == "best"  # the others are beginnings of these
        if whole and run["task"] == "last_token":
            laws += [law_row(run, row) for row in where(rows, run=run["run"])]
        model = run.model()
        if not read_model(model).is_causal:
            continue  # its layers have no vector a position
        found = belief_probe(model, run.grammar(), num_train=num_fitted, **BELIEFS[run["task"]])
        keys = run.keys(*KEYS) | {"along": "P" if whole else "steps"} | run.keys("kl", "stopped_by")
        keys["nodes"] = found["nodes"]
        for k, layer in enumerate(found["layers"]):
            for j, level in enumerate(found["levels"]):
                entry = {name: "" if found[name][k][j] is None else found[name][k][j] for name in COLUMNS}
                beliefs.append(keys | {"layer": layer, "level": level} | entry)
    return {"laws": laws, "beliefs": beliefs}


def law_row(run: KeptRun, row: dict) -> dict:
    """An evaluation: `kl_level_0` .. `kl_level_L`, `law`, the level whose KL is lowest, and `kl_law`, that KL (nats).

    `chosen` is 1 where the validation loss is lowest.
    """
    kls = [row[f"kl_level_{level}"] for level in range(run.grammar().depth + 1)]
    law = int(np.argmin(kls))
    found = run.keys(*KEYS) | {"step": row["step"], "train_loss": row["train_loss"]}
    found |= {f"kl_level_{level}": kl for level, kl in enumerate(kls)} | {"law": law, "kl_law": kls[law]}
    return found | {"chosen": row["best"], "entropy": row["entropy"], "stopped_by": row["stopped_by"]}


def conclude(tables: Tables) -> Tables:
    """From which P on, and for the largest from which step on, models are at a level; where beliefs are half way."""
    laws = []
    for (data, task, model), mine in group(tables["laws"], "data", "task", "model").items():
        largest = where(mine, num_train=max(distinct(mine, "num_train")))
        for level in range(1, Grammar.from_name(data).depth + 1):
            row = {"data": data, "task": task, "model": model, "level": level}
            row |= {"grammars": len(distinct(mine, "rules_seed"))}
            row |= onset(where(mine, chosen=1), "num_train", level, "nearest_from")
            row |= onset(largest, "step", level, "nearest_from_step")
            row["theory"] = theory.sample_complexity(
                Grammar.from_name(data).parameters, level, architecture="cnn" if "cnn" in model else "transformer"
            )
            laws.append(row | {"stopped_by": ", ".join(distinct(mine, "stopped_by"))})
    return {"onsets": laws, "rises": rises(tables["beliefs"])}


def onset(rows: list[dict], x: str, level: int, name: str) -> dict:
    """Where the nearest law of the mean over grammars comes to a level for good, and the range over grammars."""
    places = sorted(distinct(rows, x))

    def crossing(mine: list[dict]) -> float:
        before = [float(nearest(where(mine, **{x: place})) < level) for place in places]
        return last_crossing(places, before, 0.5) if len(places) > 1 else np.nan

    each = [crossing(mine) for mine in group(rows, "rules_seed").values()]
    low, high = (marked(of(each), places, "end")["end"] for of in (min, max))
    return marked(crossing(rows), places, name) | {f"{name}_low": low, f"{name}_high": high}


def rises(beliefs: list[dict]) -> list[dict]:
    """R^2 of the last hidden layer, untrained and at the largest P, what it rises by from the smallest P on (mean over
    grammars and half of its 95 % interval), and, where it does rise, the P half way."""
    rows = []
    for (data, task, model), mine in group(beliefs, "data", "task", "model").items():
        mine = [row for row in where(mine, layer=last_hidden(mine)) if row["r2"] != ""]
        for level, own in sorted(group(mine, "level").items()):
            along = where(own, along="P")
            sizes, means, errors = averages(along, "num_train", "r2")
            row = {"data": data, "task": task, "model": model, "level": level}
            row |= {"grammars": len(distinct(own, "rules_seed")), "r2": means[-1], "r2_stderr": errors[-1]}
            steps, at, _ = averages(where(own, along="steps"), "step", "r2")
            row |= {"r2_untrained": at[0] if steps and steps[0] == 1 else ""}
            row["rise"], row["rise_margin"] = rise(along)
            row["step_limited"] = num_limited(along)
            if row["rise"] > row["rise_margin"]:  # else no place on the way means anything
                half = -(means[0] + means[-1]) / 2
                row |= marked(last_crossing(sizes, [-r2 for r2 in means], half), sizes, "r2_half")
            rows.append(row | {"theory": theory.sample_complexity(Grammar.from_name(data).parameters, level)})
    return rows


def rise(along: list[dict]) -> tuple[float, float]:
    """R^2 at the largest P less that at the smallest, grammar by grammar: mean and half of its 95 % interval."""
    _, curves = ensemble(along, "num_train", "r2", step_limited="keep")
    found, count = curves[:, -1] - curves[:, 0], len(curves)
    margin = student(0.95, count - 1) * found.std(ddof=1) / math.sqrt(count) if count > 1 else math.inf
    return float(found.mean()), float(margin)


def nearest(rows: list[dict]) -> int:
    """The level of lowest mean KL over grammars."""
    levels = sum(key.startswith("kl_level_") and rows[0][key] != "" for key in rows[0])
    return int(np.argmin([np.mean([row[f"kl_level_{level}"] for row in rows]) for level in range(levels)]))


def last_hidden(rows: list[dict]) -> str:
    """The last hidden states, which the logits are read from."""
    return max((layer for layer in distinct(rows, "layer") if layer.startswith("hidden")), key=lambda n: (len(n), n))


def draw(tables: Tables, path: Path) -> None:
    """The map of laws of every model, then beliefs along P and along training of every task."""
    laws, beliefs = tables["laws"], tables["beliefs"]
    maps, believed = group(laws, "data", "model"), group(beliefs, "data", "task", "model")
    first = len(maps) + len(maps) % 2  # beliefs begin a row
    figure, axes = sheet(first + 2 * len(believed), height=2.7)
    for ax in axes[len(maps) : first]:
        ax.set_axis_off()
    for ax, ((data, model), mine) in zip(axes, maps.items(), strict=False):
        draw_map(ax, f"{NAMES.get(model, model)}, last token, {data}", mine)
    for k, ((_, task, model), mine) in enumerate(believed.items()):
        name = f"{NAMES.get(model, model)}, {TASKS[task]}"
        draw_beliefs(axes[first + 2 * k], name, mine, "num_train")
        draw_beliefs(axes[first + 2 * k + 1], name, mine, "step")
    runs = group(laws, "data", "model", "rules_seed", "model_seed", "num_train").values()
    ended = [max(mine, key=lambda row: row["step"]) for mine in runs]
    counts = ", ".join(f"{len(mine)} {reason}" for reason, mine in group(ended, "stopped_by").items())
    text = (
        f"{scale(laws)}. Colour: the truncated law of lowest mean KL; white lines: that KL, nats; dashed: P_l. "
        "Beliefs: R^2 of an affine map from the last hidden states, bars over grammars; dotted: after one step. "
        f"How the {len(ended)} runs of the maps ended: {counts}."
    )
    note(figure, text)
    figure.savefig(path)


def draw_map(ax, title: str, rows: list[dict]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    sizes, steps = sorted(distinct(rows, "num_train")), sorted(distinct(rows, "step"))
    cells = [[where(rows, num_train=size, step=step) for step in steps] for size in sizes]
    laws = np.array([[nearest(cell) if cell else np.nan for cell in line] for line in cells])
    parameters = Grammar.from_name(rows[0]["data"]).parameters
    num = parameters.depth + 1
    shades = ListedColormap([colour(level, num) for level in range(num)])
    look = {"cmap": shades, "norm": BoundaryNorm(np.arange(num + 1) - 0.5, num), "shading": "nearest", "alpha": 0.75}
    shown = ax.pcolormesh(steps, sizes, laws, **look)
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes([1.03, 0, 0.04, 1]), ticks=range(num))
    bar.ax.tick_params(labelsize=6)
    bar.set_label("level of the law", fontsize=7)
    if len(sizes) > 1 and len(steps) > 1 and not np.isnan(laws).any():
        kls = np.array([[np.mean([r[f"kl_level_{nearest(cell)}"] for r in cell]) for cell in line] for line in cells])
        if kls.max() > kls.min():
            lines = ax.contour(steps, sizes, kls, levels=contours(kls), colors="white", linewidths=0.8)
            ax.clabel(lines, fontsize=5.5, fmt="%.2g")
    for level in range(1, num):
        kind = "cnn" if "cnn" in rows[0]["model"] else "transformer"
        size = theory.sample_complexity(parameters, level, architecture=kind)
        if min(sizes) <= size <= max(sizes):
            ax.axhline(size, color="black", linestyle="--", linewidth=0.7)
            ax.annotate(f"$P_{level}$", (steps[0], size), xytext=(2, 2), textcoords="offset points", fontsize=6.5)
    labels = {"xlabel": "training steps", "ylabel": "training sentences P"}
    finish(ax, title, xscale="log", yscale="log", **labels)
    ax.grid(False)


def contours(kls: np.ndarray) -> list[float]:
    """At most five levels, a factor apart."""
    low = max(kls.min(), 1e-4)
    return np.geomspace(low, kls.max(), 7)[1:-1].tolist() if kls.max() > low else [low]


def draw_beliefs(ax, name: str, rows: list[dict], x: str) -> None:
    """R^2 of every level along P, of the models of lowest validation loss, or along the training on the largest P."""
    rows = [row for row in where(rows, layer=last_hidden(rows)) if row["r2"] != ""]
    short = where(rows, along="steps")
    mine = where(rows, along="P") if x == "num_train" else short
    levels = sorted(distinct(rows, "level"))
    for i, level in enumerate(levels):
        curve(ax, where(mine, level=level), x, "r2", i, f"level {level}", len(levels))
        if x == "num_train":
            start = where(short, level=level, step=1)
            if start:
                ax.axhline(np.mean([row["r2"] for row in start]), color=colour(i, len(levels)), linestyle=":")
            parameters = Grammar.from_name(rows[0]["data"]).parameters
            place_line(ax, theory.sample_complexity(parameters, level=level), f"$P_{level}$")
    title = f"beliefs, {name}" + ("" if x == "num_train" or not mine else f", P = {mine[0]['num_train']}")
    label = "training sentences P" if x == "num_train" else "training steps"
    finish(ax, title, "lines", xscale="log", xlabel=label, ylabel=r"$R^2$ of beliefs", ylim=(None, 1.02))


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    parts = {"measure": measure, "conclude": conclude, "draw": draw}
    parts |= {"options": {"num_fitted": 4096}, "tiny": {"num_fitted": 256}}  # sentences that a map is fitted to
    return recipe_main(argv, name="which_law", shows="onsets", **parts)


if __name__ == "__main__":
    main()
