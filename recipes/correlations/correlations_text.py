"""Correlations of characters against their distance, and the effective context t*(P), of a text.

    python recipes/correlations/correlations_text.py --text my.txt       # or shakespeare, wikitext-103: from the Hub
    python recipes/correlations/correlations_text.py --draw docs/figures

Nothing is trained. Writes `correlations_text.png` and its tables: `correlations_text_pairs.csv` (a row per P and
distance), `correlations_text_contexts.csv` (a row per P and definition of t*) and `correlations_text_fit.csv` (beta).
"""

import math
from operator import itemgetter
from pathlib import Path

import numpy as np

from rhm_hf.data import char_corpus
from rhm_hf.ensembles import distinct, where
from rhm_hf.plots import curve, finish, ink, note, sheet
from rhm_hf.statistics import prefix_contexts, token_correlations
from rhm_hf.training.arguments import DataArguments
from rhm_hf.training.data import load_text
from rhm_hf.training.recipe import Tables, recipe_main


OPTIONS = {
    "text": "shakespeare",  # a corpus of the Hub, or a UTF-8 file
    "max_distance": 128,  # characters
    "fit_max": 15,  # the exponent is fitted to distances 1 to this
}
SMALLEST_TEXT = 2000  # characters of the smallest prefix, and the least
DEFINITIONS = {"whole": "noise of P, signal of all", "prefix": "noise and signal of P"}


def measure(text: str, max_distance: int, fit_max: int) -> Tables:
    """C~ of the first P characters, t* by both definitions, and beta."""
    ids = whole_text(text)
    if len(ids) < 2 * SMALLEST_TEXT:
        raise ValueError(f"the text has {len(ids)} characters: it needs {2 * SMALLEST_TEXT} or more")
    distances = range(1, max_distance + 1)  # every one: t* is where the first of them falls below the noise
    v, names = int(ids.max()) + 1, {"data": Path(text).stem}
    sizes = [len(ids) >> k for k in range(int(math.log2(len(ids) / SMALLEST_TEXT)), -1, -1)]
    whole = token_correlations(ids, distances, v)
    curves = [whole.effective_context_curve(sizes), prefix_contexts(ids, sizes, distances, v)]
    pairs = []
    for size in sizes[len(sizes) % 2 ^ 1 :: 2]:
        part = whole if size == len(ids) else token_correlations(ids[:size], distances, v, num_blocks=4)
        columns = zip(distances, part.correlation, part.noise_floor, part.signal, part.signal_stderr, strict=True)
        columns_of = ("distance", "correlation", "noise_floor", "signal", "signal_stderr")
        pairs += [names | {"size": size} | dict(zip(columns_of, values, strict=True)) for values in columns]
    contexts = [
        names
        | {"definition": definition, "size": size, "context": float(t), "is_bound": bool(bound)}
        | {"z": curve.dynamic_exponent}
        for definition, curve in zip(DEFINITIONS, curves, strict=True)
        for size, t, bound in zip(sizes, curve.contexts, curve.is_bound, strict=True)
    ]
    return {"pairs": pairs, "contexts": contexts, "fit": [names | row for row in fits(whole, fit_max)]}


def whole_text(text: str) -> np.ndarray:
    """All characters of a file, or the training text of a corpus of the Hub."""
    if Path(text).is_file():
        return char_corpus(text_file=text).splits["train"].ids
    return load_text(DataArguments(text=text)).splits["train"].ids


def fits(whole, fit_max: int) -> list[dict]:
    """beta of C~ ~ t^-beta over several ranges of t, each with the interval over blocks of text; none for little text.

    An interval says how far noise could move the number at one range; the range itself moves it further.
    """
    rows = []
    for first, last in dict.fromkeys([(1, fit_max), (1, 10), (2, fit_max), (5, fit_max)]):
        try:
            fit = whole.fit(first, last)
        except ValueError as error:
            print(f"no exponent over t = {first} .. {last}: {error}")
            continue
        row = {"t_min": fit.t_min, "t_max": fit.t_max, "beta": fit.exponent}
        rows.append(row | {"low": fit.interval[0], "high": fit.interval[1], "amplitude": fit.amplitude})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Correlations and noise floors on the left, t*(P) on the right."""
    pairs, contexts = tables["pairs"], tables["contexts"]
    sizes = sorted(distinct(pairs, "size"))
    figure, (left, right) = sheet(2, height=3.2)
    for i, size in enumerate(sizes):
        part, look = where(pairs, size=size), {**ink(i, len(sizes)), "linewidth": 1}
        distances = [row["distance"] for row in part]
        left.plot(distances, [r["correlation"] for r in part], "-", **look, markersize=1.5, label=f"P = {size}")
        left.plot(distances, [r["noise_floor"] for r in part], ":", color=look["color"], linewidth=1)
    seen = [row for row in part if row["signal"] > 0]
    left.plot(
        [r["distance"] for r in seen], np.sqrt([r["signal"] for r in seen]), "k-", linewidth=1, label="noise removed"
    )
    for fit in tables["fit"]:
        at = np.array([fit["t_min"], fit["t_max"]], dtype=float)
        left.plot(at, fit["amplitude"] * at ** -fit["beta"], "k--", linewidth=1)
    labels = {"xlabel": "distance t (characters)", "ylabel": r"correlation $\tilde{C}(t)$"}
    finish(left, f"{pairs[0]['data']}; dotted: noise floors", "lines", xscale="log", yscale="log", **labels)
    for i, (definition, name) in enumerate(DEFINITIONS.items()):
        part = where(contexts, definition=definition)
        curve(right, part, "size", "context", i, f"{name}, z = {part[0]['z']:.2f}", hollow=itemgetter("is_bound"))
    finish(right, "", xscale="log", yscale="log", xlabel="P (characters)", ylabel="effective context t* (characters)")
    text = f"One text, no error over texts. {ranges(tables['fit'])}"
    note(figure, text + " Hollow: all distances exceed the noise.")
    figure.savefig(path)


def ranges(fits: list[dict]) -> str:
    """beta with its range: of the resampled text, and by the choice of distances."""
    parts = [f"{fit['beta']:.2f} over t = {fit['t_min']} to {fit['t_max']}" for fit in fits]
    return r"$\beta$ = " + ", ".join(parts) + ": the choice of distances matters more than the noise." if parts else ""


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="correlations_text",
        measure=measure,
        draw=draw,
        options=OPTIONS,
        trains=False,
        shows="fit",
    )


if __name__ == "__main__":
    main()
