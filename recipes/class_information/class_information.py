"""How many tuples tell the class, and when does a network find out? Ordinary, cut and uncorrelated grammars.

    python recipes/class_information/class_information.py --config recipes/class_information/cpu.yaml
    python recipes/class_information/class_information.py --draw docs/figures

The mutual information of the class and k tuples is exact: all sentences are listed with their probabilities. Beside it
CNNs on uncorrelated grammars, trained until they have the training set by heart, against P / (v sqrt(P_max)). Writes
`class_information.png` and its tables `class_information_information.csv` (a row per grammar and number k of tuples),
`_accuracy.csv` (the last evaluation of every run) and `_thresholds.csv` (the P of half of the chance error).
"""

from itertools import combinations
from pathlib import Path

import numpy as np

from rhm_hf import Grammar
from rhm_hf.ensembles import averages, distinct, group, marked, scale, unconverged
from rhm_hf.grammar import NotSupported, Source, enumerate_sentences
from rhm_hf.inference import posteriors
from rhm_hf.plots import curve, few_ticks, finish, note, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import Tables, classified, recipe_main


OPTIONS = {
    "grammars": [
        "v4-m4-s2-L3", "v4-m4-s2-L3-cut2", "v4-m4-s2-L3-cut1", "v4-m4-s2-L3-uncorrelated", "v8-m4-s2-L2",
        "v8-m4-s2-L2-cut1", "v8-m8-s2-L2-uncorrelated", "v8-m8-s2-L2",
    ],
    "num_grammars": 4,  # rules_seed = 0, 1, ..
}  # fmt: skip
TINY = {"grammars": ["v3-m2-s2-L2", "v2-m2-s2-L2-uncorrelated"], "num_grammars": 2}


def measure(runs: list[dict], values: dict, grammars: list[str], num_grammars: int) -> Tables:
    """The information of all grammars, and what every classifier came to."""
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
    return {"information": rows, "accuracy": [row | birthday(row) for row in classified(runs)]}


def birthday(row: dict) -> dict:
    """The P of a run in units of sqrt(v m P_max), which is v sqrt(P_max) where m = v: a birthday argument.

    Two sentences share the class and all tuples but a given one with probability m / P_max; their two tuples there
    then show themselves synonyms. Of v m^2 / 2 pairs of synonyms each has done so once where P^2 m / P_max = v m^2.
    """
    source = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
    unit = (source.rule_probs_at(1).size * float(source.num_sentences)) ** 0.5
    return {"unit": unit, "scaled": row["num_train"] / unit, "score": 1 - row["relative_error"]}


def conclude(tables: Tables) -> Tables:
    """Where the mean error over grammars is half of that of a blind guess; runs that had not trained are left out."""
    rows = []
    for data, mine in group(tables["accuracy"], "data").items():
        trained = [row for row in mine if not unconverged(row)]
        sizes, errors, _ = averages(trained, "num_train", "relative_error") if trained else ([], [], [])
        if len(sizes) < 2:
            continue
        row = {"data": data, "grammars": len(distinct(trained, "rules_seed")), "left_out": len(mine) - len(trained)}
        row |= marked(last_crossing(sizes, errors, 0.5), sizes) | {"unit": mine[0]["unit"]}
        rows.append(row | {"ratio": row["half_way"] / row["unit"]})
    return {"thresholds": rows}


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
    """A panel for every number of tuples in a sentence, then the accuracy of networks without correlations."""
    rows, runs = tables["information"], tables["accuracy"]
    panels = group(rows, "of")
    figure, axes = sheet(max(2, len(panels)) + 1, height=2.8)
    for ax in axes[len(panels) : -1]:
        ax.set_axis_off()
    for ax, (num, mine) in zip(axes, panels.items(), strict=False):
        for i, (data, own) in enumerate(group(mine, "data").items()):
            curve(ax, own, "tuples", "information", i, data)
        labels = {"xlabel": f"tuples seen, of {num}", "ylabel": "I(class; tuples) (nats)"}
        finish(ax, "", "lines", ylim=(-0.05, None), xticks=range(num + 1), **labels)
    for i, (data, mine) in enumerate(group(runs, "data").items()):
        curve(axes[-1], mine, "scaled", "score", i, data.removesuffix("-uncorrelated"), hollow=unconverged)
    labels = {"xlabel": r"$P / (v \sqrt{P_{max}})$", "ylabel": "accuracy: 0 = chance, 1 = no errors"}
    finish(axes[-1], "CNNs, uncorrelated", "lines", xscale="log", ylim=(-0.08, 1.05), **labels)
    few_ticks(axes[-1], distinct(runs, "scaled"))
    hollow = [row for row in runs if unconverged(row)]
    text = f"Information: exact, {scale(rows)}, mean over which tuples are seen; bars: standard error over grammars. "
    counts = [str(len(distinct(mine, "rules_seed"))) for mine in group(runs, "data").values()]
    text += f"Accuracy: {', '.join(counts)} grammars from the first curve on, {scale(runs, ['model_seed'])}; of "
    text += f"{len(runs)} runs {len(hollow)} had not trained (train loss above .1): hollow."
    note(figure, text)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    parts = {"measure": measure, "conclude": conclude, "draw": draw, "options": OPTIONS, "tiny": TINY}
    return recipe_main(argv, name="class_information", shows="thresholds", **parts)


if __name__ == "__main__":
    main()
