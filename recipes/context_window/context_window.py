"""Models that see t tokens only: where each curve saturates, and whether all are one curve, L = t^(-αz) F(P / t^z).

    python recipes/context_window/context_window.py --config recipes/context_window/cpu.yaml [--text FILE]
    python recipes/context_window/context_window.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `context_window.png` and its tables:
`context_window_runs.csv` (the best evaluation of every run), `_ngrams.csv` (counting the same t + 1 tokens),
`_plateaus.csv` (exact, of the grammars), `_exponents.csv` (collapses, fitted and expected) and `_scans.csv` (how well
they collapse at every z); of texts also `_betas.csv` and `_blocks.csv` (losses by part of the held-out text).
"""

from pathlib import Path

import numpy as np
import torch

from rhm_hf import Grammar, NGramForCausalLM, theory
from rhm_hf.ensembles import averages, distinct, ensemble, group, num_limited, scale, where
from rhm_hf.inference import last_token_plateaus
from rhm_hf.judging.bare import evaluating
from rhm_hf.plots import INKS, colour, curve, finish, ink, level_line, note, sheet
from rhm_hf.statistics import collapse_quality, fit_collapse, token_correlations
from rhm_hf.tasks import LastToken
from rhm_hf.training.model_building import auto_class_for
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


OPTIONS = {"num_targets": 16_384, "fit_max": 15, "ngram_max": 7}  # of a text: judged; of β; the longest n-gram's t
TINY = {"num_targets": 320, "fit_max": 4, "ngram_max": 3}
BLOCKS = 16  # of the held-out text: what the intervals of its collapse resample
KEYS = ("rules_seed", "model_seed")
Z_RANGE = (0.25, 10.0)  # where z is sought
KEPT = ("model", "data", "num_train", "rules_seed", "sample_seed", "model_seed", "step", "epoch", "seconds")


def measure(rows: list[dict], values: dict, num_targets: int, fit_max: int, ngram_max: int) -> Tables:
    """Losses of all runs, and counting learners beside them."""
    tables: Tables = {"runs": [], "plateaus": [], "ngrams": [], "betas": [], "blocks": []}
    texts: dict[str, list[KeptRun]] = {}
    for run in kept_runs(rows, values):
        if run.arguments.data.text is None:
            kept = {"t": visible(run), "loss": run["kl"] + run["entropy"], "loss_stderr": run["kl_stderr"]}
            tables["runs"].append(described(run, kept))
        else:
            texts.setdefault(run.arguments.data.text, []).append(run)
    for (data, seed), mine in sorted(group(tables["runs"], "data", "rules_seed").items()):
        measure_grammar(tables, Grammar.from_name(data, rules_seed=seed), mine)
    for of_text in texts.values():
        measure_text(tables, of_text, num_targets, fit_max, ngram_max)
    return tables


def visible(run: KeptRun) -> int:
    """t: of a text all that a window holds; of sentences what is asked for, or all but the last."""
    if run.arguments.data.text is not None:
        return run.arguments.data.context_length
    given = run.arguments.training.visible_tokens
    return run.grammar().sentence_length - 1 if given is None else given


def described(run: KeptRun, found: dict) -> dict:
    """A row of the table: no paths, and whether it was the steps that ended the run rather than overfitting."""
    return run.keys(*KEPT) | found | {"steps_limit": int(run.stopped_by_steps)} | run.keys(*versions())


# Sentences of a grammar.


def measure_grammar(tables: Tables, grammar: Grammar, rows: list[dict]) -> None:
    """The exact plateaus of one grammar, and n-grams of the same sentences judged in the same way."""
    names = {"data": grammar.name, "rules_seed": grammar.parameters.rules_seed}
    for level, exact in enumerate(last_token_plateaus(grammar)):
        tables["plateaus"].append({**names, "t": grammar.block_length(level) - 1, "level": level, "loss": exact})
    for t in sorted({row["t"] for row in rows}):
        task = LastToken(grammar.vocab_size, grammar.sentence_length, grammar, "AutoModelForCausalLM", 2048, t)
        for size in sorted({row["num_train"] for row in rows if row["t"] == t}):
            tokens = grammar.sample(size)[:, -(t + 1) :]
            found = task.judge(NGramForCausalLM.fit(tokens, order=t + 1, num_symbols=grammar.vocab_size))
            row = {**names, "t": t, "num_train": size, "loss": found["kl"] + found["entropy"]}
            tables["ngrams"].append(row)


# Characters.


