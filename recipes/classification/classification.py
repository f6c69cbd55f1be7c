"""Classification of the root: deep, shallow and lazy networks, and what the layers of a CNN come to represent.

    python recipes/classification/classification.py --config recipes/classification/cpu.yaml [--figures FOLDER]
    python recipes/classification/classification.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `classification.png` and its tables:
`classification_runs.csv` (the last evaluation of every run), `_published.csv` (the comparison point),
`_thresholds.csv` (where each curve has half of the chance error), `_collapse.csv` (how well curves of several m agree
after P is rescaled), `_growth.csv` (how those points grow with v), `_sensitivity.csv` (of layers to synonyms) and
`_probes.csv` (latent symbols read off linearly).

Networks are trained without early stopping, so their last evaluation counts, and their last weights are looked into;
those whose train loss is still above .1 nats are hollow in the picture.
"""

import math
from pathlib import Path
from statistics import fmean

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, group, marked, unconverged, where
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity
from rhm_hf.plots import MARKERS, curve, few_ticks, finish, note, place_line, sheet
from rhm_hf.statistics import collapse_quality, last_crossing
from rhm_hf.statistics.intervals import student
from rhm_hf.training.recipe import Tables, classified, kept_runs, recipe_main


MAIN = "cnn"  # the variant whose ensemble all kinds of networks learn
PUBLISHED = "published"  # the variant trained and tested as in the authors' code: with replacement, so with overlap
ACCURACIES = {128: 0.24, 256: 0.32, 512: 0.47, 1024: 0.84, 2048: 1.0}  # of that code, v = n_c = m = 8, s = 2, L = 2
NAMES = {"cnn": "deep CNN", "fully_connected": "fully connected", "shallow": "one hidden layer", "lazy": "lazy"}
LOWEST_ERROR = 0.01  # in a collapse of logarithms: smaller errors are a handful of test sentences


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the errors off the results and looks into the models."""
    runs = [row | {"variant": row.get("variant") or row["model"], "scaled": scaled(row)} for row in classified(rows)]
    sensitivity, probes, looked_into = [], [], probed(runs)
    for row, run in zip(runs, kept_runs(rows, values), strict=True):
        if row["variant"] not in looked_into:
            continue
        model, grammar = run.model(), run.grammar()
        found = {key: row[key] for key in ("variant", "data", "rules_seed", "num_train", "scaled")}
        sensitivity += layer_rows(found, synonym_sensitivity(model, grammar), "sensitivity")
        probes += layer_rows(found, latent_probe(model, grammar), "accuracy")
    return {"runs": runs, "sensitivity": sensitivity, "probes": probes}


def conclude(tables: Tables) -> Tables:
    """The comparison point, the half-way points and the collapse, from the errors."""
    runs = tables["runs"]
    found = {"published": published(runs), "thresholds": thresholds(runs), "collapse": collapse(runs)}
    return found | {"growth": growth(runs)}


def scaled(row: dict) -> float:
    """P / (n_c m^L)."""
    return row["num_train"] / theory.sample_complexity(parameters(row["data"]), task="classification")


def parameters(data: str):
    return Grammar.from_name(data).parameters


def probed(runs: list[dict]) -> list[str]:
    """The variants whose models are looked into: that of the comparison, and the first of the deepest CNNs."""
    cnns = where(runs, model="hierarchical_cnn") or runs
    deepest = max(cnns, key=lambda row: parameters(row["data"]).depth)
    return list(dict.fromkeys([main_variant(runs), deepest["variant"]]))


def main_variant(runs: list[dict]) -> str:
    """The variant that the others are compared with: that of the comparison point, or the one with the most runs."""
    sizes = {variant: len(mine) for variant, mine in group(runs, "variant").items()}
    return MAIN if MAIN in sizes else max(sizes, key=sizes.get)


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
    for variant in (name for name in distinct(runs, "variant") if name != PUBLISHED):
        sizes, errors, _ = averages(where(runs, variant=variant), "num_train", "relative_error")
        if len(sizes) > 1:
            found[variant] = np.array(sizes), np.array(errors)
    return found


def thresholds(runs: list[dict]) -> list[dict]:
    """Where a mean curve comes down to half of the chance error, marked where that lies outside its P."""
    rows = []
    for variant, (sizes, errors) in error_curves(runs).items():
        first = where(runs, variant=variant)[0]
        p = parameters(first["data"])
        half = marked(last_crossing(sizes, errors, 0.5), sizes)
        deep = theory.sample_complexity(p, task="classification")
        found = {"variant": variant, "model": first["model"], "data": first["data"], **half, "theory": deep}
        rows.append(found | {"ratio": half["half_way"] / deep, "num_sentences": p.num_sentences})
    return rows


def collapsing(runs: list[dict]) -> list[dict]:
    """The runs whose curves should be one: those of deep CNNs, or of what else there is."""
    runs = [row for row in runs if row["variant"] != PUBLISHED]
    return where(runs, model="hierarchical_cnn") or runs


def growth(runs: list[dict]) -> list[dict]:
    """How half-way points grow with v where v = n_c = m: P ~ v^exponent, over grammars of three sizes or more.

    n_c m^L is v^(L+1), the number of all sentences v^(2^L) for s = 2. Grammars whose curve does not come down to half
    of the chance error count with their largest P, as lower bounds (`num_beyond`); those whose curve begins below it
    with their smallest (`num_before`).
    """
    points: dict[tuple, list] = {}
    for (_, data, _), mine in group(collapsing(runs), "variant", "data", "rules_seed").items():
        sizes, errors, _ = averages(mine, "num_train", "relative_error")
        p = parameters(data)
        if p.vocab_size == p.num_classes == p.num_synonyms and len(sizes) > 1:
            half = last_crossing(sizes, errors, 0.5)
            place = min(max(half, sizes[0]), sizes[-1])
            point = math.log(p.vocab_size), math.log(place), half == 0, half == math.inf
            points.setdefault((mine[0]["model"], p.depth, p.tuple_size), []).append(point)
    rows = []
    for (model, depth, s), found in points.items():
        x, y, before, beyond = (np.array(column) for column in zip(*found, strict=True))
        if len(set(x)) < 3 or len(x) < 4:
            continue
        (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
        margin = math.sqrt(covariance[0, 0]) * student(0.95, len(x) - 2)
        row = {
            "model": model,
            "depth": depth,
            "sizes": len(set(x)),
            "grammars": len(x),
            "num_before": int(before.sum()),
            "num_beyond": int(beyond.sum()),
        }
        row |= {"exponent": slope, "low": slope - margin, "high": slope + margin}
        rows.append(row | {"n_c m^L": depth + 1, "all sentences": 1 + (s**depth - 1) // (s - 1)})
    return rows


def collapse(runs: list[dict]) -> list[dict]:
    """Collapse of all deep CNNs on P / (n_c m^L); for contrast on P / (v m^L) and on the number of all sentences."""
    curves, scales = [], {"n_c m^L": [], "v m^L": [], "all sentences": []}
    for variant, (sizes, errors) in error_curves(collapsing(runs)).items():
        first = next(row for row in runs if row["variant"] == variant)
        kept = errors >= LOWEST_ERROR
        if kept.sum() < 2:
            continue
        p = parameters(first["data"])
        curves.append((sizes[kept], errors[kept]))
        scales["n_c m^L"].append(theory.sample_complexity(p, task="classification"))
        scales["v m^L"].append(scales["n_c m^L"][-1] * p.vocab_size / p.num_classes)
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
    figure, axes = sheet(4, height=2.9)
    draw_accuracies(axes[0], tables)
    draw_collapse(axes[1], tables)
    for ax, name, value, label in (
        (axes[2], "sensitivity", "sensitivity", "sensitivity to synonyms $S_{k,\\ell}$"),
        (axes[3], "probes", "accuracy", "accuracy of linear probes"),
    ):
        draw_layers(ax, tables[name], value, label)
    runs = tables["runs"]
    counts = sorted({len(distinct(mine, "rules_seed")) for mine in group(runs, "variant").values()})
    text = f"{' or '.join(map(str, counts))} grammars a curve, 1 model seed; bars: standard error over grammars. "
    text += "Hollow: not trained to the end (train loss above .1). Bottom, the deepest network: colour and first "
    text += "number are the layer, marker and second the level."
    note(figure, text)
    figure.savefig(path)


def draw_accuracies(ax, tables: Tables) -> None:
    runs = tables["runs"]
    data = where(runs, variant=main_variant(runs))[0]["data"]
    p, shown = parameters(data), group(where(runs, data=data), "variant")
    for i, (variant, mine) in enumerate((v, m) for v, m in shown.items() if v != PUBLISHED):
        curve(ax, mine, "num_train", "test_accuracy", i, NAMES.get(variant, variant), hollow=unconverged)
    style = {"color": "0.35", "marker": "s", "markerfacecolor": "none", "linestyle": "none"}
    curve(ax, shown.get(PUBLISHED, []), "num_train", "test_accuracy", label="CNN, sets overlap", **style)
    if data == "v8-m8-s2-L2":
        rows = tables["published"]
        ax.plot(
            [r["num_train"] for r in rows], [r["published"] for r in rows], "kx", markersize=4, label="authors' code"
        )
    place_line(ax, theory.sample_complexity(p, task="classification"), "$n_c m^L$")
    ax.axhline(1 / p.num_classes, color="0.6", linestyle=":", linewidth=0.8)
    title = f"{data} ({p.num_sentences} sentences); dotted: chance"
    finish(ax, title, "lines", xscale="log", xlabel="training sentences P", ylabel="test accuracy", ylim=(0, 1.08))
    few_ticks(ax, distinct(where(runs, data=data), "num_train"))


def draw_collapse(ax, tables: Tables) -> None:
    """Relative errors on the scale of theory: n_c m^L for a deep CNN, all sentences for one hidden layer."""
    runs = collapsing(tables["runs"])
    deep = runs[0]["model"] == "hierarchical_cnn"
    scale, label = ("n_c m^L", "$P / (n_c m^L)$") if deep else ("all sentences", "P / all sentences")
    ensembles = group(runs, "variant", "data")
    several = any(parameters(data).num_classes != parameters(data).vocab_size for _, data in ensembles)
    for i, ((_, data), mine) in enumerate(ensembles.items()):
        p = parameters(data)
        name = f"m = {p.num_synonyms}, L = {p.depth}" + (f", $n_c$ = {p.num_classes}" if several else "")
        rows = [row | {"x": row["scaled"] if deep else row["num_train"] / p.num_sentences} for row in mine]
        curve(ax, rows, "x", "relative_error", i, name, of=len(ensembles), hollow=unconverged)
    if deep:
        place_line(ax, 1)
    title = "Deep CNN" if deep else NAMES["shallow"]
    title += "" if several else ", $v = n_c = m$"
    found = {row["scale"]: row for row in tables["collapse"]}
    if (best := found.get(scale)) and best["ratio"] not in (None, ""):
        title += f": residual {best['ratio']:.2g} of that against P"
    finish(ax, title, "lines", xscale="log", xlabel=label, ylabel="test error / chance error")
    few_ticks(ax, sorted({row["scaled"] for row in runs}) if deep else [1 / 4, 1 / 2, 3 / 4])


def draw_layers(ax, rows: list[dict], value: str, ylabel: str) -> None:
    """A curve for every layer and every latent level: the colour says the layer, the marker the level."""
    variant = max(rows, key=lambda row: parameters(row["data"]).depth)["variant"]
    mine = [row for row in where(rows, variant=variant) if row["level"] >= 1]
    layers, levels = distinct(mine, "layer")[1:-1], distinct(mine, "level")  # without the input and the logits
    for i, layer in enumerate(layers):
        for level in levels:
            style = {"marker": MARKERS[level]}
            curve(
                ax,
                where(mine, layer=layer, level=level),
                "num_train",
                value,
                i,
                f"{i + 1}, {level}",
                len(layers),
                **style,
            )
    p = parameters(mine[0]["data"])
    place_line(ax, theory.sample_complexity(p, task="classification"), "$n_c m^L$")
    finish(ax, mine[0]["data"], "lines", xscale="log", xlabel="training sentences P", ylabel=ylabel, ylim=(0, 1.06))
    few_ticks(ax, distinct(mine, "num_train"))


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="classification", measure=measure, conclude=conclude, draw=draw, shows="thresholds")


if __name__ == "__main__":
    main()
