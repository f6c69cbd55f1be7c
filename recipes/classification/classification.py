"""Classification of the root: deep, shallow and lazy networks, and what the layers of a CNN come to represent.

    python recipes/classification/classification.py --config recipes/classification/cpu.yaml [--figures FOLDER]
    python recipes/classification/classification.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `classification.png` and its tables:
`classification_runs.csv` (the last evaluation of every run), `_published.csv` (the comparison point),
`_thresholds.csv` (where each curve has half of the chance error), `_collapse.csv` (how well curves of several m agree
after P is rescaled), `_sensitivity.csv` (of layers to synonyms) and `_probes.csv` (latent symbols read off linearly).

Networks are trained until they have the training set by heart, as in the paper, so their last evaluation counts, and
their last weights are looked into.
"""

import math
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
from transformers import logging

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import collapse_quality, last_crossing
from rhm_hf.training.recipe import Tables, best_runs, classified, recipe_main


MAIN = "cnn"  # the variant whose ensemble all kinds of networks learn
PUBLISHED = "published"  # the variant trained and tested as in the authors' code: with replacement, so with overlap
ACCURACIES = {128: 0.24, 256: 0.32, 512: 0.47, 1024: 0.84, 2048: 1.0}  # of that code, v = n_c = m = 8, s = 2, L = 2
NAMES = {"cnn": "deep CNN", "fully_connected": "fully connected", "shallow": "one hidden layer", "lazy": "lazy"}
LOWEST_ERROR = 0.01  # in a collapse of logarithms: smaller errors are a handful of test sentences


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the curves off the results and looks into the models."""
    runs = [row | {"scaled": scaled(row)} for row in classified(rows)]
    logging.disable_progress_bar()
    sensitivity, probes, looked_into = [], [], probed(runs)
    for row, (_, run) in zip(runs, best_runs(rows, values), strict=True):
        if row["variant"] not in looked_into:
            continue
        model = load_model(str(Path(run.training.output_dir) / "model"))
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        found = {key: row[key] for key in ("variant", "data", "rules_seed", "num_train", "scaled")}
        sensitivity += layer_rows(found, synonym_sensitivity(model, grammar), "sensitivity")
        probes += layer_rows(found, latent_probe(model, grammar), "accuracy")
    return {
        "runs": runs,
        "published": published(runs),
        "thresholds": thresholds(runs),
        "collapse": collapse(runs),
        "sensitivity": sensitivity,
        "probes": probes,
    }


def scaled(row: dict) -> float:
    """P / (n_c m^L)."""
    return row["num_train"] / theory.sample_complexity(parameters(row["data"]), task="classification")


def parameters(data: str) -> GrammarParameters:
    return GrammarParameters.from_name(data)


def probed(runs: list[dict]) -> list[str]:
    """The variants whose models are looked into: the CNN of the comparison, and the first of the deepest CNNs."""
    cnns = [row for row in runs if row["model"] == "hierarchical_cnn"]
    deepest = max(cnns, key=lambda row: parameters(row["data"]).depth)
    return list(dict.fromkeys([MAIN, deepest["variant"]]))


def layer_rows(run: dict, found: dict, name: str) -> list[dict]:
    """A metric's numbers, one row per layer and level, without layers that do not depend on the sentence."""
    return [
        run
        | {"layer": layer, "level": level, name: found[name][k][j], "stderr": found["stderr"][k][j]}
        | ({"chance": found["chance"][j]} if "chance" in found else {})
        for k, layer in enumerate(found["layers"])
        for j, level in enumerate(found["levels"])
        if found[name][k][j] is not None
    ]


def published(runs: list[dict]) -> list[dict]:
    """Accuracy beside that of the authors' code, with its protocol and with disjoint training and test sets."""
    rows = []
    for size, accuracy in ACCURACIES.items():
        row = {"num_train": size, "published": accuracy}
        for variant, name in ((PUBLISHED, "same_protocol"), (MAIN, "disjoint")):
            mine = [r for r in runs if (r["variant"], r["num_train"]) == (variant, size)]
            if mine:
                _, (mean,), (error,) = averages(mine, "num_train", "test_accuracy")
                row |= {name: mean, f"{name}_stderr": error, f"{name}_seconds": fmean(r["seconds"] for r in mine)}
        rows.append(row)
    return rows