def measure_text(tables: Tables, runs: list[KeptRun], num_targets: int, fit_max: int, ngram_max: int) -> None:
    """All models on the same held-out characters, n-grams beside them, and z = 2β from the training text."""
    corpus = max(runs, key=lambda run: run["num_train"]).corpus()
    ids, v = corpus.splits["train"].ids, corpus.num_symbols
    rows = held_out(corpus.splits["test"], max(visible(run) for run in runs), num_targets)
    losses = {}
    for run in runs:
        t, kind = visible(run), auto_class_for(run.arguments.model.model_type, LastToken.auto_classes)
        each = target_losses(run.model(), LastToken(v, t + 1, None, kind), rows)
        blocks = np.array([block.mean() for block in np.array_split(each, BLOCKS)])
        losses[t, run["num_train"]] = blocks
        error = float(blocks.std(ddof=1) / np.sqrt(BLOCKS))
        tables["runs"].append(described(run, {"t": t, "loss": float(each.mean()), "loss_stderr": error}))
    for t in sorted({t for t, _ in losses}):
        for size in sorted({size for own, size in losses if own == t and t <= ngram_max}):
            model = NGramForCausalLM.fit(ids[:size], order=t + 1, num_symbols=v, tied=True)
            each = target_losses(model, LastToken(v, t + 1, None, "AutoModelForCausalLM"), rows)
            row = {"data": runs[0].data, "rules_seed": 0, "t": t, "num_train": size, "loss": float(each.mean())}
            tables["ngrams"].append(row)
    for (t, size), blocks in losses.items():
        names = {"data": runs[0].data, "t": t, "num_train": size}
        tables["blocks"] += [names | {"block": block, "loss": float(loss)} for block, loss in enumerate(blocks)]
    beta = token_correlations(ids, range(1, fit_max + 1), v).fit(1, fit_max).exponent
    tables["betas"].append({"data": runs[0].data, "t_max": fit_max, "beta": beta})


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


def conclude(tables: Tables) -> Tables:
    """The exponents of both collapses, and how well every z does."""
    found: Tables = {"exponents": [], "scans": []}
    for data, rows in group(tables["runs"], "data").items():
        blocks = where(tables.get("blocks", []), data=data)  # the replicates of a text
        curves = {}
        for t in sorted(distinct(rows, "t")):
            table = (where(blocks, t=t), "block") if blocks else (where(rows, t=t), "rules_seed")
            curves[t] = ensemble(table[0], "num_train", "loss", over=table[1], step_limited="keep")
        curves = {t: curve for t, curve in curves.items() if len(curve[0]) > 1}
        betas = where(tables.get("betas", []), data=data)
        z = 2 * betas[0]["beta"] if betas else theory.dynamic_exponent(Grammar.from_name(data).parameters)
        limited = num_limited(rows)
        for name, length in (("t", 0), ("t + 1", 1)):
            common = {"data": data, "scale": name, "z_expected": z, "steps_limited": limited}
            exponents, scan = collapses(curves, length, z)
            found["exponents"] += [common | row for row in exponents]
            found["scans"] += [{"data": data, "scale": name} | row for row in scan]
    return found


def collapses(curves: dict, shift: int, z: float) -> tuple[list[dict], list[dict]]:
    """Fitted to all curves and at z = 2β, with t or t + 1, the block, as the length; and the residual at every z."""
    rows, scan, lengths = [], [], np.array(list(curves), dtype=float) + shift
    try:
        fit = fit_collapse(list(curves.values()), lengths, Z_RANGE)
    except ValueError as error:  # too few curves, or ones that no z brings together
        print(f"lengths {lengths.tolist()}: no collapse: {error}")
    else:
        rows.append({"curves": "all", "pinned": int(fit.pinned)} | collapse_row(
            fit.x_exponent, fit.x_interval, fit.y_exponent, fit.y_interval, fit.collapse
        ))  # fmt: skip
        for t, (own, _) in zip(curves, fit.leave_one_out, strict=True):
            rows.append({"curves": f"without {t}", "z": float(own)})
        columns = (fit.scan.exponents, fit.scan.residuals, fit.scan.overlaps)
        scan = [
            dict(zip(("z", "residual", "overlap"), map(float, v), strict=True)) for v in zip(*columns, strict=True)
        ]
    y = best_y_exponent(list(curves.values()), lengths, z) if len(curves) > 1 else None
    if y is not None:
        found = collapse_quality(list(curves.values()), lengths**z, lengths**y)
        rows.append({"curves": "z expected"} | collapse_row(z, (z, z), y, (-np.inf, np.inf), found))
    return rows, scan


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
    """Of sentences and of each text: loss against P for every t, the same rescaled, and the residual at every z."""
    from matplotlib.ticker import LogLocator

    names = distinct(tables["runs"], "data")
    figure, axes = sheet(3 * len(names), height=2.9)
    notes = []
    for k, name in enumerate(names):
        of = {key: where(rows, data=name) for key, rows in tables.items()}
        draw_curves(axes[3 * k], name, of)
        draw_collapse(axes[3 * k + 1], name, of)
        draw_scan(axes[3 * k + 2], name, of)
        notes.append(f"{name}: {scale(of['runs'], KEYS if of['plateaus'] else ['model_seed'])}")
        for ax in axes[3 * k : 3 * k + 2]:
            if ax.get_yscale() == "log":  # losses span little more than a decade
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    text = (
        "; ".join(notes)
        + ". Dotted: n-grams of t + 1 tokens; hollow: ended by the number of steps; dashed: exact, 2β."
    )
    note(figure, text)
    figure.savefig(path)


