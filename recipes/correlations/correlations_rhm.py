"""Correlations of tokens against their distance, and the effective context t*(P), of sentences of grammars.

    python recipes/correlations/correlations_rhm.py [--grammar v16-m4-s2-L4] [--num_grammars 8] [--max_log2 20]
    python recipes/correlations/correlations_rhm.py --draw docs/figures

Nothing is trained. Writes `correlations_rhm.png` and its tables: `correlations_rhm_pairs.csv` (a row per P and
distance, root mean squares over grammars), `_tuples.csv` (of tuples with the last token, a row per distance and
grammar) and `_contexts.csv` (a row per P, definition of t* and grammar).
"""

import math
from operator import itemgetter
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, scale, where
from rhm_hf.plots import curve, few_ticks, finish, ink, note, sheet
from rhm_hf.statistics import exact_correlation, prefix_contexts, token_correlations, tuple_ids, tuple_joint_law
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "grammar": "v16-m4-s2-L4",  # the ensemble
    "num_grammars": 8,  # rules_seed = 0, 1, ..
    "max_log2": 20,  # log2 of the largest P, sentences
}
TINY = {"grammar": "v8-m2-s2-L3", "num_grammars": 2, "max_log2": 10}
TUPLES = {  # column: its name
    "exact": "law",
    "signal": "measured",
    "synonyms": "within synonyms",
}
DEFINITIONS = {"whole": "noise of P, signal of all", "prefix": "noise and signal of P"}


def measure(grammar: str, num_grammars: int, max_log2: int) -> Tables:
    """Root mean squares over grammars of C~ of P sentences, beside the law's; and t* of every grammar."""
    sizes = [2**k for k in range(max_log2 % 2 + 6, max_log2 + 1, 2)]
    squares, exact, contexts, tuples = [], [], [], []
    for seed in range(num_grammars):
        source = Grammar.from_name(grammar, rules_seed=seed)
        distances, v = range(1, source.sentence_length), source.vocab_size
        sentences = source.sample(sizes[-1], sampling="iid")
        parts = [token_correlations(sentences[:size], distances, v, anchor="last") for size in sizes]
        squares.append([(part.correlation**2, part.noise_floor**2, part.signal) for part in parts])
        exact.append(exact_correlation(source, distances) ** 2)
        tuples += [
            {"data": grammar, "rules_seed": seed, "size": sizes[-1]} | row for row in tuple_rows(source, sentences)
        ]
        curves = [parts[-1].effective_context_curve(sizes), prefix_contexts(sentences, sizes, distances, v)]
        names = {"data": grammar, "rules_seed": seed}
        contexts += [
            names | row for d, c in zip(DEFINITIONS, curves, strict=True) for row in context_rows(d, sizes, c)
        ]
    exact, squares = np.sqrt(np.mean(exact, 0)), np.mean(squares, 0)
    predicted = [theory.token_correlation(source.parameters, level(t, source.tuple_size_at(1))) for t in distances]
    pairs = [
        {"data": grammar, "grammars": num_grammars, "size": size, "distance": t}
        | {"correlation": math.sqrt(values[0]), "noise_floor": math.sqrt(values[1])}
        | {"signal": values[2], "exact": exact[i], "theory": predicted[i]}
        for size, table in zip(sizes, squares, strict=True)
        for i, (t, values) in enumerate(zip(distances, table.T, strict=True))
    ]
    return {"pairs": pairs, "tuples": tuples, "contexts": contexts}


def tuple_rows(source: Grammar, sentences: np.ndarray) -> list[dict]:
    """Correlations of level-1 tuples with the last token, root mean squares over rules and tokens, by distance.

    For a tuple mu and a token nu, C(mu, nu) = P(mu, nu) - P(mu) P(nu): `signal` is that of the sentences, `exact`
    that of the law, `noise` what independent pairs would show. `synonyms` is the part of the measured C that differs
    between the tuples of one symbol (their mean subtracted). In the law it is 0, as synonyms tell the same of others:
    synonyms can be told from other tuples where the signal stands above it.
    """
    size, v, s = len(sentences), source.vocab_size, source.tuple_size_at(1)
    rules, last = tuple_ids(source, sentences)[:, s - 1 :: s].astype(np.int64), sentences[:, -1].astype(np.int64)
    number, found = source.rule_probs_at(1).size, []
    for distance in range(1, rules.shape[1]):
        node = rules.shape[1] - 1 - distance
        counts = np.bincount(rules[:, node] * v + last, minlength=number * v).reshape(number, v)
        measured, law = centred(counts / size), centred(tuple_joint_law(source, node, sentences.shape[1] - 1))
        by_symbol = measured.reshape(*source.rule_probs_at(1).shape, v)
        row = {"distance": distance, "signal": rms(measured), "exact": rms(law)}
        row |= {"synonyms": rms(by_symbol - by_symbol.mean(1, keepdims=True))}
        row |= {"noise": theory.correlation_noise(source.parameters, size, tuples=True)}
        row |= {"theory": theory.tuple_correlation(source.parameters, level(distance * s, s))}
        found.append(row)
    return found


