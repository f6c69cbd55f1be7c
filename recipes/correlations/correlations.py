"""Correlations of tokens against their distance, and the effective context t*(P), of grammars or of a text.

    python recipes/correlations/correlations.py rhm [--grammar v16-m4-s2-L4] [--num_grammars 8] [--max_log2 20]
    python recipes/correlations/correlations.py text --text_file my.txt       # or --corpus wikitext-103, from the Hub

Writes into `output_dir`, for the name `rhm` or that of the text: `correlations_NAME.csv` (a row per P and distance),
`correlations_NAME_contexts.csv` (a row per P and definition of t*) and the figure `correlations_NAME.png`.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.data import char_corpus
from rhm_hf.statistics import exact_correlation, prefix_contexts, token_correlations
from rhm_hf.training.results import write_csv


SMALLEST_TEXT = 2000  # characters of the smallest prefix, and the least
DEFINITIONS = {"whole": "noise of P, signal of all", "prefix": "noise and signal of P"}


def main(argv: list[str] | None = None) -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    rhm, text = kinds.add_parser("rhm", help="sentences of grammars"), kinds.add_parser("text", help="characters")
    rhm.add_argument("--grammar", default="v16-m4-s2-L4", help="short name of the ensemble")
    rhm.add_argument("--num_grammars", type=int, default=8, help="rules_seed = 0, 1, ..")
    rhm.add_argument("--max_log2", type=int, default=20, help="log2 of the largest P, sentences")
    source = text.add_mutually_exclusive_group(required=True)
    source.add_argument("--text_file", type=Path, help="UTF-8")
    source.add_argument("--corpus", help="wikitext-2, wikitext-103 or shakespeare, from the Hub")
    text.add_argument("--name", help="of the text in titles and names of files; by default that of the file")
    text.add_argument("--max_distance", type=int, default=128, help="characters")
    text.add_argument("--fit_max", type=int, default=15, help="the exponent is fitted to distances 1 to this")
    for kind in (rhm, text):
        kind.add_argument("--output_dir", type=Path, default=Path("runs/correlations"))
    args = parser.parse_args(argv)
    start = time.perf_counter()
    if args.kind == "rhm":
        name, title, unit = "rhm", f"{args.grammar}, {args.num_grammars} grammars", "sentences"
        rows, contexts, lines = measure_grammars(args.grammar, args.num_grammars, args.max_log2)
    else:
        name = title = args.name or args.corpus or args.text_file.stem
        ids = char_corpus(args.corpus, text_file=args.text_file).splits["train"].ids
        unit = "characters"
        rows, contexts, lines = measure_text(ids, args.max_distance, args.fit_max)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    write_csv(args.output_dir / f"correlations_{name}.csv", rows)
    write_csv(args.output_dir / f"correlations_{name}_contexts.csv", contexts)
    draw(rows, contexts, lines, title, unit, args.output_dir / f"correlations_{name}.png")
    for row in contexts:
        bound = ">= " if row["is_bound"] else ""
        print("{definition:>7} P = {size:>9}  t* = ".format(**row) + bound + f"{row['context']:.2f}")
    print(f"{time.perf_counter() - start:.0f} s")


def measure_grammars(name: str, num_grammars: int, max_log2: int) -> tuple[list[dict], list[dict], dict]:
    """Root mean squares over grammars of C~ of P sentences, and mean t*."""
    sizes = [2**k for k in range(max_log2 % 2 + 6, max_log2 + 1, 2)]
    squares, exact, contexts, bounds = [], [], [], []
    for seed in range(num_grammars):
        grammar = Grammar.from_name(name, rules_seed=seed)
        distances, v = range(1, grammar.sentence_length), grammar.vocab_size
        sentences = grammar.sample(sizes[-1], sampling="iid")
        parts = [token_correlations(sentences[:size], distances, v, anchor="last") for size in sizes]
        squares.append([(part.correlation**2, part.noise_floor**2, part.signal) for part in parts])
        exact.append(exact_correlation(grammar, distances) ** 2)
        curves = [parts[-1].effective_context_curve(sizes), prefix_contexts(sentences, sizes, distances, v)]
        contexts.append([curve.contexts for curve in curves])
        bounds.append([curve.is_bound for curve in curves])
        print(f"grammar {seed + 1}: z = {curves[0].dynamic_exponent:.2f} (whole), {curves[1].dynamic_exponent:.2f} "
              f"(prefix); theory {theory.dynamic_exponent(grammar.parameters):.2f}", flush=True)  # fmt: skip
    exact, squares = np.sqrt(np.mean(exact, 0)), np.mean(squares, 0)
    levels = [_level(t, grammar.tuple_size_at(1)) for t in distances]
    predicted = np.array([theory.token_correlation(grammar.parameters, level) for level in levels])
    rows = [
        {"size": size, "distance": t, "correlation": math.sqrt(values[0]), "noise_floor": math.sqrt(values[1])}
        | {"signal": values[2], "exact": exact[i], "theory": predicted[i]}
        for size, table in zip(sizes, squares, strict=True)
        for i, (t, values) in enumerate(zip(distances, table.T, strict=True))
    ]
    fine = np.geomspace(sizes[0], sizes[-1], 400)
    lines = {
        "exact": (list(distances), exact),
        "theory": (list(distances), predicted),
        "context": (fine, [theory.effective_context(grammar.parameters, size) for size in fine]),
    }
    return rows, _context_rows(sizes, np.mean(contexts, 0), np.any(bounds, 0)), lines


def _level(distance: int, tuple_size: int) -> int:
    """Of the lowest common ancestor of the last token and the one so far before it."""
    level = 1
    while tuple_size**level <= distance:
        level += 1
    return level


def measure_text(ids: np.ndarray, max_distance: int, fit_max: int) -> tuple[list[dict], list[dict], dict]:
    """C~ of the first P characters, and t* by both definitions."""
    if len(ids) < 2 * SMALLEST_TEXT:
        raise ValueError(f"the text has {len(ids)} characters: it needs {2 * SMALLEST_TEXT} or more")
    distances = range(1, max_distance + 1)  # every one: t* is where the first of them falls below the noise
    v = int(ids.max()) + 1
    sizes = [len(ids) >> k for k in range(int(math.log2(len(ids) / SMALLEST_TEXT)), -1, -1)]
    whole = token_correlations(ids, distances, v)
    curves = [whole.effective_context_curve(sizes), prefix_contexts(ids, sizes, distances, v)]
    rows = []
    for size in sizes[len(sizes) % 2 ^ 1 :: 2]:
        part = whole if size == len(ids) else token_correlations(ids[:size], distances, v, num_blocks=4)
        columns = zip(distances, part.correlation, part.noise_floor, part.signal, part.signal_stderr, strict=True)
        names = ("distance", "correlation", "noise_floor", "signal", "signal_stderr")
        rows += [{"size": size} | dict(zip(names, values, strict=True)) for values in columns]
    lines = {}
    try:
        fit = whole.fit(1, fit_max)
    except ValueError as error:  # too little text
        print(f"no exponent: {error}")
    else:
        low, high = fit.interval
        print(f"beta = {fit.exponent:.3f} (95 %: {low:.3f} to {high:.3f}) over t = {fit.t_min} .. {fit.t_max}")
        at = np.array([fit.t_min, fit.t_max], dtype=float)
        lines["theory"] = (at, fit.amplitude * at**-fit.exponent)
        lines["theory_label"] = rf"$\beta$ = {fit.exponent:.2f} [{low:.2f}, {high:.2f}]"
    positive = whole.signal > 0
    lines["exact"] = (np.array(distances)[positive], np.sqrt(whole.signal[positive]))
    lines["exact_label"] = r"$\sqrt{U}$ of the whole text, noise removed"
    print(f"z = {curves[0].dynamic_exponent:.2f} (whole), {curves[1].dynamic_exponent:.2f} (prefix)")
    lines["z"] = [curve.dynamic_exponent for curve in curves]
    contexts = np.array([curve.contexts for curve in curves])
    return rows, _context_rows(sizes, contexts, [curve.is_bound for curve in curves]), lines


def _context_rows(sizes: list[int], contexts: np.ndarray, bounds) -> list[dict]:
    return [
        {"definition": definition, "size": size, "context": float(context), "is_bound": bool(bound)}
        for definition, curve, limits in zip(DEFINITIONS, contexts, bounds, strict=True)
        for size, context, bound in zip(sizes, curve, limits, strict=True)
    ]


def draw(rows: list[dict], contexts: list[dict], lines: dict, title: str, unit: str, path: Path) -> None:
    """Correlations and noise floors on the left, t*(P) on the right."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.6, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    sizes = sorted({row["size"] for row in rows})
    for i, size in enumerate(sizes):
        part, colour = [row for row in rows if row["size"] == size], colormaps["viridis"](0.9 * i / len(sizes))
        distances = [row["distance"] for row in part]
        label = f"P = {size:,}".replace(",", "\u2009")
        left.plot(
            distances, [r["correlation"] for r in part], "o-", markersize=2, linewidth=1, color=colour, label=label
        )
        left.plot(distances, [r["noise_floor"] for r in part], ":", linewidth=1, color=colour)
    left.plot(*lines["exact"], color="black", linewidth=1, label=lines.get("exact_label", "exact"))
    if "theory" in lines:
        label = lines.get("theory_label", "theory")
        left.plot(*lines["theory"], color="black", linestyle="--", linewidth=1, label=label)
    left.plot([], [], ":", color="0.4", label="noise floors")
    left.set(xscale="log", yscale="log", xlabel="distance t (tokens)", ylabel=r"correlation $\tilde{C}(t)$")
    left.legend(frameon=False, fontsize=7, loc="lower left")
    for i, (definition, name) in enumerate(DEFINITIONS.items()):
        part = [row for row in contexts if row["definition"] == definition and row["context"] > 0]
        label = name + (f", z = {lines['z'][i]:.2f}" if "z" in lines else "")
        values = [r["context"] for r in part]
        right.plot([r["size"] for r in part], values, "os"[i] + "-", markersize=4, color=f"C{i}", label=label)
    if "context" in lines:
        at, predicted = (np.array(values) for values in lines["context"])
        right.plot(at[predicted > 0], predicted[predicted > 0], color="black", linestyle="--", linewidth=1)
        right.plot([], [], color="black", linestyle="--", linewidth=1, label="theory")
    right.set(xscale="log", yscale="log", xlabel=f"P ({unit})", ylabel="effective context t* (tokens)")
    right.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path)


if __name__ == "__main__":
    main()
