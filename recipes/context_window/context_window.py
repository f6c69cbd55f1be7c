"""Models that see t tokens only: where each curve saturates, and whether all are one curve, L = t^(-αz) F(P / t^z).

    python recipes/context_window/context_window.py --config recipes/context_window/cpu.yaml [--text FILE]
    python recipes/context_window/context_window.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `context_window.png` and its tables:
`context_window_runs.csv` (the best evaluation of every run), `_ngrams.csv` (counting the same t + 1 tokens),
`_plateaus.csv` (exact, of the grammars) and `_exponents.csv` (collapses, fitted and expected).
"""

import sys
from pathlib import Path

import numpy as np
import torch

from rhm_hf import Grammar, NGramForCausalLM, theory
from rhm_hf.inference import position_entropies
from rhm_hf.judging.bare import evaluating
from rhm_hf.judging.loading import load_model
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import collapse_quality, fit_collapse, token_correlations
from rhm_hf.tasks import LastToken
from rhm_hf.training.data import load_text
from rhm_hf.training.recipe import Tables, best_runs, data_name, recipe_main
from rhm_hf.training.results import versions


OPTIONS = {"num_targets": 16_384, "fit_max": 15, "ngram_max": 7}  # of a text: judged; of β; the longest n-gram's t
BLOCKS = 16  # of the held-out text: what the intervals of its collapse resample
Z_RANGE = (0.25, 10.0)  # where z is sought
KEPT = ("model", "data", "num_train", "rules_seed", "sample_seed", "model_seed", "step", "epoch", "seconds")


def measure(rows: list[dict], values: dict, num_targets: int, fit_max: int, ngram_max: int) -> Tables:
    """Losses of all runs, counting learners beside them, and the exponents of both collapses."""
    tables: Tables = {"runs": [], "plateaus": [], "ngrams": [], "exponents": []}
    texts: dict[str, list] = {}
    for row, run in best_runs(rows, values):
        if run.data.text is None:
            kept = {"t": visible(run), "loss": row["kl"] + row["entropy"], "loss_stderr": row["kl_stderr"]}
            tables["runs"].append(described(row, run, kept))
        else:
            texts.setdefault(run.data.text, []).append((row, run))
    curves = sentence_curves(tables["runs"])
    for data, seed in sorted({(row["data"], row["rules_seed"]) for row in tables["runs"]}):
        mine = [row for row in tables["runs"] if (row["data"], row["rules_seed"]) == (data, seed)]
        measure_grammar(tables, Grammar.from_name(data, rules_seed=seed), mine)
    for data, (table, z) in curves.items():
        tables["exponents"] += exponents(data, table, z)
    for text, of_text in texts.items():
        measure_text(tables, text, of_text, num_targets, fit_max, ngram_max)
    return tables


def visible(run) -> int:
    """t: of a text all that a window holds; of sentences what is asked for, or all but the last."""
    if run.data.text is not None:
        return run.data.context_length
    length = Grammar.from_name(run.data.grammar).sentence_length
    return length - 1 if run.training.visible_tokens is None else run.training.visible_tokens


def described(row: dict, run, found: dict) -> dict:
    """A row of the table: no paths, and whether it was the steps that ended the run rather than overfitting."""
    kept = {name: row[name] for name in KEPT} | {"data": data_name(run)}
    return kept | found | {"steps_limit": int(row["step"] == run.training.max_steps)} | {n: row[n] for n in versions()}


# Sentences of a grammar.


def sentence_curves(rows: list[dict]) -> dict:
    """Of each ensemble, t to sizes `(sizes,)` and losses `(grammars, sizes)`; and z = 2β."""
    curves: dict = {}
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        seeds = sorted({row["rules_seed"] for row in mine})
        table = {}
        for t in sorted({row["t"] for row in mine}):
            losses = {(r["rules_seed"], r["num_train"]): r["loss"] for r in mine if r["t"] == t}
            sizes = sorted({size for _, size in losses})
            table[t] = np.array(sizes), np.array([[losses[seed, size] for size in sizes] for seed in seeds])
        curves[data] = table, theory.dynamic_exponent(Grammar.from_name(data).parameters)
    return curves


def measure_grammar(tables: Tables, grammar: Grammar, rows: list[dict]) -> None:
    """The exact plateaus of one grammar, and n-grams of the same sentences judged in the same way."""
    names = {"data": grammar.name, "rules_seed": grammar.parameters.rules_seed}
    for level in range(grammar.depth + 1):
        exact = float(position_entropies(grammar, level)[-1])
        tables["plateaus"].append({**names, "t": grammar.block_length(level) - 1, "level": level, "loss": exact})
    for t in sorted({row["t"] for row in rows}):
        task = LastToken(grammar.vocab_size, grammar.sentence_length, grammar, "AutoModelForCausalLM", 2048, t)
        for size in sorted({row["num_train"] for row in rows if row["t"] == t}):
            tokens = grammar.sample(size)[:, -(t + 1) :]
            found = task.judge(NGramForCausalLM.fit(tokens, order=t + 1, num_symbols=grammar.vocab_size))
            row = {**names, "t": t, "num_train": size, "loss": found["kl"] + found["entropy"]}
            tables["ngrams"].append(row)


