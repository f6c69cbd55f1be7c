"""Classification of sparse sentences: error and sensitivities against P, with and without weight sharing.

    python recipes/sparse/sparse.py --config recipes/sparse/cpu.yaml [--figures FOLDER]
    python recipes/sparse/sparse.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `sparse.png` and its tables: `sparse_runs.csv` (the
last evaluation of every run), `sparse_thresholds.csv` (where each curve has half of the chance error, beside theory)
and `sparse_sensitivity.csv` (of every layer to synonyms and to displacements).
"""

from pathlib import Path

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, group, marked, scale, unconverged, where
from rhm_hf.grammar import displace, replace_synonyms
from rhm_hf.judging.activations import Activations
from rhm_hf.plots import INKS, curve, finish, note, place_line, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, classified, kept_runs, recipe_main
from rhm_hf.training.sweep import expand


ARCHITECTURES = {"hierarchical_cnn": "cnn", "locally_connected": "lcn"}
CHANGES = {"synonyms": replace_synonyms, "displacements": displace}
SENTENCES = 1024  # of a sensitivity


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the curves off the results and looks into the models."""
    runs = [
        row | {"variant": row.get("variant") or row["model"], "scaled": row["num_train"] / expected(row)}
        for row in classified(rows)
    ]
    found = []
    for row, run in zip(runs, kept_runs(rows, values), strict=True):
        kept = {key: row[key] for key in ("variant", "model", "data", "rules_seed", "num_train", "scaled")}
        found += [kept | line for line in sensitivities(run.model(), run.grammar())]
    return {"runs": runs, "sensitivity": found}


def conclude(tables: Tables) -> Tables:
    """Where each curve has half of the chance error."""
    return {"thresholds": thresholds(tables["runs"])}


def expected(row: dict) -> float:
    """P* of theory, its constant left at 1; of a network without weights shared over positions where it is no CNN."""
    parameters, architecture = Grammar.from_name(row["data"]).parameters, ARCHITECTURES.get(row["model"], "lcn")
    return theory.sparse_sample_complexity(parameters.base, parameters.sparsity, architecture)


def check(values: dict) -> None:
    """There is a theory of sparse sentences whose children have sub-patches of their own (placement A) only."""
    for name in {run.data.grammar for run in expand(values)}:
        if getattr(Grammar.from_name(name).parameters, "placement", None) != "A":
            raise ValueError(
                f"grammar={name!r} has no P* to be drawn: take names that end with -sparse1, -sparse2, .."
            )


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
    """Where the mean curve of a variant comes down to half of the chance error, marked where it is outside its P."""
    rows = []
    for (variant, model, data), mine in group(runs, "variant", "model", "data").items():
        sizes, errors, _ = averages(mine, "num_train", "relative_error")
        if len(sizes) > 1:
            half, theirs = marked(last_crossing(sizes, errors, 0.5), sizes), expected(mine[0])
            row = {"variant": variant, "model": model, "data": data, **half, "theory": theirs}
            rows.append(row | {"ratio": half["half_way"] / theirs})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Error against P and P / P*; sensitivities of the output, to synonyms and to displacements, against P / P*."""
    figure, axes = sheet(4, height=2.8)
    runs = tables["runs"]
    datas = distinct(runs, "data")
    for (_, model, data), mine in group(runs, "variant", "model", "data").items():
        look = style(model, datas.index(data))
        for ax, x in ((axes[0], "num_train"), (axes[1], "scaled")):
            label = name(model, data) if x == "scaled" else ""
            curve(ax, mine, x, "relative_error", label=label, hollow=unconverged, **look)
        axes[0].axvline(expected(mine[0]), color=look["color"], linestyle=look["linestyle"], linewidth=0.6)
    error = {"xscale": "log", "ylabel": "test error / chance error", "ylim": (0, 1.12)}
    finish(axes[0], "Vertical: P* of theory at C = 1", xlabel="training sentences P", **error)
    place_line(axes[1], 1)
    finish(axes[1], "", xlabel="P / P*", **error)
    for ax, change in zip(axes[2:], CHANGES, strict=True):
        shown = where(tables["sensitivity"], layer="logits", level=1, change=change)
        for (_, model, data), mine in group(shown, "variant", "model", "data").items():
            curve(ax, mine, "scaled", "sensitivity", **style(model, datas.index(data)))
        place_line(ax, 1)
        labels = {"xlabel": "P / P*", "ylabel": "S"}
        finish(ax, f"Sensitivity to {change}, level 1", xscale="log", ylim=(0, None), **labels)
    note(
        figure,
        f"{scale(runs)}; bars: standard error over grammars; hollow: not trained to the end (train loss above .1)",
    )
    figure.savefig(path)


def style(model: str, i: int) -> dict:
    """Colour says the grammar, line and marker the architecture."""
    shared = model == "hierarchical_cnn"
    return {"linestyle": "-" if shared else "--", "marker": "o" if shared else "s", "color": INKS[i % len(INKS)]}


def name(model: str, data: str) -> str:
    return f"{ARCHITECTURES.get(model, model).upper()} {data.replace('-s2', '').replace('sparse', 's0=')}"


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv, name="sparse", measure=measure, conclude=conclude, draw=draw, shows="thresholds", check=check
    )


if __name__ == "__main__":
    main()
