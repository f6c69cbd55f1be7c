"""A control: correlations of a source without a tree beside those of a tree.

    python recipes/controls/controls.py [--tree v16-m4-s2-L5] [--chain hmm-v16-h8-m4-d32-p0.5] [--figures FOLDER]
    python recipes/controls/controls.py --draw docs/figures

Nothing is trained. Writes `controls.png` and its tables: `controls_correlations.csv` (C(t) of the tree and of a hidden
Markov source, exact and measured) and `_decays.csv` (which law fits the exact C(t)). The control without correlations
between tuples and class is in `recipes/class_information`.
"""

from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import distinct, group, where
from rhm_hf.plots import few_ticks, finish, ink, note, sheet
from rhm_hf.statistics import exact_correlation, token_correlations
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "tree": "v16-m4-s2-L5",  # of the correlations
    "chain": "hmm-v16-h8-m4-d32-p0.5",
    "correlated_grammars": 4,  # rules_seed = 0, 1, ..
    "correlated_sentences": 2**20,
}
TINY = {"tree": "v8-m2-s2-L3", "chain": "hmm-v8-h4-m2-d8-p0.5", "correlated_grammars": 2, "correlated_sentences": 4096}


def measure(tree: str, chain: str, correlated_grammars: int, correlated_sentences: int) -> Tables:
    """The correlations of both sources."""
    correlations = []
    for source, name in (("tree", tree), ("chain", chain)):
        correlations += correlation_rows(source, name, correlated_grammars, correlated_sentences)
    return {"correlations": correlations}


def conclude(tables: Tables) -> Tables:
    """Which law fits the exact C(t)."""
    return {"decays": decays(tables["correlations"])}


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
        mine = where(correlations, source=source)
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


def draw(tables: Tables, path: Path) -> None:
    """C(t) of tree and chain where powers are straight lines, and where exponentials are."""
    figure, axes = sheet(2, height=3.2)
    for ax, scale in zip(axes, ("log", "linear"), strict=True):
        draw_correlations(ax, tables["correlations"], scale)
    first = tables["correlations"][0]
    text = f"{first['grammars']} grammars of each source, root mean squares over them; {first['sentences']} sentences "
    note(figure, text + "each; dashed: exact; points: noise removed, where above it.")
    figure.savefig(path)


def draw_correlations(ax, rows: list[dict], scale: str) -> None:
    """The law of each source dashed, what sentences show as points, where it stands out from their noise."""
    for i, (source, mine) in enumerate(group(rows, "source").items()):
        ax.plot([r["distance"] for r in mine], [r["exact"] for r in mine], "k--", linewidth=0.8)
        points = [row for row in mine if row["signal"] > row["noise_floor"] ** 2]
        heights = [row["signal"] ** 0.5 for row in points]
        name = {"tree": "tree", "chain": "hidden Markov"}[source]
        at = [row["distance"] for row in points]
        ax.plot(at, heights, linestyle="none", **ink(i), markersize=3.5, label=name)
    floor = where(rows, source="tree")
    ax.plot([r["distance"] for r in floor], [r["noise_floor"] for r in floor], ":", color="0.5", label="noise floor")
    labels = {"xlabel": "distance t to the last token", "ylabel": "C(t)"}
    low = min(row["exact"] for row in floor) / 30
    title = "a power is a straight line" if scale == "log" else "an exponential is"
    finish(ax, title, "lines", xscale=scale, yscale="log", ylim=(low, None), **labels)
    if scale == "log":
        few_ticks(ax, distinct(floor, "distance"))


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="controls",
        measure=measure,
        conclude=conclude,
        draw=draw,
        trains=False,
        options=OPTIONS,
        shows="decays",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
