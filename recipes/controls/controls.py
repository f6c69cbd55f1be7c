"""Controls: a grammar whose tuples hide the class, a source without a tree, and grammars whose hierarchy is cut.

    python recipes/controls/controls.py --config recipes/controls/cpu.yaml [--figures FOLDER]
    python recipes/controls/controls.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `controls.png` and its tables:
`controls_classifiers.csv` (the last evaluation of every classifier), `_correlations.csv` (C(t) of the tree and of a
hidden Markov source, exact and measured), `_decays.csv` (which law fits the exact C(t)), `_models.csv` (exact KL of
every next-token model) and `_training.csv` (the same at every evaluation).
"""

import sys
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.inference import plateau
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import exact_correlation, token_correlations
from rhm_hf.training.recipe import Tables, recipe_main
from rhm_hf.training.results import best_rows


OPTIONS = {
    "tree": "v16-m4-s2-L5",  # of the correlations
    "chain": "hmm-v16-h8-m4-d32-p0.5",
    "correlated_grammars": 4,  # rules_seed = 0, 1, ..
    "correlated_sentences": 2**20,
}


def measure(
    rows: list[dict],
    values: dict,
    *,
    tree: str,
    chain: str,
    correlated_grammars: int,
    correlated_sentences: int,
) -> Tables:
    """Reads errors and KL off the results and measures the correlations."""
    models = [row for row in rows if row["task"] == "next_token"]
    correlations = []
    for source, name in (("tree", tree), ("chain", chain)):
        correlations += correlation_rows(source, name, correlated_grammars, correlated_sentences)
    return {
        "classifiers": classifiers(rows),
        "correlations": correlations,
        "decays": decays(correlations),
        "models": [model_row(row) for row in best_rows(models)],
        "training": [{key: row[key] for key in ("variant", "data", "step", "kl")} for row in models],
    }


def classifiers(rows: list[dict]) -> list[dict]:
    """The last evaluation of every classifier, its score (0 for a blind guess, 1 without errors) and P / (n_c m^L)."""
    last = {row["run"]: row for row in rows if row["task"] == "classification"}
    found = []
    for row in last.values():
        p = GrammarParameters.from_name(row["data"])
        chance = 1 / p.num_classes
        scaled = row["num_train"] / theory.sample_complexity(p, task="classification")
        kind = "uncorrelated" if p.uncorrelated else "ordinary"
        score = (row["test_accuracy"] - chance) / (1 - chance)
        found.append(row | {"kind": kind, "chance": chance, "score": score, "scaled": scaled})
    return found


def correlation_rows(source: str, name: str, num_grammars: int, num_sentences: int) -> list[dict]:
    """Root mean squares over grammars of C~(t) to the last token: of the law, and of sentences with and without noise.

    `signal` is the mean of U, an unbiased estimate of C~^2, so it may be negative.
    """
    exact, squares = [], []
    for seed in range(num_grammars):
        grammar = Grammar.from_name(name, rules_seed=seed)
        distances = range(1, grammar.sentence_length)
        sentences = grammar.sample(num_sentences, sampling="iid")
        found = token_correlations(sentences, distances, grammar.vocab_size, anchor="last")
        exact.append(exact_correlation(grammar, distances) ** 2)
        squares.append((found.correlation**2, found.noise_floor**2, found.signal))
    exact, (correlation, noise, signal) = np.mean(exact, 0), np.mean(squares, 0)
    columns = zip(distances, np.sqrt(exact), np.sqrt(correlation), np.sqrt(noise), signal, strict=True)
    found = {"source": source, "data": name, "grammars": num_grammars, "sentences": num_sentences}
    names = ("distance", "exact", "correlation", "noise_floor", "signal")
    return [found | dict(zip(names, values, strict=True)) for values in columns]


def decays(correlations: list[dict]) -> list[dict]:
    """Straight lines through the exact log C(t), against t and against log t: the better one has the smaller residual.

    `theory` is the exponent of the tree, beta, or of the chain, -ln(persistence) a token.
    """
    rows = []
    for source in ("tree", "chain"):
        mine = [row for row in correlations if row["source"] == source]
        parameters = Grammar.from_name(mine[0]["data"]).parameters
        x = np.array([row["distance"] for row in mine], dtype=float)
        y = np.log([row["exact"] for row in mine])
        expected = {
            ("tree", "power law"): lambda p: theory.correlation_exponent(p),
            ("chain", "exponential"): lambda p: -np.log(p.persistence),
        }
        for law, at in (("power law", np.log(x)), ("exponential", x)):
            slope, intercept = np.polyfit(at, y, 1)
            residual = float(np.sqrt(np.mean((y - slope * at - intercept) ** 2)))
            row = {"source": source, "data": mine[0]["data"], "law": law, "exponent": -float(slope)}
            wanted = expected.get((source, law))
            rows.append(row | {"residual": residual, "theory": float(wanted(parameters)) if wanted else ""})
    return rows


