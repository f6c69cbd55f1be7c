"""Zipf rules: the law of the rules sets the slope of the error of classification; and the last token beside it.

    python recipes/zipf/zipf.py --config recipes/zipf/cpu.yaml [--figures FOLDER]
    python recipes/zipf/zipf.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `zipf.png` and its tables: `zipf_runs.csv` (the last
evaluation of every classifier), `zipf_exponents.csv` (slopes of the mean curves beside theory), `zipf_next_token.csv`
(the best evaluation of every run of the last token) and `zipf_next_exponents.csv` (their slopes).

Classifiers are trained without early stopping, so their last evaluation counts; those whose train loss is still above
.1 nats are hollow in the picture and left out of the fits.
"""

from functools import cache
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import distinct, ensemble, group, num_limited, scale, unconverged, where
from rhm_hf.inference import last_token_plateaus
from rhm_hf.plots import INKS, colour, curve, finish, note, sheet
from rhm_hf.statistics import envelope_exponent
from rhm_hf.training.recipe import Tables, classified, kept_runs, recipe_main


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads errors, losses and their slopes off the results."""
    runs = [row | {"zipf": zipf_of(row)} for row in classified(where(rows, task="classification"))]
    return {"runs": runs, "next_token": next_rows(where(rows, task="last_token"), values)}


def conclude(tables: Tables) -> Tables:
    """The slopes of all curves."""
    return {"exponents": exponents(tables["runs"]), "next_exponents": next_exponents(tables["next_token"])}


def zipf_of(row: dict) -> float:
    """a, 0 for equiprobable rules."""
    return grammar_of(row["data"]).parameters.zipf_exponent or 0


grammar_of = cache(Grammar.from_name)


def rule_sizes(data: str) -> np.ndarray:
    """P_k = n_c m^(L-1) / f_k, `(m,)`: where the k-th most frequent rule of a level-1 symbol is learnt.

    With equiprobable rules all are n_c m^L, the sample complexity of classification.
    """
    grammar = grammar_of(data)
    p = grammar.parameters
    return p.num_classes * p.num_synonyms ** (p.depth - 1) / grammar.rule_probs_at(1)[0]


def rule_by_rule(data: str, sizes) -> np.ndarray:
    """Relative error at P if a rule is unknown with probability exp(-P / P_k) and each unknown one hides the class.

    The argument behind P^(-a/(1+a)), for a finite m: it bends down where the rarest rules are learnt.
    """
    learnt, grammar = rule_sizes(data), grammar_of(data)
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
    for data, mine in group([row for row in runs if row["zipf"]], "data").items():
        mine = [row for row in mine if not unconverged(row)]
        if len(distinct(mine, "num_train")) < 2:
            continue
        sizes, errors = ensemble(mine, "num_train", "relative_error")  # no run that its step limit ended
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


def next_rows(rows: list[dict], values: dict) -> list[dict]:
    """The best evaluation of every run of the last token, with its loss above the entropy, which is its exact KL.

    `plateau_0`, .. are exact too: what is above the entropy when only the lowest 0, .. levels are known.
    """
    found = []
    for run in kept_runs(rows, values):
        grammar = run.grammar()
        losses = last_token_plateaus(grammar)
        plateaus = {f"plateau_{level}": loss - losses[-1] for level, loss in enumerate(losses[:-1])}
        found.append(run.row | {"zipf": zipf_of(run.row)} | plateaus)
    return found


def next_exponents(rows: list[dict]) -> list[dict]:
    """Slopes of the mean exact KL, for all laws over the sizes at which all have the first step half behind them."""
    found, sizes = [], [size for size in sorted(distinct(rows, "num_train")) if all(past_first_step(rows, size))]
    for data, mine in group(rows, "data").items() if len(sizes) > 1 else ():
        fitted = [row for row in mine if row["num_train"] in sizes]
        _, losses = ensemble(fitted, "num_train", "kl", step_limited="keep")
        fit = envelope_exponent(sizes, losses, 0.0)
        row = {"data": data, "zipf": mine[0]["zipf"], "grammars": len(losses), "from_size": sizes[0]}
        row["step_limited"] = num_limited(fitted)
        row |= {"to_size": sizes[-1], "exponent": fit.exponent, "low": fit.interval[0], "high": fit.interval[1]}
        found.append(row)
    return found


def past_first_step(rows: list[dict], size: int) -> list[bool]:
    """For each law: is the mean KL at this P below the middle of the mean plateaus of levels 0 and 1?"""
    found = []
    for mine in group(where(rows, num_train=size), "data").values():
        middle = np.mean([(row["plateau_0"] + row["plateau_1"]) / 2 for row in mine])
        found.append(bool(np.mean([row["kl"] for row in mine]) < middle))
    return found


def draw(tables: Tables, path: Path) -> None:
    """Error against P with theory; exponents against a; the KL of the last token against P."""
    figure, axes = sheet(3, height=3.0)
    if tables["runs"]:
        draw_errors(axes[0], tables)
        draw_exponents(axes[1], tables["exponents"])
    if tables["next_token"]:
        draw_next_token(axes[2], tables["next_token"])
    text = f"Classifiers: {scale(tables['runs'])}; last token: {scale(tables['next_token'])}; bars over grammars. "
    text += "Dashed: $P^{-a/(1+a)}$; dotted, left: rule by rule at this m; dotted, right: exact plateaus. Hollow: not "
    note(figure, text + "trained to the end (train loss above .1), left out of the fits.")
    figure.savefig(path)


def draw_errors(ax, tables: Tables) -> None:
    """Means over grammars; theory dashed, moved onto the points of the fit."""
    runs = tables["runs"]
    fits = {row["data"]: row for row in tables["exponents"]}
    kinds = sorted(distinct(runs, "zipf", "data"))
    for i, (zipf, data) in enumerate(kinds):
        mine = [row for row in where(runs, data=data) if row["relative_error"] > 0]
        label = f"a = {zipf:g}" if zipf else f"uniform, m = {Grammar.from_name(data).parameters.num_synonyms}"
        curve(ax, mine, "num_train", "relative_error", i, label, of=len(kinds), hollow=unconverged)
        if fit := fits.get(data):
            sizes = distinct(mine, "num_train")
            fine = np.geomspace(min(sizes), max(sizes), 200)
            ax.plot(fine, rule_by_rule(data, fine / fit["constant"]), ":", color=colour(i, len(kinds)), linewidth=1)
            at = np.array([fit["from_size"], fit["to_size"]], dtype=float)
            middle = np.sqrt(at.prod())
            height = fit["amplitude"] * middle ** -fit["exponent"]
            ax.plot(at, height * (at / middle) ** -fit["predicted"], "k--", linewidth=0.9)
    p = Grammar.from_name(kinds[-1][1]).parameters
    title = f"v = {p.vocab_size}, $n_c$ = {p.num_classes}, m = {p.num_synonyms}, s = {p.tuple_size}, L = {p.depth}"
    low = min((row["relative_error"] for row in runs if row["relative_error"] > 0), default=1e-3)
    labels = {"xlabel": "training sentences P", "ylabel": "test error / chance error"}
    finish(ax, title, "lines", xscale="log", yscale="log", ylim=(low / 2, 1.5), **labels)


def draw_exponents(ax, fits: list[dict]) -> None:
    fits = sorted(fits, key=lambda row: row["zipf"])
    a = np.array([row["zipf"] for row in fits], dtype=float)
    found = np.array([row["exponent"] for row in fits])
    if fits:
        bars = np.abs(np.array([[row["low"], row["high"]] for row in fits]).T - found)
        bars = np.where(np.isfinite(bars), bars, 0)
        ax.errorbar(a, found, bars, fmt="o", color=INKS[0], markersize=4, capsize=2, label="measured")
        ax.plot(a, [row["finite_m"] for row in fits], "x", color=INKS[1], markersize=5, label="rule by rule")
    fine = np.linspace(0.05, max([2.5, *(1.1 * a)]), 200)
    ax.plot(fine, [theory.zipf_classification_exponent(x) for x in fine], "k--", linewidth=0.9, label="a / (1 + a)")
    title = "Exponent of the error, 95 % over grammars"
    finish(ax, title, xlabel="a of the rules' law", ylabel="exponent", ylim=(0, None))


def draw_next_token(ax, rows: list[dict]) -> None:
    """Means over grammars; the exact plateaus of each law dotted."""
    kinds = sorted(distinct(rows, "zipf", "data"))
    for i, (zipf, data) in enumerate(kinds):
        mine = where(rows, data=data)
        curve(ax, mine, "num_train", "kl", i, f"a = {zipf:g}" if zipf else "uniform", of=len(kinds))
        for level in range(Grammar.from_name(data).depth):
            height = np.mean([row[f"plateau_{level}"] for row in mine])
            ax.axhline(height, color=colour(i, len(kinds)), linestyle=":", linewidth=0.8)
    labels = {"xlabel": "training sentences P", "ylabel": "KL of the last token (nats)"}
    finish(ax, "Last token, law at level 1", "lines", xscale="log", yscale="log", **labels)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="zipf", measure=measure, conclude=conclude, draw=draw, shows="exponents")


if __name__ == "__main__":
    main()