def centred(joint: np.ndarray) -> np.ndarray:
    return joint - joint.sum(1, keepdims=True) * joint.sum(0)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def context_rows(definition: str, sizes: list[int], curve) -> list[dict]:
    """t* at every P, by one definition; z in t* ~ P^(1/z) of the whole curve."""
    z = curve.dynamic_exponent
    columns = zip(sizes, curve.contexts.tolist(), curve.is_bound.tolist(), strict=True)
    return [
        {"definition": definition, "size": size, "context": context, "is_bound": bool(bound), "z": z}
        for size, context, bound in columns
    ]


def level(distance: int, tuple_size: int) -> int:
    """Of the lowest common ancestor of the last token and the one so far before it."""
    found = 1
    while tuple_size**found <= distance:
        found += 1
    return found


def draw(tables: Tables, path: Path) -> None:
    """Correlations of tokens and of tuples with noise floors, and t*(P)."""
    pairs, contexts = tables["pairs"], tables["contexts"]
    sizes = sorted(distinct(pairs, "size"))
    figure, axes = sheet(4, height=2.9)
    draw_correlations(axes[0], pairs, sizes[:: max(1, len(sizes) // 4)])
    draw_tuples(axes[1], tables["tuples"])
    for i, (definition, name) in enumerate(DEFINITIONS.items()):
        curve(
            axes[2], where(contexts, definition=definition), "size", "context", i, name, hollow=itemgetter("is_bound")
        )
    parameters = Grammar.from_name(pairs[0]["data"]).parameters
    fine = np.geomspace(sizes[0], sizes[-1], 400)
    predicted = np.array([theory.effective_context(parameters, size) for size in fine])
    axes[2].plot(fine[predicted > 0], predicted[predicted > 0], "k--", linewidth=0.9, label="theory")
    labels = {"xlabel": "P (sentences)", "ylabel": "effective context t* (tokens)"}
    finish(axes[2], "", xscale="log", yscale="log", **labels)
    axes[3].set_axis_off()
    text = (
        f"{pairs[0]['data']}, {scale(contexts)}. Left: root mean squares over grammars, dotted: noise floors. Right "
    )
    text += "and below: bars are standard errors over grammars; hollow: in some all distances exceed the noise."
    note(figure, text)
    figure.savefig(path)


def draw_correlations(ax, pairs: list[dict], sizes: list[int]) -> None:
    for i, size in enumerate(sizes):
        part = where(pairs, size=size)
        distances = [row["distance"] for row in part]
        label = f"P = $2^{{{int(math.log2(size))}}}$"
        look = {**ink(i, len(sizes)), "markersize": 2.5, "linewidth": 1}
        ax.plot(distances, [row["correlation"] for row in part], "-", label=label, **look)
        ax.plot(distances, [row["noise_floor"] for row in part], ":", linewidth=1, color=look["color"])
    ax.plot(distances, [row["exact"] for row in part], color="black", linewidth=1.2, label="exact")
    ax.plot(distances, [row["theory"] for row in part], "k--", linewidth=0.9, label="theory")
    labels = {"xlabel": "distance t (tokens)", "ylabel": r"correlation $\tilde{C}(t)$"}
    finish(ax, "Tokens with the last token", "lines", xscale="log", yscale="log", **labels)
    few_ticks(ax, [1, max(distances)])


def draw_tuples(ax, rows: list[dict]) -> None:
    """What tuples tell of the last token, and how much of it differs between synonyms: nothing, in the law."""
    for i, (kind, label) in enumerate(TUPLES.items()):
        curve(ax, rows, "distance", kind, i, label)
    xs, heights, _ = averages(rows, "distance", "theory")
    ax.plot(xs, heights, "k--", linewidth=0.9, label="theory")
    xs, heights, _ = averages(rows, "distance", "noise")
    ax.plot(xs, heights, ":", color="0.5", linewidth=1.2, label="noise")
    labels = {"xlabel": "tuples before the last token's", "ylabel": "root mean square"}
    title = f"Pairs with the last token, P = $2^{{{int(math.log2(rows[0]['size']))}}}$"
    finish(ax, title, "lines", xscale="log", yscale="log", **labels)
    few_ticks(ax, distinct(rows, "distance"))


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="correlations_rhm",
        measure=measure,
        draw=draw,
        options=OPTIONS,
        trains=False,
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
