"""From the statistics of a text to its learning curve: alpha = gamma / (2 beta), against a measured one.

    python recipes/scaling_exponent/scaling_exponent.py --config recipes/scaling_exponent/shakespeare.yaml
    python recipes/scaling_exponent/scaling_exponent.py --draw docs/figures

Trains one model for every value of `num_train`, the first P characters of the text (finished runs are skipped, killed
ones resumed), and writes `scaling_exponent.png` and its tables: `scaling_exponent_learning_curve.csv` (the best
evaluation of every run), `_correlations.csv`, `_context_loss.csv` and `_exponents.csv`.
"""

from pathlib import Path

import numpy as np

from rhm_hf import load_metric, theory
from rhm_hf.ensembles import num_limited, scale
from rhm_hf.plots import INKS, curve, finish, ink, note, sheet
from rhm_hf.statistics import token_correlations
from rhm_hf.statistics.curves.decays import LAWS, fitted
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main
from rhm_hf.training.sweep import expand


OPTIONS = {"fit_max": 15, "max_distance": 64, "num_windows": 8192}
BETA_RANGES = ((1, 10), (1, 15), (2, 15), (5, 15))  # distances of the fits of beta
GAMMA_RANGES = ((1, 48), (1, 8), (2, 16), (4, 48))  # visible characters of the fits of gamma
TINY = {"fit_max": 4, "max_distance": 10, "num_windows": 64}


def measure(rows: list[dict], values: dict, fit_max: int, max_distance: int, num_windows: int) -> Tables:
    """Correlations and losses by context, and the exponents of all three curves."""
    runs = sorted(kept_runs(rows, values), key=lambda run: run["num_train"])
    corpus, best = runs[-1].corpus(), [run.row | {"data": run.data} for run in runs]
    correlations, beta, beta_interval = decay(corpus.splits["train"].ids, max_distance, fit_max)
    losses = load_metric("context_loss").compute(
        input_ids=corpus.splits["test"], model=runs[-1].model(), paired=True, num_windows=num_windows
    )
    names = ("context_lengths", "loss", "loss_stderr")
    context = [dict(zip(("n", *names[1:]), v, strict=True)) for v in zip(*(losses[k] for k in names), strict=True)]
    found = [("beta", beta, *beta_interval), ("alpha of L(P)", *slope(best, 0.0)), ("n_sat", losses["n_sat"], "", "")]
    if losses["gamma"] is None:
        print("no gamma: the losses of the largest run fall by no power of the context length; train it longer")
    else:
        found += exponents_of(losses, beta, beta_interval, best)
    return {
        "learning_curve": best,
        "correlations": correlations,
        "context_loss": context,
        "exponents": [
            {"quantity": name, "value": "" if value is None else value, "low": low, "high": high}
            for name, value, low, high in found
        ],
    }


def check(values: dict) -> None:
    """One curve is read here."""
    runs = expand(values)
    if len({(run.data.text, run.model.model_seed) for run in runs}) > 1 or runs[0].data.text is None or len(runs) < 2:
        raise ValueError("give one text, a corpus or a file, and several values of num_train: one curve is read here")


def exponents_of(losses: dict, beta: float, beta_interval: tuple[float, float], best: list[dict]) -> list[tuple]:
    """gamma and what follows from it; the ends of alpha take both intervals at their ends: wider than 95 %."""
    gamma, (low, high) = losses["gamma"], losses["gamma_interval"]
    ends = theory.language_exponent(low, beta_interval[1]), theory.language_exponent(high, beta_interval[0])
    return [
        ("gamma", gamma, low, high),
        ("alpha = gamma / (2 beta)", theory.language_exponent(gamma, beta), *ends),
        ("alpha of L(P) - L_inf", *slope(best, losses["loss_inf"])),
        ("L_inf of the context losses", losses["loss_inf"], "", ""),
    ]


def decay(ids: np.ndarray, max_distance: int, fit_max: int) -> tuple[list[dict], float, tuple[float, float]]:
    """Correlations of the training text, beta and its interval."""
    measured = token_correlations(ids, range(1, max_distance + 1), int(ids.max()) + 1)
    fit = measured.fit(1, fit_max)
    columns = (measured.distances, measured.correlation, measured.noise_floor, measured.signal)
    names = ("distance", "correlation", "noise_floor", "signal")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(c.tolist() for c in columns), strict=True)]
    return rows, fit.exponent, fit.interval


def slope(best: list[dict], asymptote: float) -> tuple:
    """alpha of L(P) - asymptote ~ P^-alpha by least squares, with two standard errors of the residuals either side."""
    losses = np.array([row["test_loss"] for row in best])
    if asymptote >= losses.min():
        return "", "", ""
    x, y = np.log([row["num_train"] for row in best]), np.log(losses - asymptote)
    if len(x) < 4:
        return -np.polyfit(x, y, 1)[0], -np.inf, np.inf
    (value, _), covariance = np.polyfit(x, y, 1, cov=True)
    error = 2 * np.sqrt(covariance[0, 0])
    return -value, -value - error, -value + error