def error_curves(runs: list[dict]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By variant, the sizes and the relative errors `(sizes,)`, means over grammars; of disjoint sets only."""
    found = {}
    for variant in dict.fromkeys(row["variant"] for row in runs if row["variant"] != PUBLISHED):
        sizes, errors, _ = averages([r for r in runs if r["variant"] == variant], "num_train", "relative_error")
        found[variant] = np.array(sizes), np.array(errors)
    return found


def thresholds(runs: list[dict]) -> list[dict]:
    """Where a curve comes down to half of the chance error: 0 before the smallest P, inf beyond the largest."""
    rows = []
    for variant, (sizes, errors) in error_curves(runs).items():
        first = next(row for row in runs if row["variant"] == variant)
        p = parameters(first["data"])
        half, deep = last_crossing(sizes, errors, 0.5), theory.sample_complexity(p, task="classification")
        found = {"variant": variant, "model": first["model"], "data": first["data"], "half_way": half, "theory": deep}
        found |= {"ratio": half / deep, "num_sentences": p.num_sentences}
        rows.append(found)
    return rows


def collapse(runs: list[dict]) -> list[dict]:
    """Collapse of all deep CNNs on P / (n_c m^L), and on the number of all sentences for contrast."""
    curves, scales = [], {"n_c m^L": [], "all sentences": []}
    for variant, (sizes, errors) in error_curves(runs).items():
        first = next(row for row in runs if row["variant"] == variant)
        kept = errors >= LOWEST_ERROR
        if first["model"] != "hierarchical_cnn" or kept.sum() < 2:
            continue
        p = parameters(first["data"])
        curves.append((sizes[kept], errors[kept]))
        scales["n_c m^L"].append(theory.sample_complexity(p, task="classification"))
        scales["all sentences"].append(theory.sample_complexity(p, task="classification", architecture="shallow"))
    rows = []
    for name, x_scales in scales.items():
        try:
            found = collapse_quality(curves, x_scales)
        except ValueError:  # these scales leave the curves no x in common
            continue
        row = {"scale": name, "curves": len(curves), "residual": found.residual, "unscaled": found.residual_unscaled}
        rows.append(row | {"ratio": found.ratio, "num_compared": found.num_compared})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Accuracy of all kinds of networks; the collapse; sensitivity and linear probes of the layers of a deep CNN."""
    figure, axes = new_figure(2, width=5.4, height=4.2, rows=2)
    draw_accuracies(axes[0, 0], tables)
    draw_collapse(axes[0, 1], tables)
    deepest = max(tables["sensitivity"], key=lambda row: parameters(row["data"]).depth)["variant"]
    draw_layers(axes[1, 0], tables["sensitivity"], deepest, "sensitivity", "sensitivity to synonyms $S_{k,\\ell}$")
    draw_layers(axes[1, 1], tables["probes"], deepest, "accuracy", "accuracy of linear probes")
    figure.savefig(path)


def draw_accuracies(ax, tables: Tables) -> None:
    runs = tables["runs"]
    data = next(row["data"] for row in runs if row["variant"] == MAIN)
    p = parameters(data)
    for i, variant in enumerate(name for name in NAMES if any(row["variant"] == name for row in runs)):
        mine = [row for row in runs if row["variant"] == variant]
        points = averages(mine, "num_train", "test_accuracy")
        ax.errorbar(*points, marker="o", markersize=4, capsize=2, color=f"C{i}", label=NAMES[variant])
    mine = [row for row in runs if row["variant"] == PUBLISHED]
    if mine:
        points = averages(mine, "num_train", "test_accuracy")
        style = {"color": "C0", "markerfacecolor": "none", "markersize": 6, "capsize": 2}
        ax.errorbar(*points, fmt="s", **style, label="deep CNN, as published: sets overlap")
    rows = [row for row in tables["published"] if data == "v8-m8-s2-L2"]
    ax.plot([r["num_train"] for r in rows], [r["published"] for r in rows], "kx", label="the authors' code")
    for x, name in (
        (theory.sample_complexity(p, task="classification"), "$n_c m^L$"),
        (theory.sample_complexity(p, task="classification", architecture="shallow"), "all sentences"),
    ):
        ax.axvline(x, color="black", linestyle="--", linewidth=0.8)
        ax.text(x, 0.02, f" {name}", fontsize=8, ha="left" if name != "all sentences" else "right")
    ax.axhline(1 / p.num_classes, color="0.6", linestyle=":", linewidth=0.8)
    title = f"{data}, {len({r['rules_seed'] for r in runs if r['variant'] == MAIN})} grammars; dotted: chance"
    finish(ax, title, xscale="log", xlabel="training sentences P", ylabel="test accuracy", ylim=(0, 1.12))
    powers_of_two(ax, [row["num_train"] for row in runs if row["variant"] == MAIN])


def draw_collapse(ax, tables: Tables) -> None:
    curves = [row for row in tables["runs"] if row["model"] == "hierarchical_cnn" and row["variant"] != PUBLISHED]
    variants = list(dict.fromkeys(row["variant"] for row in curves))
    for i, variant in enumerate(variants):
        mine = [row for row in curves if row["variant"] == variant]
        p = parameters(mine[0]["data"])
        label = f"v = {p.vocab_size}, $n_c$ = {p.num_classes}, m = {p.num_synonyms}, L = {p.depth}"
        points = averages(mine, "scaled", "relative_error")
        style = {"marker": "os^Dvp"[p.depth % 6], "color": colour(i, len(variants)), "markersize": 4, "capsize": 2}
        ax.errorbar(*points, **style, label=label)
    ax.axvline(1, color="black", linestyle="--", linewidth=0.8)
    found = {row["scale"]: row for row in tables["collapse"]}
    title = "Deep CNN: error against $P / (n_c m^L)$"
    if (best := found.get("n_c m^L")) and best["ratio"] not in (None, ""):
        title += f"; residual {best['ratio']:.2g} of that against P"
    finish(ax, title, xscale="log", xlabel="$P / (n_c m^L)$", ylabel="test error / chance error")
    powers_of_two(ax, [row["scaled"] for row in curves])


def draw_layers(ax, rows: list[dict], variant: str, value: str, ylabel: str) -> None:
    """A curve for every layer and every latent level: the colour says the layer, the marker the level."""
    mine = [row for row in rows if row["variant"] == variant and row["level"] >= 1]
    layers, levels = (list(dict.fromkeys(row[name] for row in mine)) for name in ("layer", "level"))
    layers = layers[1:-1]  # without the input and the logits
    for i, layer in enumerate(layers):
        for level in levels:
            points = averages([r for r in mine if (r["layer"], r["level"]) == (layer, level)], "num_train", value)
            style = {"color": colour(i, len(layers)), "marker": "os^Dvp"[level % 6], "markersize": 4, "capsize": 2}
            ax.errorbar(*points, **style, label=f"layer {i + 1}, level {level}")
    p = parameters(mine[0]["data"])
    ax.axvline(theory.sample_complexity(p, task="classification"), color="black", linestyle="--", linewidth=0.8)
    title = f"{mine[0]['data']}; dashed: $n_c m^L$"
    finish(ax, title, xscale="log", xlabel="training sentences P", ylabel=ylabel, ylim=(0, 1.3))
    ax.legend(frameon=False, fontsize=7, ncols=len(layers), loc="upper center")
    powers_of_two(ax, [row["num_train"] for row in mine])


def powers_of_two(ax, values: list[float]) -> None:
    """Ticks at the powers of two among the range of some values."""
    exponents = range(math.ceil(math.log2(min(values))), math.floor(math.log2(max(values))) + 1)
    ax.set_xticks([2.0**k for k in exponents], [f"{2.0**k:g}" for k in exponents])
    ax.set_xticks([], minor=True)


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="classification", measure=measure, draw=draw)