def draw_scan(ax, name: str, of: Tables) -> None:
    """How well the curves collapse at every z: thin where little overlap is left, so that it does not count."""
    for i, length in enumerate(("t", "t + 1")):
        rows = [row for row in where(of["scans"], scale=length) if np.isfinite(row["residual"])]
        counted = [row for row in rows if row["overlap"] >= 0.5]
        ax.plot([r["z"] for r in rows], [r["residual"] for r in rows], "-", color=INKS[i], linewidth=0.5)
        ax.plot(
            [r["z"] for r in counted], [r["residual"] for r in counted], color=INKS[i], linewidth=1.6, label=length
        )
        for fit in where(of["exponents"], scale=length, curves="all"):
            if np.isfinite(fit["z"]):
                ax.axvline(fit["z"], color=INKS[i], linestyle="-", linewidth=0.6)
        for fit in where(of["exponents"], scale=length)[:1]:
            ax.axvline(fit["z_expected"], color="black", linestyle="--", linewidth=0.7)
    low = min((r["residual"] for r in of["scans"] if r["overlap"] >= 0.25 and r["residual"] > 0), default=None)
    # Nothing positive, nothing to take the logarithm of.
    limits = {} if low is None else {"yscale": "log", "ylim": (low / 3, None)}
    finish(ax, f"{name}: does z collapse them?", xlabel="z", ylabel="distance of ln loss, squared", **limits)


def draw_curves(ax, name: str, of: Tables) -> None:
    lengths = sorted(distinct(of["runs"], "t"))
    for i, t in enumerate(lengths):
        rows = where(of["runs"], t=t)
        errors = "loss_stderr" if len(distinct(rows, "rules_seed")) == 1 else None
        curve(ax, rows, "num_train", "loss", i, f"t = {t}", of=len(lengths), errors=errors)
        if counted := where(of["ngrams"], t=t):
            ax.plot(*averages(counted, "num_train", "loss")[:2], ":", color=colour(i, len(lengths)), linewidth=1)
    for t, loss in zip(*averages(of["plateaus"], "t", "loss")[:2], strict=True):
        if t in lengths:
            level_line(ax, loss, f"exact, t = {t}")
    unit = "sentences" if of["plateaus"] else "characters"
    labels = {"xlabel": f"training {unit} P", "ylabel": "loss at the last token (nats)"}
    finish(ax, name, "lines", xscale="log", yscale="log", **labels)


def draw_collapse(ax, name: str, of: Tables) -> None:
    unit = "t + 1" if of["plateaus"] else "t"  # a grammar's steps are at blocks of t + 1 = s^level tokens
    fits = [row for row in where(of["exponents"], scale=unit) if row["curves"] in ("all", "z expected")]
    fits = [row for row in fits if np.isfinite(row["z"])]  # a pinned fit has none of its own: then at z = 2β
    if not fits:
        finish(ax, f"{name}: no exponents bring the curves together")
        return
    fit, shift = fits[0], int(unit == "t + 1")
    lengths = sorted(distinct(of["runs"], "t"))
    for i, t in enumerate(lengths):
        sizes, losses, _ = averages(where(of["runs"], t=t), "num_train", "loss")
        length = t + shift
        x, y = np.array(sizes) / length ** fit["z"], np.array(losses) * length ** fit["alpha_z"]
        ax.plot(x, y, "-", **ink(i, len(lengths)), markersize=3.5, linewidth=1, label=f"t = {t}")
    ends = [fit["z_low"], fit["z_high"]]
    interval = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if np.isfinite(ends).all() else ""
    pinned = any(row.get("pinned") == 1 for row in where(of["exponents"], scale=unit))
    title = f"z = {fit['z']:.2f}{interval}{', not decided' if pinned else ''}; 2β = {fit['z_expected']:.2f}; "
    title += f"residual × {fit['ratio']:.2g}"
    length = "t" if unit == "t" else "(t+1)"
    labels = {"xlabel": f"$P / {length}^z$"}
    labels["ylabel"] = rf"loss $\times\ {length}^{{\alpha z}}$, $\alpha z$ = {fit['alpha_z']:.2f}"
    finish(ax, title, "lines", xscale="log", yscale="log", **labels)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="context_window",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        shows="exponents",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