# Characters.


def measure_text(tables: Tables, text: str, of_text: list, num_targets: int, fit_max: int, ngram_max: int) -> None:
    """All models on the same held-out characters, n-grams beside them, and z = 2β from the training text."""
    runs = [run for _, run in of_text]
    corpus = load_text(max(runs, key=lambda run: run.data.num_train).data)
    ids, v = corpus.splits["train"].ids, corpus.num_symbols
    rows = held_out(corpus.splits["test"], max(visible(run) for run in runs), num_targets)
    losses = {}
    for row, run in of_text:
        model = load_model(str(Path(run.training.output_dir) / "model"))
        t, masked = visible(run), type(model).__name__.endswith("ForMaskedLM")
        kind = "AutoModelForMaskedLM" if masked else "AutoModelForCausalLM"
        each = target_losses(model, LastToken(v, t + 1, None, kind), rows)
        blocks = np.array([block.mean() for block in np.array_split(each, BLOCKS)])
        losses[t, row["num_train"]] = blocks
        error = float(blocks.std(ddof=1) / np.sqrt(BLOCKS))
        tables["runs"].append(described(row, run, {"t": t, "loss": float(each.mean()), "loss_stderr": error}))
    for t in sorted({t for t, _ in losses}):
        for size in sorted({size for own, size in losses if own == t and t <= ngram_max}):
            model = NGramForCausalLM.fit(ids[:size], order=t + 1, num_symbols=v, tied=True)
            each = target_losses(model, LastToken(v, t + 1, None, "AutoModelForCausalLM"), rows)
            row = {"data": data_name(runs[0]), "rules_seed": 0, "t": t, "num_train": size, "loss": float(each.mean())}
            tables["ngrams"].append(row)
    table = {}
    for t in sorted({t for t, _ in losses}):
        sizes = sorted(size for own, size in losses if own == t)
        table[t] = np.array(sizes), np.array([losses[t, size] for size in sizes]).T
    beta = token_correlations(ids, range(1, fit_max + 1), v).fit(1, fit_max).exponent
    tables["exponents"] += exponents(data_name(runs[0]), table, 2 * beta)


