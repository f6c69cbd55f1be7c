"""How many tuples tell the class? Exact mutual information for ordinary, cut and uncorrelated grammars.

    python recipes/class_information/class_information.py [--grammars NAME ..] [--num_grammars 4]
    python recipes/class_information/class_information.py --draw docs/figures

Nothing is trained: all sentences are listed with their probabilities. Writes `class_information.png` and its table
`class_information_information.csv` (a row per grammar and number k of tuples).
"""

from itertools import combinations
from pathlib import Path

import numpy as np

from rhm_hf import Grammar
from rhm_hf.ensembles import group, scale
from rhm_hf.grammar import NotSupported, Source, enumerate_sentences
from rhm_hf.inference import posteriors
from rhm_hf.plots import curve, finish, note, sheet
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "grammars": [
        "v4-m4-s2-L3", "v4-m4-s2-L3-cut2", "v4-m4-s2-L3-cut1", "v4-m4-s2-L3-uncorrelated", "v8-m4-s2-L2",
        "v8-m4-s2-L2-cut1", "v8-m8-s2-L2-uncorrelated", "v8-m8-s2-L2",
    ],
    "num_grammars": 4,  # rules_seed = 0, 1, ..
}  # fmt: skip
TINY = {"grammars": ["v3-m2-s2-L2", "v2-m2-s2-L2-uncorrelated"], "num_grammars": 2}


def measure(grammars: list[str], num_grammars: int) -> Tables:
    """The curves of all grammars."""
    rows = []
    for name in grammars:
        for seed in range(num_grammars):
            source = Grammar.from_name(name, rules_seed=seed)
            for k, (mean, lowest, highest) in enumerate(information(source)):
                keys = {"data": name, "rules_seed": seed, "tuples": k, "of": source.num_nodes_at(1)}
                rows.append(keys | {"information": mean, "lowest": lowest, "highest": highest})
            whole = rows[-1]["information"]  # of the whole sentence
            for row in rows[-source.num_nodes_at(1) - 1 :]:
                row["share"] = row["information"] / whole if whole > 0 else 0.0
    return {"information": rows}


def information(source: Source) -> list[tuple[float, float, float]]:
    """I(class; k of the level-1 tuples), k = 0 .. all, in nats: mean, lowest and highest over which ones.

    The joint law of class and tuples is a sum over all sentences, with the posterior of the class where a sentence
    does not determine it.

    Raises:
        [`~rhm_hf.grammar.NotSupported`]: without blocks, or where sentences cannot be listed.
    """
    if not source.has_blocks:
        raise NotSupported(
            "class_information", source, "its sentences have no tuples", "take a source with has_blocks"
        )
    tokens, probs = enumerate_sentences(source)
    joint = probs[:, None] * posteriors(source, tokens=tokens)[-1][:, 0].numpy()
    tuples = tokens.reshape(len(tokens), source.num_nodes_at(1), -1)
    found = []
    for k in range(tuples.shape[1] + 1):
        values = []
        for chosen in combinations(range(tuples.shape[1]), k):
            seen = tuples[:, list(chosen)].reshape(len(tokens), -1)
            _, where = np.unique(seen, axis=0, return_inverse=True) if k else (None, np.zeros(len(tokens), dtype=int))
            law = np.zeros((where.max() + 1, joint.shape[1]))
            np.add.at(law, where.ravel(), joint)
            values.append(max(0.0, entropy(law.sum(0)) + entropy(law.sum(1)) - entropy(law)))
        found.append((float(np.mean(values)), float(np.min(values)), float(np.max(values))))
    return found


def entropy(law: np.ndarray) -> float:
    """In nats."""
    positive = law[law > 0]
    return float(-(positive * np.log(positive)).sum())


def draw(tables: Tables, path: Path) -> None:
    """A panel for every number of tuples in a sentence."""
    rows = tables["information"]
    panels = group(rows, "of")
    figure, axes = sheet(max(2, len(panels)), height=2.8)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, (num, mine) in zip(axes, panels.items(), strict=False):
        for i, (data, own) in enumerate(group(mine, "data").items()):
            curve(ax, own, "tuples", "information", i, data)
        labels = {"xlabel": f"tuples seen, of {num}", "ylabel": "I(class; tuples) (nats)"}
        finish(ax, "", "lines", ylim=(-0.05, None), xticks=range(num + 1), **labels)
    note(figure, f"Exact, {scale(rows)}; mean over which tuples are seen; bars: standard error over grammars.")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    options = {"options": OPTIONS, "trains": False, "tiny": TINY}
    return recipe_main(argv, name="class_information", measure=measure, draw=draw, shows="information", **options)


if __name__ == "__main__":
    main()
