"""Which law is the network? The exact law, truncated or whole, that a model is nearest to, along P and training.

    python recipes/which_law/which_law.py --config recipes/which_law/cpu.yaml [--figures FOLDER]
    python recipes/which_law/which_law.py --draw docs/figures

A run of every P and number of steps. It writes `which_law.png` and its tables: `which_law_laws.csv` (a row per run:
the KL to the best law that knows a token's own block of each level only, and which is lowest), `_beliefs.csv` (a row
per run, layer and level: R^2 of an affine map to the exact beliefs about hidden symbols) and `_onsets.csv` (the P from
which the longest runs are nearest to a level's law, and that at which R^2 is half way up).
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, group, marked, scale, where
from rhm_hf.inference import next_token_probs
from rhm_hf.judging import Targets, compare
from rhm_hf.judging.sentences import judged_sentences
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.plots import colour, curve, finish, note, place_line, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


KEYS = ("data", "task", "model", "rules_seed", "model_seed", "num_train", "step", "train_loss", "validation_loss")
TASKS = {"last_token": "last token", "next_token": "all tokens"}
NUM_JUDGED = 2048  # sentences, where there are too many to take all


def measure(rows: list[dict], values: dict) -> Tables:
    """Laws and beliefs of the last model of every run."""
    laws, beliefs = [], []
    for run in kept_runs(rows, values):
        if run["task"] not in TASKS or run.arguments.training.keep != "last":
            raise ValueError(
                f"task={run['task']!r}, keep={run.arguments.training.keep!r}: this recipe needs one of "
                f"{', '.join(TASKS)}, and keep='last', the model at the end of every run"
            )
        model, grammar, keys = run.model(), run.grammar(), run.keys(*KEYS)
        laws.append(keys | nearest_law(model, grammar, last=run["task"] == "last_token") | run.keys("stopped_by"))
        positions = "last" if run["task"] == "last_token" else "all"
        found = belief_probe(model, grammar, positions=positions, hide_last=True)
        columns = ("r2", "stderr", "control", "control_stderr")
        for k, layer in enumerate(found["layers"]):
            for j, level in enumerate(found["levels"]):
                entry = {name: "" if found[name][k][j] is None else found[name][k][j] for name in columns}
                beliefs.append(keys | {"layer": layer, "level": level} | entry)
    return {"laws": laws, "beliefs": beliefs}


def nearest_law(model, grammar: Grammar, last: bool) -> dict:
    """KL from the exact laws given one's own block of every level to the model's, nats per judged token.

    Args:
        model (`PreTrainedModel`): reads BOS and all tokens but the last.
        grammar (`Grammar`): of the sentences.
        last (`bool`): whether the last token alone is judged.

    Returns:
        `dict`: `kl_level_0` .. `kl_level_L`, `law`, the level whose KL is lowest, and `kl_law`, that KL.
    """
    judged = slice(-1, None) if last else slice(None)
    sentences = judged_sentences(grammar, NUM_JUDGED)

    def exact(rows: slice) -> torch.Tensor:
        tokens = sentences.tokens[rows]
        levels = range(grammar.depth + 1)
        return torch.stack([next_token_probs(grammar, tokens, context_level=level)[:, judged] for level in levels])

    def log_probs(rows: torch.Tensor, noise) -> torch.Tensor:
        inputs = F.pad(rows[:, :-1], (1, 0), value=grammar.vocab_size)
        return model(input_ids=inputs).logits.double().log_softmax(-1)[:, judged, : grammar.vocab_size]

    names = [f"kl_level_{level}" for level in range(grammar.depth + 1)]
    counted = torch.ones(len(sentences), 1 if last else grammar.sentence_length, dtype=torch.bool)
    found = compare(model, Targets(sentences, exact, tuple(names[:-1]), counted), log_probs)
    kls = [found[name] for name in names[:-1]] + [found["kl"]]
    law = int(np.argmin(kls))
    return dict(zip(names, kls, strict=True)) | {"law": law, "kl_law": kls[law], "entropy": found["entropy"]}


def conclude(tables: Tables) -> Tables:
    """From which P on the longest runs are at a level."""
    rows = []
    for (data, task), mine in group(tables["laws"], "data", "task").items():
        longest = where(mine, step=max(distinct(mine, "step")))
        sizes = sorted(distinct(longest, "num_train"))
        if len(sizes) < 2:
            continue
        parameters = Grammar.from_name(data).parameters
        beliefs = where(tables["beliefs"], data=data, task=task, step=longest[0]["step"])
        beliefs = [row for row in beliefs if row["layer"] == last_hidden(beliefs) and row["r2"] != ""]
        for level in range(1, parameters.depth + 1):
            # At and above this level there is one law of lowest KL: 0 from there on, 1 before.
            before = [float(nearest(where(longest, num_train=size)) < level) for size in sizes]
            row = {"data": data, "task": task, "level": level, "step": longest[0]["step"]}
            row |= marked(last_crossing(sizes, before, 0.5), sizes, "nearest_from")
            known, means, _ = averages(where(beliefs, level=level), "num_train", "r2")
            row |= {"r2_smallest": means[0], "r2_largest": means[-1]} if means else {}
            if len(means) > 1:
                falling, half = [-r2 for r2 in means], -(means[0] + means[-1]) / 2
                row |= marked(last_crossing(known, falling, half), known, "r2_half")
            row["theory"] = theory.sample_complexity(parameters, level=level)
            row["stopped_by"] = ", ".join(distinct(longest, "stopped_by"))
            rows.append(row)
    return {"onsets": rows}


def nearest(rows: list[dict]) -> int:
    """The level of lowest mean KL over grammars."""
    levels = sum(key.startswith("kl_level_") and rows[0][key] != "" for key in rows[0])
    return int(np.argmin([np.mean([row[f"kl_level_{level}"] for row in rows]) for level in range(levels)]))


def last_hidden(rows: list[dict]) -> str:
    """The last hidden states, which the logits are read from."""
    return max((layer for layer in distinct(rows, "layer") if layer.startswith("hidden")), key=lambda n: (len(n), n))


def draw(tables: Tables, path: Path) -> None:
    """A column for every task: the map of laws, beliefs along P and beliefs along training."""
    laws, beliefs = tables["laws"], tables["beliefs"]
    cases = distinct(laws, "data", "task")
    figure, axes = sheet(6 if len(cases) < 3 else 3 * len(cases), height=2.6)
    columns = max(2, len(cases))
    for ax in axes:
        ax.set_visible(False)
    for place, (data, task) in enumerate(cases):
        mine, believed = where(laws, data=data, task=task), where(beliefs, data=data, task=task)
        panels = [axes[place + row * columns] for row in range(3)]
        for ax in panels:
            ax.set_visible(True)
        draw_map(panels[0], data, task, mine)
        draw_beliefs(panels[1], data, task, believed, "num_train", "step")
        draw_beliefs(panels[2], data, task, believed, "step", "num_train")
    ended = distinct([row for row in laws if row["step"] == max(distinct(laws, "step"))], "stopped_by")
    text = (
        f"{scale(laws)}. Colour: the truncated law of lowest KL; lines: that KL, nats. Beliefs: R^2 of an affine map "
        f"from the last hidden layer (dotted: at step {min(distinct(laws, 'step'))}; bars: over sentences, or over "
        "grammars where there are several). Dashed: P_l of theory (last token). The longest runs ended by: "
        f"{', '.join(ended)}."
    )
    note(figure, text)
    figure.savefig(path)


def draw_map(ax, data: str, task: str, rows: list[dict]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    sizes, steps = sorted(distinct(rows, "num_train")), sorted(distinct(rows, "step"))
    cells = [[where(rows, num_train=size, step=step) for step in steps] for size in sizes]
    laws = np.array([[nearest(cell) if cell else np.nan for cell in line] for line in cells])
    parameters = Grammar.from_name(data).parameters
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
        size = theory.sample_complexity(parameters, level=level)
        if min(sizes) <= size <= max(sizes):
            ax.axhline(size, color="black", linestyle="--", linewidth=0.7)
            ax.annotate(f"$P_{level}$", (steps[0], size), xytext=(2, 2), textcoords="offset points", fontsize=6.5)
    labels = {"xlabel": "training steps", "ylabel": "training sentences P"}
    finish(ax, f"{TASKS[task]}, {data}", xscale="log", yscale="log", **labels)
    ax.grid(False)


def contours(kls: np.ndarray) -> list[float]:
    """At most five levels, a factor apart."""
    low = max(kls.min(), 1e-4)
    return np.geomspace(low, kls.max(), 7)[1:-1].tolist() if kls.max() > low else [low]


def draw_beliefs(ax, data: str, task: str, rows: list[dict], x: str, fixed: str) -> None:
    """R^2 of every level along P or steps, the other at its largest; dotted: the shortest runs, nearly untrained."""
    rows = [row for row in rows if row["r2"] != ""]
    rows = where(rows, layer=last_hidden(rows))
    largest, first = max(distinct(rows, fixed)), min(distinct(rows, "step"))
    levels, several = sorted(distinct(rows, "level")), len(distinct(rows, "rules_seed")) > 1
    for i, level in enumerate(levels):
        mine = where(rows, level=level)
        errors = None if several else "stderr"
        curve(ax, where(mine, **{fixed: largest}), x, "r2", i, f"level {level}", len(levels), errors=errors)
        if x == "num_train":
            ax.plot(*averages(where(mine, step=first), x, "r2")[:2], ":", color=colour(i, len(levels)), linewidth=0.9)
            place_line(ax, theory.sample_complexity(Grammar.from_name(data).parameters, level=level), f"$P_{level}$")
    name = "training sentences P" if x == "num_train" else "training steps"
    title = f"beliefs, {TASKS[task]}, " + (f"{largest} steps" if fixed == "step" else f"P = {largest}")
    finish(ax, title, "lines", xscale="log", xlabel=name, ylabel=r"$R^2$ of beliefs", ylim=(None, 1.02))


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="which_law", measure=measure, conclude=conclude, draw=draw, shows="onsets")


if __name__ == "__main__":
    main()