def conclude(tables: Tables) -> Tables:
    """What each exponent becomes by choices that the data do not make: ranges of t and n, and L_inf."""
    rows = []
    t, signal = (
        np.array([row[name] for row in tables["correlations"]], dtype=float) for name in ("distance", "signal")
    )
    for first, last in BETA_RANGES:
        kept = (t >= first) & (t <= last) & (signal > 0)
        if kept.sum() > 2:
            value = -np.polyfit(np.log(t[kept]), np.log(signal[kept]) / 2, 1)[0]
            rows.append({"quantity": "beta", "choice": f"t = {first}..{last}", "value": float(value), "rms": ""})
    n, loss = (np.array([row[name] for row in tables["context_loss"]], dtype=float) for name in ("n", "loss"))
    for first, last in GAMMA_RANGES:
        kept = (n >= first) & (n <= last)
        for law in LAWS if kept.sum() > 3 else ():
            found = fitted(law, n[kept], loss[kept])
            rows += [{"quantity": law, "choice": f"n = {first}..{int(min(last, n.max()))}"} | row for row in found]
    best = min(row["test_loss"] for row in tables["learning_curve"])
    for below in (0.05, 0.1, 0.2, 0.5, best):
        value, _, _ = slope(tables["learning_curve"], best - below)
        rows.append({"quantity": "alpha", "choice": f"L_inf = {best - below:.2f}", "value": value, "rms": ""})
        rows[-1]["step_limited"] = num_limited(tables["learning_curve"])  # whose losses are upper bounds
    return {"choices": rows}


def draw(tables: Tables, path: Path) -> None:
    """Correlations, losses by context and by P, and what the three exponents become by choices of range and limit."""
    figure, axes = sheet(4, height=2.9)
    draw_correlations(axes[0], tables["correlations"])
    draw_contexts(axes[1], tables)
    best = tables["learning_curve"]
    curve(axes[2], best, "num_train", "test_loss", label="L(P)")
    for i, below in enumerate((0.5, 0.2, 0.05), start=1):
        low = min(row["test_loss"] for row in best) - below
        rows = [row | {"above": row["test_loss"] - low} for row in best]
        curve(axes[2], rows, "num_train", "above", i, f"L - {low:.2f}")
    labels = {"xlabel": "training characters P", "ylabel": "nats per character"}
    finish(axes[2], "Learning curve", "lines", xscale="log", yscale="log", **labels)
    draw_choices(axes[3], tables["choices"])
    note(
        figure,
        f"One text, {scale(best, ['model_seed'])} at every P: there are no errors over seeds or texts",
    )
    figure.savefig(path)


def draw_correlations(ax, rows: list[dict]) -> None:
    t = [row["distance"] for row in rows]
    seen = [row for row in rows if row["signal"] > 0]
    ax.plot(
        [r["distance"] for r in seen], [r["signal"] ** 0.5 for r in seen], linestyle="none", **ink(0), markersize=2.5
    )
    ax.plot(t, [row["noise_floor"] for row in rows], ":", color="0.4", label="noise floor")
    labels = {"xlabel": "distance t (characters)", "ylabel": r"correlation $\tilde{C}(t)$, noise removed"}
    finish(ax, "Correlations", xscale="log", yscale="log", **labels)


def draw_contexts(ax, tables: Tables) -> None:
    """Losses by visible characters, with both laws over all of them."""
    seen = [row for row in tables["context_loss"] if row["n"] > 0]
    style = {**ink(0), "markersize": 3.5, "capsize": 1.5, "linestyle": "none"}
    ax.errorbar([r["n"] for r in seen], [r["loss"] for r in seen], [r["loss_stderr"] for r in seen], **style)
    n = np.geomspace(1, max(row["n"] for row in seen), 100)
    for i, (law, line) in enumerate((("gamma", "-"), ("rate of an exponential", "--")), start=1):
        for fit in [row for row in tables["choices"] if row["quantity"] == law][:1]:
            label = f"{'power law' if i == 1 else 'exponential'}, rms {fit['rms']:.3f}"
            ax.plot(
                n,
                LAWS[law](n, fit["limit"], fit["height"], fit["value"]),
                line,
                color=INKS[i],
                linewidth=1,
                label=label,
            )
    labels = {"xlabel": "visible characters n", "ylabel": "loss of the largest model (nats)"}
    finish(ax, "What contexts tell", xscale="log", **labels)


def draw_choices(ax, rows: list[dict]) -> None:
    """A point for every choice that the data leave open."""
    shown = [row for row in rows if row["quantity"] in ("beta", "gamma", "alpha") and row["value"] != ""]
    kinds = list(dict.fromkeys(row["quantity"] for row in shown))
    for place, row in enumerate(shown):
        ax.plot(row["value"], place, linestyle="none", **ink(kinds.index(row["quantity"])), markersize=4)
    limit = r"$L_\infty$"
    names = {"beta": r"$\beta$", "gamma": r"$\gamma$", "alpha": r"$\alpha$"}
    ax.set_yticks(
        range(len(shown)),
        [f"{names[row['quantity']]}, {row['choice'].replace('L_inf', limit)}" for row in shown],
    )
    ax.invert_yaxis()
    finish(ax, "Exponents by choices of range and limit", xlabel="exponent", xlim=(0, None))
    ax.tick_params(axis="y", labelsize=6)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="scaling_exponent",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        shows="exponents",
        tiny=TINY,
        check=check,
    )


if __name__ == "__main__":
    main()
