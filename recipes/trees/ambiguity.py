"""How ambiguous trees of varying shape are: exact, from a few hundred sentences of every grammar; nothing is trained.

    python recipes/trees/ambiguity.py [--figures FOLDER] [--vocab_sizes 20 40]
    python recipes/trees/ambiguity.py --draw docs/figures

The ensemble is that of arXiv 2602.06065: n_c = v, m2 = f v binary and m3 = f v^2 ternary rules a symbol, used equally
often. Of every sentence the chart gives how many roots and derivations it has, and the posterior of its root. Writes
`ambiguity.png` and `ambiguity_levels.csv`, a row a grammar.
"""

import math
from pathlib import Path

import numpy as np
import torch

from rhm_hf.ensembles import averages, group, scale
from rhm_hf.grammar import TreeGrammar, TreeParameters
from rhm_hf.plots import colour, finish, note, place_line, sheet
from rhm_hf.training.recipe import Tables, recipe_main


ONSET = 3 / 8  # published as the fraction of rules at which sentences become ambiguous
SHOWN = {
    "several_roots": "P(more than one root)",
    "log_derivations": "mean log number of derivations",
    "root_entropy": "H(root | sentence), nats",
}


def measure(
    vocab_sizes: list[int],
    fractions: list[float],
    depths: list[int],
    num_grammars: int,
    num_sentences: int,
) -> Tables:
    """A row a grammar; f v must be a whole number."""
    rows = []
    for v in vocab_sizes:
        for depth in depths:
            for fraction in fractions:
                if not float(fraction * v).is_integer():
                    continue
                for seed in range(num_grammars):
                    rows.append(level_row(v, depth, fraction, seed, num_sentences))
    return {"levels": rows}


def level_row(v: int, depth: int, fraction: float, seed: int, num_sentences: int) -> dict:
    """What sentences of one grammar say; errors are those of a mean over sentences."""
    grammar = TreeGrammar.drawn_from(TreeParameters.from_fraction(v, fraction, depth, seed))
    tokens = grammar.sample(num_sentences, sampling="iid")
    several = grammar.laws.num_roots(tokens).numpy() > 1
    entropies = np.zeros(num_sentences)  # of one root it is 0
    if several.any():
        law = grammar.laws.posteriors(tokens[several])[-1][:, 0]
        entropies[several] = -torch.special.xlogy(law, law).sum(-1).numpy()
    values = {"several_roots": several, "log_derivations": grammar.laws.log_num_derivations(tokens).numpy()}
    found = {"vocab_size": v, "depth": depth, "fraction": fraction, "rules_seed": seed, "sentences": num_sentences}
    for name, array in (values | {"root_entropy": entropies}).items():
        array = array.astype(float)
        found |= {name: array.mean(), f"{name}_stderr": array.std(ddof=1) / math.sqrt(num_sentences)}
    extra = np.exp(values["log_derivations"]) - 1
    # Two levels of large vocabularies: E[derivations - 1].
    limit = (13 * fraction**3 + 6 * fraction**4) / 16 if depth == 2 else ""
    return found | {"extra_derivations": float(extra.mean()), "extra_limit": limit}


def draw(tables: Tables, path: Path) -> None:
    """The three quantities against f, a colour a depth and a line style a vocabulary."""
    rows = tables["levels"]
    figure, axes = sheet(len(SHOWN), height=2.8)
    sizes, depths = (sorted({row[key] for row in rows}) for key in ("vocab_size", "depth"))
    styles = dict(zip(sizes, ["-", "--", ":", "-."], strict=False))
    for ax, (name, label) in zip(axes, SHOWN.items(), strict=True):
        for (depth, v), mine in group(rows, "depth", "vocab_size").items():
            x, mean, spread = averages(mine, "fraction", name)
            errors = [max(s, bar(mine, at, name)) for at, s in zip(x, spread, strict=True)]
            shown = {"color": colour(depths.index(depth), len(depths)), "linestyle": styles[v], "linewidth": 1}
            ax.errorbar(x, mean, errors, capsize=2, **shown, label=f"L = {depth}, v = {v}")
        place_line(ax, ONSET, "3/8")
        finish(ax, label, "lines", xlabel="f, the share of right sides in use")
    seeds = scale(rows, ("rules_seed",))
    text = (
        f"{seeds} a point, {rows[0]['sentences']} sentences each; bars: standard error over grammars or, where it is "
    )
    note(figure, text + "larger, over sentences. Exact for every sentence. Dashed: the published onset.")
    figure.savefig(path)


def bar(rows: list[dict], fraction: float, name: str) -> float:
    """The standard error over sentences of the mean over grammars."""
    errors = [row[f"{name}_stderr"] for row in rows if row["fraction"] == fraction]
    return math.sqrt(sum(error**2 for error in errors)) / len(errors)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    options = {
        "vocab_sizes": [16, 20],
        "fractions": [0.2, 0.25, 0.3, 0.35, 0.375, 0.4],
        "depths": [2, 3, 4],
        "num_grammars": 3,
        "num_sentences": 384,
    }
    tiny = {"vocab_sizes": [8, 16], "fractions": [0.25, 0.375], "depths": [2, 3], "num_sentences": 24}
    return recipe_main(
        argv, name="ambiguity", measure=measure, draw=draw, options=options, trains=False, shows="levels", tiny=tiny
    )


if __name__ == "__main__":
    main()
