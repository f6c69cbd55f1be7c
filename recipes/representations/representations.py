"""What layers of last-token models represent: latent symbols become available level by level as P grows.

    python recipes/representations/representations.py --config recipes/representations/cpu.yaml [--figures FOLDER]
    python recipes/representations/representations.py --draw docs/figures

Looks into the models that the recipe `last_token` has trained, and trains those that are not there. It writes
`representations.png` and its tables: `representations_ratios.csv` (the probe of arXiv 2406.00048: a symbol replaced,
or only its rule redrawn), `_probes.csv` (the same symbols read off linearly) and `_thresholds.csv` (where a layer
comes to hold a level, beside theory). All sentences are fresh.
"""

import sys
from pathlib import Path

import numpy as np
from transformers import logging

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.representation_probe import representation_probe
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, recipe_main
from rhm_hf.training.results import best_rows


NAMES = {"gpt2": "GPT-2", "hierarchical_cnn": "CNN"}
CNN = "hierarchical_cnn"
HALF = 0.5  # a layer holds a level where the ratio is below


def measure(rows: list[dict], values: dict) -> Tables:
    """Looks into the best model of every run."""
    logging.disable_progress_bar()
    ratios, probes = [], []
    for row in best_rows(rows):
        model = load_model(str(Path(values["output_dir"]) / row["run"] / "model"))
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        run = {key: row[key] for key in ("model", "data", "rules_seed", "num_train")}
        # With residual connections every position keeps its own token: what the last one has gathered tells.
        positions = "all" if row["model"] == CNN else "last"
        ratios += ratio_rows(run, representation_probe(model, grammar, positions=positions))
        probes += probe_rows(run, grammar, latent_probe(model, grammar, positions=positions, hide_last=True))
    return {"ratios": ratios, "probes": probes, "thresholds": thresholds(ratios)}


def ratio_rows(run: dict, found: dict) -> list[dict]:
    """One row per layer and level, without layers that do not see the changes."""
    names = ("ratio", "ratio_stderr", "similarity_replaced", "similarity_redrawn")
    return [
        run | {"layer": layer, "level": level} | {name: found[name][k][j] for name in names}
        for k, layer in enumerate(found["layers"])
        for j, level in enumerate(found["levels"])
        if found["ratio"][k][j] is not None
    ]


def probe_rows(run: dict, grammar: Grammar, found: dict) -> list[dict]:
    """Accuracy at the node that the other probe changes: the last of its level that is not above the last token."""
    rows = []
    for k, layer in enumerate(found["layers"]):
        for level in range(1, grammar.depth):
            node = grammar.num_nodes_at(level) - 2
            accuracy, chance = found["accuracy_per_node"][k][level][node], found["chance_per_node"][level][node]
            stderr = (accuracy * (1 - accuracy) / found["num_sentences"]) ** 0.5
            added = {"layer": layer, "level": level, "accuracy": accuracy, "stderr": stderr, "chance": chance}
            rows.append(run | added)
    return rows


def expected(data: str, model: str, level: int) -> float:
    """P at which theory has the level-ℓ symbol nearest to the last token: their common ancestor is one level higher.

    This is P_(ℓ+1), at which that symbol lowers the loss.
    """
    p = GrammarParameters.from_name(data)
    return theory.clustering_complexity(p, level + 1, latent_level=level if model == CNN else 1)


def thresholds(ratios: list[dict]) -> list[dict]:
    """Where the mean ratio comes down to a half: 0 before the smallest P, inf beyond the largest."""
    rows = []
    keys = dict.fromkeys((r["model"], r["data"], r["layer"], r["level"]) for r in ratios)
    for model, data, layer, level in keys:
        mine = [r for r in ratios if (r["model"], r["data"], r["layer"], r["level"]) == (model, data, layer, level)]
        sizes, means, _ = averages(mine, "num_train", "ratio")
        if len(sizes) < 2:
            continue
        found = {"model": model, "data": data, "layer": layer, "level": level}
        found |= {"half": last_crossing(sizes, means, HALF), "lowest": float(np.min(means))}
        rows.append(found | {"theory": expected(data, model, level)})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """A row for every model, a panel for every level: ratios, and the accuracy of linear probes, by layer."""
    ratios, probes = tables["ratios"], tables["probes"]
    models, levels = (list(dict.fromkeys(row[name] for row in ratios)) for name in ("model", "level"))
    figure, axes = new_figure(len(levels), width=5.4, rows=len(models))
    for model, line in zip(models, np.atleast_2d(axes), strict=True):
        for level, ax in zip(levels, line, strict=True):
            draw_level(
                ax, *([r for r in rows if (r["model"], r["level"]) == (model, level)] for rows in (ratios, probes))
            )
    figure.savefig(path)


def draw_level(ax, ratios: list[dict], probes: list[dict]) -> None:
    layers = list(dict.fromkeys(row["layer"] for row in ratios if row["layer"] != "hidden_states[0]"))  # the input
    model, level, data = ratios[0]["model"], ratios[0]["level"], ratios[0]["data"]
    for i, layer in enumerate(layers):
        name, shade = "logits" if layer == "logits" else f"layer {layer.strip('hiden_sta[]')}", colour(i, len(layers))
        points = averages([r for r in ratios if r["layer"] == layer], "num_train", "ratio")
        ax.errorbar(*points, color=shade, marker="o", markersize=4, capsize=2, label=name)
        sizes, accuracies, _ = averages([r for r in probes if r["layer"] == layer], "num_train", "accuracy")
        ax.plot(sizes, accuracies, ":", color=shade)
    ax.plot([], [], ":", color="0.4", label="accuracy of linear probes")
    ax.axhline(averages(probes, "level", "chance")[1][0], color="0.6", linewidth=0.6)
    ax.axvline(expected(data, model, level), color="black", linestyle="--", linewidth=0.8)
    grammars = len({row["rules_seed"] for row in ratios})
    finish(
        ax,
        f"{NAMES.get(model, model)}, level {level}, {data}, {grammars} grammars; dashed: $P_{level + 1}$",
        xscale="log",
        xlabel="training sentences P",
        ylabel="(1 - sim. redrawn) / (1 - sim. replaced)",
        ylim=(0, 1.25),
    )
    ax.legend(frameon=False, fontsize=7, ncols=3, loc="upper center")


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="representations", measure=measure, draw=draw)
