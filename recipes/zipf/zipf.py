"""Classification with Zipf rules: error against P, whose slope is set by the exponent of the rules' law.

    python recipes/zipf/zipf.py --config recipes/zipf/cpu.yaml [--figures FOLDER]
    python recipes/zipf/zipf.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `zipf.png` and its tables: `zipf_runs.csv` (the last
evaluation of every run) and `zipf_exponents.csv` (slopes of the mean curves beside theory).

Networks are trained until they have the training set by heart, so their last evaluation counts.
"""

import sys
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import envelope_exponent
from rhm_hf.training.recipe import Tables, recipe_main


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads errors and their slopes off the results."""
    runs = last_rows(rows)
    return {"runs": runs, "exponents": exponents(runs)}


def last_rows(rows: list[dict]) -> list[dict]:
    """The last evaluation of every run with its test error, also relative to that of a blind guess.

    `zipf` is a, 0 for equiprobable rules. The classes are equally frequent, so a blind guess errs by 1 - 1 / n_c.
    """
    last = {row["run"]: row for row in rows}
    found = []
    for row in last.values():
        p = GrammarParameters.from_name(row["data"])
        error = 1 - row["test_accuracy"]
        relative = error / (1 - 1 / p.num_classes)
        found.append(row | {"zipf": p.zipf_exponent or 0, "error": error, "relative_error": relative})
    return found


def rule_sizes(data: str) -> np.ndarray:
    """P_k = n_c m^(L-1) / f_k, `(m,)`: where the k-th most frequent rule of a level-1 symbol is learnt.

    With equiprobable rules all are n_c m^L, the sample complexity of classification.
    """
    grammar = Grammar.from_name(data)
    p = grammar.parameters
    return p.num_classes * p.num_synonyms ** (p.depth - 1) / grammar.rule_probs_at(1)[0]


def rule_by_rule(data: str, sizes) -> np.ndarray:
    """Relative error at P if a rule is unknown with probability exp(-P / P_k) and each unknown one hides the class.

    The argument behind P^(-a/(1+a)), for a finite m: it bends down where the rarest rules are learnt.
    """
    learnt = rule_sizes(data)
    grammar = Grammar.from_name(data)
    unknown = np.exp(-np.asarray(sizes, dtype=float)[:, None] / learnt) @ grammar.rule_probs_at(1)[0]
    return 1 - (1 - unknown) ** (grammar.sentence_length // grammar.tuple_size_at(1))


def exponents(runs: list[dict]) -> list[dict]:
    """Slopes of the mean error between P_2 and P_(m/4): before, no rule is learnt; beyond, few remain to be learnt.

    `finite_m` is the slope of [`rule_by_rule`] at the same sizes, `predicted` that of theory, for m without limit.
    """
    rows = []
    for data in dict.fromkeys(row["data"] for row in runs if row["zipf"]):
        mine = [row for row in runs if row["data"] == data]
        sizes, seeds = (sorted({row[name] for row in mine}) for name in ("num_train", "rules_seed"))
        table = {(row["rules_seed"], row["num_train"]): row["relative_error"] for row in mine}
        errors = np.array([[table[seed, size] for size in sizes] for seed in seeds])
        learnt = rule_sizes(data)
        # a curve that has come down to no error at all ends there
        window = [size for size, error in zip(sizes, errors.mean(0), strict=True) if error > 0]
        window = [size for size in window if learnt[1] <= size <= learnt[len(learnt) // 4 - 1]]
        if len(window) < 2:
            continue
        fit = envelope_exponent(sizes, errors, 0.0, min_size=window[0], max_size=window[-1])
        expected = envelope_exponent(window, rule_by_rule(data, window), 0.0)
        row = {"data": data, "zipf": mine[0]["zipf"], "grammars": len(seeds), "sizes": len(window)}
        row |= {"from_size": window[0], "to_size": window[-1], "exponent": fit.exponent}
        row |= {"low": fit.interval[0], "high": fit.interval[1], "amplitude": fit.amplitude}
        row |= {"predicted": theory.zipf_classification_exponent(row["zipf"]), "finite_m": expected.exponent}
        rows.append(row)
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Error against P with theory; exponents against a."""
    figure, (left, right) = new_figure(2, width=5.4, height=4.2)
    draw_errors(left, tables)
    draw_exponents(right, tables["exponents"])
    figure.savefig(path)


def draw_errors(ax, tables: Tables) -> None:
    """Means over grammars; theory dashed, moved onto the points of the fit."""
    runs = tables["runs"]
    fits = {row["data"]: row for row in tables["exponents"]}
    kinds = sorted(dict.fromkeys((row["zipf"], row["data"]) for row in runs))
    for i, (zipf, data) in enumerate(kinds):
        mine = [row for row in runs if row["data"] == data]
        points = averages(mine, "num_train", "relative_error")
        label = f"a = {zipf:g}" if zipf else "equiprobable rules"
        style = {"marker": "os^Dvp"[i % 6], "color": colour(i, len(kinds)), "markersize": 4, "capsize": 2}
        ax.errorbar(*points, **style, label=label)
        fine = np.geomspace(points[0][0], points[0][-1], 200)
        if zipf:
            ax.plot(fine, rule_by_rule(data, fine), ":", color=colour(i, len(kinds)), linewidth=1)
        if fit := fits.get(data):
            at = np.array([fit["from_size"], fit["to_size"]], dtype=float)
            middle = np.sqrt(at.prod())
            height = fit["amplitude"] * middle ** -fit["exponent"]
            ax.plot(at, height * (at / middle) ** -fit["predicted"], "k--", linewidth=0.9)
    ax.plot([], [], "k--", linewidth=0.9, label=r"$P^{-a/(1+a)}$")
    ax.plot([], [], ":", color="0.4", linewidth=1, label="rule by rule, finite m")
    low = min((row["relative_error"] for row in runs if row["relative_error"] > 0), default=1e-3)
    p = GrammarParameters.from_name(runs[0]["data"])
    title = f"v = {p.vocab_size}, $n_c$ = {p.num_classes}, m = {p.num_synonyms}, s = {p.tuple_size}, L = {p.depth}; "
    title += f"{len({row['rules_seed'] for row in runs})} grammars"
    labels = {"xlabel": "training sentences P", "ylabel": "test error / chance error"}
    finish(ax, title, xscale="log", yscale="log", ylim=(low / 2, 1.5), **labels)


def draw_exponents(ax, fits: list[dict]) -> None:
    fits = sorted(fits, key=lambda row: row["zipf"])
    a = np.array([row["zipf"] for row in fits], dtype=float)
    found = np.array([row["exponent"] for row in fits])
    bars = np.abs(np.array([[row["low"], row["high"]] for row in fits]).T - found) if fits else None
    if fits:
        bars = np.where(np.isfinite(bars), bars, 0)
        ax.errorbar(a, found, bars, fmt="o", capsize=3, label="measured, 95 % over grammars")
        ax.plot(a, [row["finite_m"] for row in fits], "x", color="0.4", label="rule by rule, finite m")
    fine = np.linspace(0.05, max([2.5, *(1.1 * a)]), 200)
    ax.plot(fine, [theory.zipf_classification_exponent(x) for x in fine], "k--", linewidth=0.9, label="a / (1 + a)")
    finish(ax, "Exponent of the error", xlabel="a of the rules' law", ylabel="exponent", ylim=(0, None))


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="zipf", measure=measure, draw=draw)
