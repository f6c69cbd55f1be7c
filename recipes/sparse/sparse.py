"""Classification of sparse sentences: error and sensitivities against P, with and without weight sharing.

    python recipes/sparse/sparse.py --config recipes/sparse/cpu.yaml [--figures FOLDER]
    python recipes/sparse/sparse.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `sparse.png` and its tables: `sparse_runs.csv` (the
last evaluation of every run), `sparse_thresholds.csv` (where each curve has half of the chance error, beside theory)
and `sparse_sensitivity.csv` (of every layer to synonyms and to displacements).
"""

import sys
from pathlib import Path

from rhm_hf.metrics.activations import Activations
from transformers import logging

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.grammar import displace, replace_synonyms
from rhm_hf.judging.loading import load_model
from rhm_hf.plots import averages, finish, new_figure
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, best_runs, classified, recipe_main


ARCHITECTURES = {"hierarchical_cnn": "cnn", "locally_connected": "lcn"}
CHANGES = {"synonyms": replace_synonyms, "displacements": displace}
SENTENCES = 1024  # of a sensitivity


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the curves off the results and looks into the models."""
    runs = [row | {"scaled": row["num_train"] / expected(row)} for row in classified(rows)]
    logging.disable_progress_bar()
    found = []
    for row, (_, run) in zip(runs, best_runs(rows, values), strict=True):
        model = load_model(str(Path(run.training.output_dir) / "model"))
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        kept = {key: row[key] for key in ("variant", "model", "data", "rules_seed", "num_train", "scaled")}
        found += [kept | line for line in sensitivities(model, grammar)]
    return {"runs": runs, "thresholds": thresholds(runs), "sensitivity": found}


def expected(row: dict) -> float:
    """P* of theory, its constant left at 1."""
    parameters = GrammarParameters.from_name(row["data"])
    return theory.sparse_sample_complexity(parameters, architecture=ARCHITECTURES[row["model"]])


def sensitivities(model, grammar) -> list[dict]:
    """S = <|f(x) - f(x')|^2> / <|f(x) - f(y)|^2> by layer; x' is x after a change of one level, y another sentence.

    1 for a layer that a change confuses as much as another sentence does, 0 for one that is blind to it.
    """
    tokens = grammar.sample(SENTENCES, split="evaluation", sampling="iid")
    read = Activations.of(model, grammar)
    own = read.collect(tokens, 256)
    rows = []
    for change, altered in CHANGES.items():
        for level in range(1, grammar.depth + 1):
            changed = read.collect(altered(grammar, tokens, level), 256)
            for layer, features in own.items():
                apart = (features - features.roll(1, 0)).double().square().sum(1).mean()
                moved = (features - changed[layer]).double().square().sum(1).mean()
                if apart > 0:  # the layer depends on the sentence
                    rows.append(
                        {"change": change, "level": level, "layer": layer, "sensitivity": float(moved / apart)}
                    )
    return rows


def thresholds(runs: list[dict]) -> list[dict]:
    """Where the mean curve of a variant comes down to half of the chance error: inf beyond the largest P."""
    rows = []
    for variant in dict.fromkeys(row["variant"] for row in runs):
        mine = [row for row in runs if row["variant"] == variant]
        sizes, errors, _ = averages(mine, "num_train", "relative_error")
        half, theirs = last_crossing(sizes, errors, 0.5), expected(mine[0])
        row = {"variant": variant, "model": mine[0]["model"], "data": mine[0]["data"], "half_way": half}
        rows.append(row | {"theory": theirs, "ratio": half / theirs})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Error against P; error against P / P*; sensitivities of the output against P / P*."""
    figure, (left, middle, right) = new_figure(3, width=4.6)
    runs = tables["runs"]
    variants = list(dict.fromkeys(row["variant"] for row in runs))
    datas = list(dict.fromkeys(row["data"] for row in runs))
    for variant in variants:
        mine = [row for row in runs if row["variant"] == variant]
        for ax, x in ((left, "num_train"), (middle, "scaled")):
            ax.errorbar(*averages(mine, x, "relative_error"), **style(mine[0], datas), label=label(mine[0]))
        color = style(mine[0], datas)["color"]
        left.axvline(expected(mine[0]), color=color, linestyle=style(mine[0], datas)["linestyle"], linewidth=0.7)
    middle.axvline(1, color="black", linestyle="--", linewidth=0.8)
    title = f"{len({row['rules_seed'] for row in runs})} grammars; vertical: P* of theory"
    finish(
        left, title, xscale="log", xlabel="training sentences P", ylabel="test error / chance error", ylim=(0, 1.15)
    )
    finish(middle, "Constant of P* left at 1", xscale="log", xlabel="P / P*", ylabel="test error / chance error")
    draw_sensitivities(right, tables["sensitivity"])
    figure.savefig(path)


def style(row: dict, datas: list[str]) -> dict:
    """Colour says the grammar, line and marker the architecture."""
    shared = row["model"] == "hierarchical_cnn"
    look = {"linestyle": "-" if shared else "--", "marker": "o" if shared else "s", "markersize": 4, "capsize": 2}
    return look | {"color": f"C{datas.index(row['data'])}"}


def label(row: dict) -> str:
    return f"{ARCHITECTURES[row['model']].upper()}, {row['data']}"


def draw_sensitivities(ax, rows: list[dict]) -> None:
    """Of the logits, to changes at level 1: means over grammars, synonyms filled, displacements hollow."""
    rows = [row for row in rows if (row["layer"], row["level"]) == ("logits", 1)]
    datas = list(dict.fromkeys(row["data"] for row in rows))
    for variant in dict.fromkeys(row["variant"] for row in rows):
        for change, fill in (("synonyms", "full"), ("displacements", "none")):
            mine = [row for row in rows if (row["variant"], row["change"]) == (variant, change)]
            ax.errorbar(
                *averages(mine, "scaled", "sensitivity"), **style(mine[0], datas), fillstyle=fill, linewidth=0.9
            )
    ax.plot([], [], "ko", label="synonyms")
    ax.plot([], [], "ko", fillstyle="none", label="displacements")
    ax.axvline(1, color="black", linestyle="--", linewidth=0.8)
    finish(ax, "Sensitivity of the output, level 1", xscale="log", xlabel="P / P*", ylabel="S", ylim=(0, None))


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="sparse", measure=measure, draw=draw)
