"""From the statistics of a text to its learning curve: alpha = gamma / (2 beta), against a measured one.

    python recipes/scaling_exponent/scaling_exponent.py --config recipes/scaling_exponent/shakespeare.yaml

Trains one model for every value of `num_train`, the first P characters of the text (finished runs are skipped, killed
ones resumed), and writes into `output_dir`: `results.csv` (all evaluations), `scaling_exponent.png` and what it shows,
`correlations.csv`, `context_loss.csv`, `learning_curve.csv` and `exponents.csv`.
"""

import sys
from pathlib import Path

import numpy as np

from rhm_hf import load_metric, theory
from rhm_hf.statistics import token_correlations
from rhm_hf.training.arguments import parse_sweep
from rhm_hf.training.data import load_text
from rhm_hf.training.results import best_rows, write_csv
from rhm_hf.training.sweep import expand, sweep


OPTIONS = {"num_workers": 1, "fit_max": 15, "max_distance": 64, "num_windows": 8192}


def main(argv: list[str] | None = None) -> None:
    """Trains, measures, prints, draws."""
    values = parse_sweep(argv, extra=list(OPTIONS))
    options = {name: values.pop(name, default) for name, default in OPTIONS.items()}
    if values.get("text") is None or [k for k, v in values.items() if isinstance(v, list)] != ["num_train"]:
        raise ValueError("give text, a corpus or a file, and several values of num_train; nothing else may be listed")
    runs = expand(values)
    folder = Path(runs[0].training.output_dir).parent
    rows = sweep(values, options["num_workers"])
    best = sorted(best_rows(rows), key=lambda row: row["num_train"])
    largest = max(runs, key=lambda run: run.data.num_train)
    corpus = load_text(largest.data)
    correlations, beta, beta_interval = decay(corpus.splits["train"].ids, options["max_distance"], options["fit_max"])
    losses = load_metric("context_loss").compute(
        input_ids=corpus.splits["test"],
        model=str(Path(largest.training.output_dir) / "model"),
        paired=True,
        num_windows=options["num_windows"],
    )
    if losses["gamma"] is None:
        raise ValueError(
            f"no gamma: the losses {losses['loss']} of the largest run fall by no power of the context length; train "
            "it longer, on more text"
        )
    low, high = losses["gamma_interval"]
    found = [
        ("beta", beta, *beta_interval),
        ("gamma", losses["gamma"], low, high),
        # The ends take both intervals at their ends: wider than 95 %.
        (
            "alpha = gamma / (2 beta)",
            theory.language_exponent(losses["gamma"], beta),
            theory.language_exponent(low, beta_interval[1]),
            theory.language_exponent(high, beta_interval[0]),
        ),
        ("alpha of L(P)", *slope(best, 0.0)),
        ("alpha of L(P) - L_inf", *slope(best, losses["loss_inf"])),
        ("L_inf of the context losses", losses["loss_inf"], np.nan, np.nan),
        ("n_sat", losses["n_sat"], np.nan, np.nan),
    ]
    write_csv(folder / "correlations.csv", correlations)
    names = ("context_lengths", "loss", "loss_stderr")
    context = [dict(zip(("n", *names[1:]), v, strict=True)) for v in zip(*(losses[k] for k in names), strict=True)]
    write_csv(folder / "context_loss.csv", context)
    write_csv(folder / "learning_curve.csv", best)
    exponents = [
        {"quantity": name, "value": value, "low": "" if np.isnan(lo) else lo, "high": "" if np.isnan(hi) else hi}
        for name, value, lo, hi in found
    ]
    write_csv(folder / "exponents.csv", exponents)
    draw(correlations, context, best, {name: value for name, value, *_ in found}, folder / "scaling_exponent.png")
    for row in best:
        print(f"P = {row['num_train']:>9}  test loss {row['test_loss']:.4f}  at step {row['step']}")
    for name, value, lo, hi in found:
        print(f"{name:>28} = {value:.3f}" + ("" if np.isnan(lo) else f"  [{lo:.3f}, {hi:.3f}]"))


