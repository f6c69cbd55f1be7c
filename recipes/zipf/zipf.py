"""Zipf rules: the law of the rules sets the slope of the error of classification, and not that of the next token.

    python recipes/zipf/zipf.py --config recipes/zipf/cpu.yaml [--figures FOLDER]
    python recipes/zipf/zipf.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `zipf.png` and its tables: `zipf_runs.csv` (the last
evaluation of every classifier), `zipf_exponents.csv` (slopes of the mean curves beside theory), `zipf_next_token.csv`
(the best evaluation of every run of the last token) and `zipf_next_exponents.csv` (their slopes).

Classifiers are trained until they have the training set by heart, so their last evaluation counts.
"""

import sys
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, GrammarParameters, theory
from rhm_hf.inference import position_entropies
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import envelope_exponent
from rhm_hf.training.recipe import Tables, classified, recipe_main
from rhm_hf.training.results import best_rows


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads errors, losses and their slopes off the results."""
    runs = [row | {"zipf": zipf_of(row)} for row in classified([r for r in rows if r["task"] == "classification"])]
    next_token = next_rows([row for row in rows if row["task"] == "last_token"])
    found = {"runs": runs, "exponents": exponents(runs)}
    return found | {"next_token": next_token, "next_exponents": next_exponents(next_token)}


def zipf_of(row: dict) -> float:
    """a, 0 for equiprobable rules."""
    return GrammarParameters.from_name(row["data"]).zipf_exponent or 0


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


def constant(data: str, sizes, errors) -> float:
    """C of the P = C P_k at which rules are learnt, open in theory: the best for [`rule_by_rule`] in logs."""
    sizes, errors = (np.asarray(values, dtype=float) for values in (sizes, errors))
    seen, tried = errors > 0, np.geomspace(0.1, 10, 401)
    off = [np.sum(np.log(rule_by_rule(data, sizes[seen] / c) / errors[seen]) ** 2) for c in tried]
    return float(tried[int(np.argmin(off))])


def exponents(runs: list[dict]) -> list[dict]:
    """Slopes of the mean error between C P_2 and C P_(m/4): before, no rule is learnt; beyond, few remain to be.

    `finite_m` is the slope of [`rule_by_rule`] at the same sizes, `predicted` that of theory, for m without limit.
    """
    rows = []
    for data in dict.fromkeys(row["data"] for row in runs if row["zipf"]):
        mine = [row for row in runs if row["data"] == data]
        sizes, errors = curves(mine, "relative_error")
        scale = constant(data, sizes, errors.mean(0))
        learnt = scale * rule_sizes(data)
        # a curve that has come down to no error at all ends there
        window = [size for size, error in zip(sizes, errors.mean(0), strict=True) if error > 0]
        window = [size for size in window if learnt[1] <= size <= learnt[len(learnt) // 4 - 1]]
        if len(window) < 2:
            continue
        fit = envelope_exponent(sizes, errors, 0.0, min_size=window[0], max_size=window[-1])
        expected = envelope_exponent(window, rule_by_rule(data, np.array(window) / scale), 0.0)
        row = {"data": data, "zipf": mine[0]["zipf"], "grammars": len(errors), "constant": scale}
        row |= {"from_size": window[0], "to_size": window[-1], "exponent": fit.exponent}
        row |= {"low": fit.interval[0], "high": fit.interval[1], "amplitude": fit.amplitude}
        row |= {"predicted": theory.zipf_classification_exponent(row["zipf"]), "finite_m": expected.exponent}
        rows.append(row)
    return rows


def next_rows(rows: list[dict]) -> list[dict]:
    """The best evaluation of every run of the last token, with its loss above the entropy, which is its exact KL.

    `plateau_0`, .. are exact too: what is above the entropy when only the lowest 0, .. levels are known.
    """
    found = []
    for row in best_rows(rows):
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        losses = [float(position_entropies(grammar, level)[-1]) for level in range(grammar.depth + 1)]
        plateaus = {f"plateau_{level}": loss - losses[-1] for level, loss in enumerate(losses[:-1])}
        found.append(row | {"zipf": zipf_of(row)} | plateaus)
    return found


def next_exponents(rows: list[dict]) -> list[dict]:
    """Slopes of the mean exact KL, for all laws over the sizes at which all have the first step half behind them."""
    found, sizes = [], sorted({row["num_train"] for row in rows if all(past_first_step(rows, row["num_train"]))})
    for data in dict.fromkeys(row["data"] for row in rows) if len(sizes) > 1 else ():
        mine = [row for row in rows if row["data"] == data and row["num_train"] in sizes]
        _, losses = curves(mine, "kl")
        fit = envelope_exponent(sizes, losses, 0.0)
        row = {"data": data, "zipf": mine[0]["zipf"], "grammars": len(losses), "from_size": sizes[0]}
        row |= {"to_size": sizes[-1], "exponent": fit.exponent, "low": fit.interval[0], "high": fit.interval[1]}
        found.append(row)
    return found


def past_first_step(rows: list[dict], size: int) -> list[bool]:
    """For each law: is the mean KL at this P below the middle of the mean plateaus of levels 0 and 1?"""
    found = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data and row["num_train"] == size]
        middle = np.mean([(row["plateau_0"] + row["plateau_1"]) / 2 for row in mine])
        found.append(bool(np.mean([row["kl"] for row in mine]) < middle))
    return found


def curves(rows: list[dict], column: str) -> tuple[list[int], np.ndarray]:
    """Sizes and values of one ensemble, `(grammars, sizes)`."""
    sizes, seeds = (sorted({row[name] for row in rows}) for name in ("num_train", "rules_seed"))
    table = {(row["rules_seed"], row["num_train"]): row[column] for row in rows}
    return sizes, np.array([[table[seed, size] for size in sizes] for seed in seeds])


def draw(tables: Tables, path: Path) -> None:
    """Error against P with theory; exponents against a; the KL of the last token against P."""
    figure, (left, middle, right) = new_figure(3, width=4.9, height=4.2)
    draw_errors(left, tables)
    draw_exponents(middle, tables["exponents"])
    draw_next_token(right, tables["next_token"])
    figure.savefig(path)


def draw_errors(ax, tables: Tables) -> None:
    """Means over grammars; theory dashed, moved onto the points of the fit."""
    runs = tables["runs"]
    fits = {row["data"]: row for row in tables["exponents"]}
    kinds = sorted(dict.fromkeys((row["zipf"], row["data"]) for row in runs))
    for i, (zipf, data) in enumerate(kinds):
        mine = [row for row in runs if row["data"] == data]
        points = averages(mine, "num_train", "relative_error")
        p = GrammarParameters.from_name(data)
        label = f"a = {zipf:g}" if zipf else f"equiprobable rules, v = m = {p.num_synonyms}"
        style = {"marker": "os^Dvp"[i % 6], "color": colour(i, len(kinds)), "markersize": 4, "capsize": 2}
        ax.errorbar(*points, **style, label=label)
        fine = np.geomspace(points[0][0], points[0][-1], 200)
        if fit := fits.get(data):
            ax.plot(fine, rule_by_rule(data, fine / fit["constant"]), ":", color=colour(i, len(kinds)), linewidth=1)
            at = np.array([fit["from_size"], fit["to_size"]], dtype=float)
            middle = np.sqrt(at.prod())
            height = fit["amplitude"] * middle ** -fit["exponent"]
            ax.plot(at, height * (at / middle) ** -fit["predicted"], "k--", linewidth=0.9)
    ax.plot([], [], "k--", linewidth=0.9, label=r"$P^{-a/(1+a)}$")
    ax.plot([], [], ":", color="0.4", linewidth=1, label="rule by rule, finite m")
    low = min((row["relative_error"] for row in runs if row["relative_error"] > 0), default=1e-3)
    p = GrammarParameters.from_name(kinds[-1][1])
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


def draw_next_token(ax, rows: list[dict]) -> None:
    """Means over grammars; the exact plateaus of each law dotted."""
    kinds = sorted(dict.fromkeys((row["zipf"], row["data"]) for row in rows))
    for i, (zipf, data) in enumerate(kinds):
        mine = [row for row in rows if row["data"] == data]
        label = f"a = {zipf:g} at level 1" if zipf else "equiprobable rules"
        style = {"marker": "os^D"[i % 4], "color": colour(i, len(kinds)), "markersize": 4, "capsize": 2}
        ax.errorbar(*averages(mine, "num_train", "kl"), **style, label=label)
        for level in range(Grammar.from_name(data).depth):
            height = np.mean([row[f"plateau_{level}"] for row in mine])
            ax.axhline(height, color=colour(i, len(kinds)), linestyle=":", linewidth=0.8)
    labels = {"xlabel": "training sentences P", "ylabel": "KL of the last token (nats)"}
    title = f"Last token, {len({row['rules_seed'] for row in rows})} grammars; dotted: exact plateaus"
    finish(ax, title, xscale="log", yscale="log", **labels)


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="zipf", measure=measure, draw=draw)