def model_row(row: dict) -> dict:
    """The exact KL of a next-token model beside that of a model that ignores its context; nats per token."""
    grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
    blind = plateau(grammar, 0) - plateau(grammar, grammar.depth)
    kept = ("variant", "data", "rules_seed", "num_train", "step", "kl", "kl_stderr", "entropy", "seconds")
    return {key: row[key] for key in kept} | {"blind_kl": blind, "share": row["kl"] / blind}


def draw(tables: Tables, path: Path) -> None:
    """Accuracy against P; C(t) of tree and chain; KL of the next-token models while they are trained."""
    figure, (left, middle, right) = new_figure(3, width=4.6)
    draw_accuracy(left, tables["classifiers"])
    draw_correlations(middle, tables["correlations"])
    draw_training(right, tables["training"])
    figure.savefig(path)


def draw_accuracy(ax, runs: list[dict]) -> None:
    """A colour for each size of grammar; uncorrelated ones are dashed."""
    ensembles = list(dict.fromkeys((row["kind"], row["data"]) for row in runs))
    sizes = list(dict.fromkeys(data.removesuffix("-uncorrelated") for _, data in ensembles))
    for kind, data in ensembles:
        mine = [row for row in runs if row["data"] == data]
        p, i = GrammarParameters.from_name(data), sizes.index(data.removesuffix("-uncorrelated"))
        style = {"linestyle": "-", "marker": "o"} if kind == "ordinary" else {"linestyle": "--", "marker": "s"}
        label = f"{kind}, L = {p.depth}, v = {p.vocab_size}"
        ax.errorbar(*averages(mine, "scaled", "score"), **style, color=f"C{i}", markersize=4, capsize=2, label=label)
    title = f"Deep CNN, {len({row['rules_seed'] for row in runs})} grammars of each kind"
    labels = {"xlabel": "P / ($n_c m^L$)", "ylabel": "accuracy: 0 = chance, 1 = no errors"}
    finish(ax, title, xscale="log", ylim=(-0.08, 1.05), **labels)
    ticks = sorted({row["scaled"] for row in runs})
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xticks([], minor=True)


def draw_correlations(ax, rows: list[dict]) -> None:
    """The law of each source dashed, what sentences show as points, where it stands out from their noise."""
    labels = {"tree": "tree", "chain": "hidden Markov source"}
    for i, (source, name) in enumerate(labels.items()):
        mine = [row for row in rows if row["source"] == source]
        distances = [row["distance"] for row in mine]
        ax.plot(distances, [row["exact"] for row in mine], "k--", linewidth=0.8, label="exact" if i == 0 else None)
        points = [row for row in mine if row["signal"] > (row["noise_floor"] / 2) ** 2]
        heights = [row["signal"] ** 0.5 for row in points]
        ax.plot([row["distance"] for row in points], heights, "os"[i], color=f"C{i}", markersize=4, label=name)
    floor = [row for row in rows if row["source"] == "tree"]
    levels = [row["noise_floor"] for row in floor]
    ax.plot([row["distance"] for row in floor], levels, ":", color="0.5", label="noise floor, removed from the points")
    title = f"Correlations, {floor[0]['sentences']:,} sentences of {floor[0]['grammars']} grammars each"
    low = min(row["exact"] for row in floor) / 30
    finish(
        ax, title, xscale="log", yscale="log", xlabel="distance t to the last token", ylabel="C(t)", ylim=(low, None)
    )
    ticks = [2**k for k in range(10) if 2**k <= max(row["distance"] for row in floor)]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.set_xticks([], minor=True)


def draw_training(ax, rows: list[dict]) -> None:
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for i, variant in enumerate(variants):
        mine = [row for row in rows if row["variant"] == variant]
        label = mine[0]["data"]
        steps, kl = [row["step"] for row in mine], [row["kl"] for row in mine]
        ax.plot(steps, kl, marker="os^Dv"[i % 5], markersize=3, color=colour(i, len(variants)), label=label)
    finish(ax, "GPT-2, next token: exact KL", yscale="log", xlabel="training step", ylabel="KL (nats per token)")


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="controls", measure=measure, draw=draw, options=OPTIONS)
