"""Models that see t tokens before the last: where they learn its level 1, 2, .., by t and by m.

    python recipes/visible_tokens/visible_tokens.py --config recipes/visible_tokens/cpu.yaml [--figures FOLDER]
    python recipes/visible_tokens/visible_tokens.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `visible_tokens.png` and its tables:
`visible_tokens_runs.csv` (the best evaluation of every run), `_plateaus.csv` (exact), `_half_way.csv` (where each
curve is half way between two plateaus), `_exponents.csv` (how those points grow with m) and `_collapse.csv` (z of
the curves of all t).
"""

from pathlib import Path

import numpy as np

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import distinct, ensemble, group, num_limited, scale, where
from rhm_hf.plots import INKS, MARKERS, curve, finish, level_line, note, plateaus, sheet
from rhm_hf.statistics import fit_collapse, half_way_points, mean_half_way_points, num_steps, synonym_exponent
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


Z_RANGE = (0.25, 8.0)


def measure(rows: list[dict], values: dict) -> Tables:
    """The losses of all runs, exact KL plus exact entropy, and the exact plateaus."""
    runs = kept_runs(rows, values)
    best = [run.row | {"t": run.arguments.training.visible_tokens, "loss": run["kl"] + run["entropy"]} for run in runs]
    grammars = {(run["data"], run["rules_seed"]): run.grammar() for run in runs}
    exact = []
    for (data, seed), grammar in grammars.items():
        names = {"data": data, "rules_seed": seed}
        exact += [names | {"level": law["level"], "loss": law["loss_last"]} for law in plateaus(grammar)]
    return {"runs": best, "plateaus": exact}


def conclude(tables: Tables) -> Tables:
    """Half-way points of all levels that t tokens hold, their exponents of m, and the collapse over all t."""
    points, exponents = [], []
    for (model, t), of_length in group(tables["runs"], "model", "t").items():
        found = {}
        for data, mine in group(of_length, "data").items():
            grammar = Grammar.from_name(data)
            levels = [level for level in range(grammar.depth + 1) if grammar.block_length(level) <= t + 1]
            exact = ensemble(where(tables["plateaus"], data=data), "level", "loss")[1][:, levels]
            sizes, losses = ensemble(mine, "num_train", "loss", step_limited="keep")
            exact = exact[:, : num_steps(exact) + 1]
            if exact.shape[1] < 2 or len(sizes) < 2:
                continue
            found[data] = grammar.parameters, half_way_points(sizes, losses, exact)
            row = {"model": model, "t": t, "data": data, "m": grammar.parameters.num_synonyms}
            for point in mean_half_way_points(sizes, losses, exact).rows():
                row["theory"] = theory.sample_complexity(grammar.parameters, point["level"], architecture="cnn")
                points.append(row | point | {"num_step_limited": num_limited(mine)})
        exponents += exponents_of(model, t, list(found.values()))
    return {"half_way": points, "exponents": exponents, "collapse": collapses(tables["runs"])}


def collapses(runs: list[dict]) -> list[dict]:
    """z of L(P, t) = t^(-alpha z) F(P / t^z), with t or the block, t + 1, as the length, beside 2 beta of theory.

    `pinned`: the best z is where the curves cease to overlap, so that they do not decide it.
    """
    rows = []
    for (model, data), mine in group(runs, "model", "data").items():
        lengths = sorted(distinct(mine, "t"))
        curves = [ensemble(where(mine, t=t), "num_train", "loss", step_limited="keep") for t in lengths]
        for name, shift in (("t", 0), ("t + 1", 1)):
            try:
                fit = fit_collapse(curves, np.array(lengths, dtype=float) + shift, Z_RANGE)
            except ValueError:  # too few curves, or ones that no z brings together
                continue
            row = {"model": model, "data": data, "scale": name, "z": fit.x_exponent, "pinned": int(fit.pinned)}
            row |= {"low": fit.x_interval[0], "high": fit.x_interval[1], "ratio": fit.collapse.ratio}
            row["theory"] = theory.dynamic_exponent(Grammar.from_name(data).parameters)
            rows.append(row | {"num_step_limited": num_limited(mine)})
    return rows


def theory_exponent(level: int) -> int:
    """Of m, for a CNN: v m sentences for level 1, v m^(level+1) beyond."""
    return 1 if level == 1 else level + 1


def exponents_of(model: str, t: int, found: list) -> list[dict]:
    """Of m in P (1-f), for every level whose step all grammars of three values of m take within their sizes."""
    rows = []
    for level in range(min((each.shape[1] for _, each in found), default=0)):
        columns = [each[:, level] for _, each in found]
        inside = all(np.isfinite(column).all() and (column > 0).all() for column in columns)
        if inside and len({p.num_synonyms for p, _ in found}) > 2:
            fit = synonym_exponent([p for p, _ in found], columns, divide_correlations=True)
            row = {"model": model, "t": t, "level": level + 1, "exponent": fit.exponent}
            rows.append(row | {"low": fit.interval[0], "high": fit.interval[1], "theory": theory_exponent(level + 1)})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """The losses of the largest m at every t; exponents of levels 1 and 2 against t."""
    figure, (left, right) = sheet(2, height=2.9)
    runs = tables["runs"]
    shown, lengths = distinct(runs, "data")[-1], sorted(distinct(runs, "t"))
    for i, t in enumerate(lengths):
        curve(left, where(runs, data=shown, t=t), "num_train", "loss", i, f"t = {t}", len(lengths))
    for level, losses in group(where(tables["plateaus"], data=shown), "level").items():
        level_line(left, float(np.mean([row["loss"] for row in losses])), f"$L_{level}$")
    labels = {"xlabel": "training sentences P", "ylabel": "loss at the last token (nats)"}
    finish(left, f"Models that see t tokens, {shown}", "lines", xscale="log", yscale="log", **labels)
    for level, mine in group(tables["exponents"], "level").items():
        found = np.array([row["exponent"] for row in mine])
        bars = np.abs(np.array([[row["low"], row["high"]] for row in mine]).T - found)
        look = {"marker": MARKERS[level], "color": INKS[level - 1], "markersize": 4, "capsize": 2, "linewidth": 1.0}
        right.errorbar(
            [row["t"] for row in mine], found, np.where(np.isfinite(bars), bars, 0), **look, label=f"level {level}"
        )
        level_line(right, mine[0]["theory"], color=INKS[level - 1])
    finish(right, "Exponent of m in P (1 - f); dashed: theory", "lines", xscale="log", xlabel="tokens seen t",
           ylabel="exponent, 95 %")  # fmt: skip
    right.set_xticks(lengths, [str(t) for t in lengths])
    right.set_xticks([], minor=True)
    text = (
        f"{scale(runs)} of each m; bars: left, standard errors over grammars. Hollow: runs ended by their step limit."
    )
    note(figure, text)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="visible_tokens", measure=measure, conclude=conclude, draw=draw, shows="exponents")


if __name__ == "__main__":
    main()