def decay(ids: np.ndarray, max_distance: int, fit_max: int) -> tuple[list[dict], float, tuple[float, float]]:
    """Correlations of the training text, beta and its interval."""
    measured = token_correlations(ids, range(1, max_distance + 1), int(ids.max()) + 1)
    fit = measured.fit(1, fit_max)
    columns = (measured.distances, measured.correlation, measured.noise_floor, measured.signal)
    names = ("distance", "correlation", "noise_floor", "signal")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(c.tolist() for c in columns), strict=True)]
    return rows, fit.exponent, fit.interval


def slope(best: list[dict], asymptote: float) -> tuple[float, float, float]:
    """alpha of L(P) - asymptote ~ P^-alpha by least squares, with two standard errors of the residuals either side."""
    x = np.log([row["num_train"] for row in best])
    y = np.log(np.array([row["test_loss"] for row in best]) - asymptote)
    if len(x) < 4:
        value = -np.polyfit(x, y, 1)[0]
        return value, -np.inf, np.inf
    (value, _), covariance = np.polyfit(x, y, 1, cov=True)
    error = 2 * np.sqrt(covariance[0, 0])
    return -value, -value - error, -value + error


def draw(correlations, context, best, exponents: dict, path: Path) -> None:
    """beta, gamma and alpha, a panel each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(12.6, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    t = np.array([row["distance"] for row in correlations])
    left.plot(t, [row["correlation"] for row in correlations], "o", markersize=3)
    left.plot(t, [row["noise_floor"] for row in correlations], ":", color="0.4", label="noise floor")
    beta = exponents["beta"]
    left.plot(
        t, correlations[2]["correlation"] * (t / t[2]) ** -beta, "k--", label=rf"$t^{{-\beta}}$, $\beta$ = {beta:.2f}"
    )
    left.set(xlabel="distance t (characters)", ylabel=r"correlation $\tilde{C}(t)$")
    floor, gamma = exponents["L_inf of the context losses"], exponents["gamma"]
    seen = [row for row in context if row["n"] > 0]
    n, loss = np.array([row["n"] for row in seen]), np.array([row["loss"] for row in seen])
    middle.errorbar(n, loss - floor, [row["loss_stderr"] for row in seen], fmt="o", markersize=4)
    scale = np.exp(np.mean(np.log(loss - floor) + gamma * np.log(n)))
    middle.plot(n, scale * n**-gamma, "k--", label=rf"$n^{{-\gamma}}$, $\gamma$ = {gamma:.2f}")
    middle.set(xlabel="visible characters n", ylabel=rf"$L_n - L_\infty$ (nats), $L_\infty$ = {floor:.2f}")
    sizes, losses = np.array([r["num_train"] for r in best]), np.array([r["test_loss"] for r in best])
    power_law(right, sizes, losses, exponents["alpha of L(P)"], "C1", "test loss L(P)")
    power_law(right, sizes, losses - floor, exponents["alpha of L(P) - L_inf"], "C0", r"$L(P) - L_\infty$")
    predicted = exponents["alpha = gamma / (2 beta)"]
    scale = np.exp(np.mean(np.log(losses - floor) + predicted * np.log(sizes)))
    right.plot(sizes, scale * sizes**-predicted, "k--", label=rf"$\gamma / 2\beta$ = {predicted:.2f}")
    right.set(xlabel="training characters P", ylabel="nats per character")
    for ax in (left, middle, right):
        ax.set(xscale="log", yscale="log")
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in (middle, right):
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    figure.savefig(path)


def power_law(ax, sizes: np.ndarray, values: np.ndarray, alpha: float, colour: str, label: str) -> None:
    """Measured values and the line of their fitted exponent."""
    ax.plot(sizes, values, "o-", color=colour, label=rf"{label}, fit $\alpha$ = {alpha:.3f}")
    scale = np.exp(np.mean(np.log(values) + alpha * np.log(sizes)))
    ax.plot(sizes, scale * sizes**-alpha, ":", color=colour)


if __name__ == "__main__":
    main(sys.argv[1:])
