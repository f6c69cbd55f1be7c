"""What layers of last-token models represent: latent symbols become available level by level as P grows.

    python recipes/representations/representations.py --config recipes/representations/cpu.yaml [--figures FOLDER]
    python recipes/representations/representations.py --draw docs/figures

Looks into the models that the recipe `last_token` has trained, and trains those that are not there. It writes
`representations.png` and its tables: `representations_ratios.csv` (the probe of arXiv 2406.00048: a symbol replaced,
or only its rule redrawn), `_probes.csv` (the same symbols read off linearly) and `_thresholds.csv` (where a layer
comes to hold a level, beside theory). All sentences are fresh.
"""

from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, group, marked, scale, where
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.representation_probe import representation_probe
from rhm_hf.plots import colour, curve, finish, note, place_line, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


NAMES = {"gpt2": "GPT-2", "hierarchical_cnn": "CNN"}
CNN = "hierarchical_cnn"
HALF = 0.5  # a layer holds a level where the ratio is below


def measure(rows: list[dict], values: dict) -> Tables:
    """Looks into the best model of every run."""
    ratios, probes = [], []
    for run in kept_runs(rows, values):
        model, grammar, keys = run.model(), run.grammar(), run.keys("model", "data", "rules_seed", "num_train")
        # With residual connections every position keeps its own token: what the last one has gathered tells.
        positions = "all" if run["model"] == CNN else "last"
        ratios += ratio_rows(keys, representation_probe(model, grammar, positions=positions))
        probes += probe_rows(keys, grammar, latent_probe(model, grammar, positions=positions, hide_last=True))
    return {"ratios": ratios, "probes": probes}


def conclude(tables: Tables) -> Tables:
    """Where a layer comes to hold a level."""
    return {"thresholds": thresholds(tables["ratios"])}


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
    p = Grammar.from_name(data).parameters
    return theory.clustering_complexity(p, level + 1, latent_level=level if model == CNN else 1)


def thresholds(ratios: list[dict]) -> list[dict]:
    """Where the mean ratio comes down to a half, marked where that lies outside the P measured."""
    rows = []
    for (model, data, layer, level), mine in group(ratios, "model", "data", "layer", "level").items():
        sizes, means, _ = averages(mine, "num_train", "ratio")
        if len(sizes) < 2:
            continue
        found = {"model": model, "data": data, "layer": layer, "level": level}
        found |= marked(last_crossing(sizes, means, HALF), sizes, "half") | {"lowest": float(np.min(means))}
        rows.append(found | {"theory": expected(data, model, level)})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """A row for every model, a panel for every level: ratios, and the accuracy of linear probes, by layer."""
    ratios, probes = tables["ratios"], tables["probes"]
    panels = group(ratios, "model", "data", "level")
    figure, axes = sheet(len(panels), height=2.8)
    for (key, mine), ax in zip(panels.items(), axes, strict=True):
        draw_level(ax, mine, where(probes, **dict(zip(("model", "data", "level"), key, strict=True))))
    text = (
        f"{scale(ratios)}, 1 model seed; bars: standard error over grammars. Dotted: accuracy of linear probes, grey: "
    )
    note(figure, text + "chance; dashed: where theory has the symbol.")
    figure.savefig(path)


def draw_level(ax, ratios: list[dict], probes: list[dict]) -> None:
    layers = [layer for layer in distinct(ratios, "layer") if layer != "hidden_states[0]"]  # the input
    model, level, data = ratios[0]["model"], ratios[0]["level"], ratios[0]["data"]
    for i, layer in enumerate(layers):
        name = "logits" if layer == "logits" else f"layer {layer.strip('hiden_sta[]')}"
        curve(ax, where(ratios, layer=layer), "num_train", "ratio", i, name, of=len(layers))
        accuracies = averages(where(probes, layer=layer), "num_train", "accuracy")
        ax.plot(*accuracies[:2], ":", color=colour(i, len(layers)), linewidth=1)
    ax.axhline(averages(probes, "level", "chance")[1][0], color="0.6", linewidth=0.6)
    place_line(ax, expected(data, model, level), f"$P_{level + 1}$")
    labels = {"xlabel": "training sentences P", "ylabel": "(1 - sim. redrawn) / (1 - sim. replaced)"}
    finish(ax, f"{NAMES.get(model, model)}, level {level}, {data}", "lines", xscale="log", ylim=(0, 1.15), **labels)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="representations", measure=measure, conclude=conclude, draw=draw, shows="thresholds")


if __name__ == "__main__":
    main()