def held_out(text, longest: int, count: int) -> torch.Tensor:
    """Windows `(count, longest + 1)` from all over a text, in its order: the same targets for every t."""
    starts = text.window_starts(longest + 1, 1)
    starts = starts[np.arange(min(count, len(starts))) * len(starts) // min(count, len(starts))]
    return torch.from_numpy(text.ids[starts[:, None] + np.arange(longest + 1)].astype(np.int64))


@torch.no_grad()
def target_losses(model, task: LastToken, rows: torch.Tensor) -> np.ndarray:
    """Cross-entropy of every target, nats `(rows,)`."""
    with evaluating(model):
        parts = [task.predictions(model, task.collate(chunk)) for chunk in rows.split(1024)]
    return torch.cat([torch.nn.functional.cross_entropy(*part, reduction="none") for part in parts]).double().numpy()


# The collapse.


def exponents(data: str, table: dict, z: float) -> list[dict]:
    """Fitted to all curves, to all but one, and at z = 2β; with t and with t + 1, the block, as the length."""
    rows = []
    for scale, shift in (("t", 0), ("t + 1", 1)):
        fitted = {"all": list(table)}
        if len(table) > 2:
            fitted |= {f"without {t}": [u for u in table if u != t] for t in table}
        for name, kept in fitted.items():
            curves, lengths = [table[t] for t in kept], [t + shift for t in kept]
            common = {"data": data, "scale": scale, "curves": name, "z_expected": z}
            try:
                fit = fit_collapse(curves, lengths, Z_RANGE)
            except ValueError as error:  # too few curves, or ones that no z brings together
                print(f"{data}, {scale}, {name}: no collapse: {error}")
                continue
            rows.append(
                common | collapse_row(fit.x_exponent, fit.x_interval, fit.y_exponent, fit.y_interval, fit.collapse)
            )
        lengths = np.array(list(table), dtype=float) + shift
        y = best_y_exponent(list(table.values()), lengths, z)
        if y is not None:
            found = collapse_quality(list(table.values()), lengths**z, lengths**y)
            nothing = (-np.inf, np.inf)
            common = {"data": data, "scale": scale, "curves": "z expected", "z_expected": z}
            rows.append(common | collapse_row(z, (z, z), y, nothing, found))
    return rows


def collapse_row(z: float, z_interval, y: float, y_interval, quality) -> dict:
    return {
        "z": z,
        "z_low": z_interval[0],
        "z_high": z_interval[1],
        "alpha_z": -y,
        "alpha_z_low": -y_interval[1],
        "alpha_z_high": -y_interval[0],
        "alpha": -y / z,
        "residual": quality.residual,
        "residual_unscaled": quality.residual_unscaled,
        "ratio": quality.ratio,
        "compared": quality.num_compared,
    }


def best_y_exponent(curves: list, lengths: np.ndarray, z: float) -> float | None:
    """b of t^b at a given z: the residual is a parabola in b, known from three of its points."""
    try:
        low, middle, high = (collapse_quality(curves, lengths**z, lengths**b).residual for b in (-1.0, 0.0, 1.0))
    except ValueError:  # the curves share no rescaled P
        return None
    bend = (low + high) / 2 - middle
    return (low - high) / (4 * bend) if bend > 0 else None


# The figure.


def draw(tables: Tables, path: Path) -> None:
    """A row of panels for sentences and one for each text: loss against P for every t, and the same rescaled."""
    from matplotlib.ticker import LogLocator

    names = list(dict.fromkeys(row["data"] for row in tables["runs"]))
    figure, panels = new_figure(2, width=5.2, height=4.0, rows=len(names))
    for name, (left, right) in zip(names, np.reshape(panels, (-1, 2)), strict=True):
        of = {key: [row for row in rows if row["data"] == name] for key, rows in tables.items()}
        draw_curves(left, name, of)
        draw_collapse(right, name, of)
        for ax in (left, right):
            if ax.get_yscale() == "log":  # losses span little more than a decade
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    figure.savefig(path)


def draw_curves(ax, name: str, of: Tables) -> None:
    lengths = sorted({row["t"] for row in of["runs"]})
    for i, t in enumerate(lengths):
        rows, shade = [row for row in of["runs"] if row["t"] == t], colour(i, len(lengths))
        sizes, losses, errors = averages(rows, "num_train", "loss")
        if len({row["rules_seed"] for row in rows}) == 1:
            errors = averages(rows, "num_train", "loss_stderr")[1]
        ax.errorbar(sizes, losses, errors, color=shade, capsize=2, linewidth=1.2, label=f"t = {t}")
        limited = averages(rows, "num_train", "steps_limit")[1]
        for size, loss, share in zip(sizes, losses, limited, strict=True):
            ax.plot(size, loss, "o", color=shade, markersize=5, markerfacecolor="white" if share > 0.5 else shade)
        if counted := [row for row in of["ngrams"] if row["t"] == t]:
            ax.plot(*averages(counted, "num_train", "loss")[:2], ":", color=shade, linewidth=1)
    top = max(row["loss"] for row in of["runs"])
    for t, loss in zip(*averages(of["plateaus"], "t", "loss")[:2], strict=True):
        if t in lengths:
            ax.axhline(loss, color="black", linestyle="--", linewidth=0.8)
            ax.text(
                1, loss, f"exact, t = {t}", fontsize=7, va="bottom", ha="right", transform=ax.get_yaxis_transform()
            )
    ax.plot([], [], ":", color="0.4", label="n-gram of t + 1 tokens")
    ax.plot([], [], "o", color="0.4", markerfacecolor="white", label="ended by the number of steps")
    unit = "sentences" if of["plateaus"] else "characters"
    ax.set_ylim(top=1.25 * top)
    finish(ax, name, xscale="log", yscale="log", xlabel=f"training {unit} P", ylabel="loss at the last token (nats)")


def draw_collapse(ax, name: str, of: Tables) -> None:
    scale = "t + 1" if of["plateaus"] else "t"  # a grammar's steps are at blocks of t + 1 = s^level tokens
    fits = [row for row in of["exponents"] if row["scale"] == scale and row["curves"] in ("all", "z expected")]
    if not fits:
        finish(ax, f"{name}: no exponents bring the curves together")
        return
    fit, shift = fits[0], int(scale == "t + 1")
    lengths = sorted({row["t"] for row in of["runs"]})
    for i, t in enumerate(lengths):
        sizes, losses, _ = averages([row for row in of["runs"] if row["t"] == t], "num_train", "loss")
        length = t + shift
        x, y = np.array(sizes) / length ** fit["z"], np.array(losses) * length ** fit["alpha_z"]
        ax.plot(x, y, "o-", color=colour(i, len(lengths)), markersize=4, linewidth=1, label=f"t = {t}")
    interval = (
        f" [{fit['z_low']:.2f}, {fit['z_high']:.2f}]" if np.isfinite([fit["z_low"], fit["z_high"]]).all() else ""
    )
    title = f"{name}: z = {fit['z']:.2f}{interval}, 2β = {fit['z_expected']:.2f}; residual × {fit['ratio']:.2g}"
    length = "t" if scale == "t" else "(t+1)"
    finish(
        ax,
        title,
        xscale="log",
        yscale="log",
        xlabel=f"$P / {length}^z$",
        ylabel=rf"loss $\times\ {length}^{{\alpha z}}$, $\alpha z$ = {fit['alpha_z']:.2f}",
    )


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="context_window", measure=measure, draw=draw, options=OPTIONS)
