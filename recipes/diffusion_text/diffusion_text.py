"""Diffusion on characters: what more training buys, as text side by side and as correlations that match the corpus.

    python recipes/diffusion_text/diffusion_text.py --config recipes/diffusion_text/cpu.yaml [--text FILE]
    python recipes/diffusion_text/diffusion_text.py --draw docs/figures

Trains every run of the sweep that is not finished, each with a schedule of its own length, samples from all of them,
then writes `diffusion_text.png`, the text `diffusion_text_samples.txt`, which is also printed, and the tables:
`diffusion_text_runs.csv` (bound, agreement and copies of every run), `_correlations.csv` (C~(t) of the corpus, of
held-out text and of all samples), `_held_out.csv` (what held-out text would score) and `_samples.csv`.
"""

from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from rhm_hf.diffusion import log_likelihood_bound
from rhm_hf.ensembles import averages, distinct, group, scale, where
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.plots import INKS, curve, finish, ink, level_line, note, sheet
from rhm_hf.statistics import TokenCorrelations, compare_correlations, token_correlations
from rhm_hf.tasks import Diffusion
from rhm_hf.training.data import load_data
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


OPTIONS = {
    "num_samples": 4096,  # rows of every model
    "tokens_per_step": 4,  # revealed together: two characters of a row are so in (k - 1) / (d - 1) of the samples
    "max_distance": 32,
    "noises": 8,  # drawn for every held-out row of the bound
    "copy_length": 16,  # characters: shorter copies are found in any text
    "copy_characters": 2**19,  # of the training text, its first ones, in which copies are sought
    "num_shown": 4,  # samples of every model that are kept as text
}
TINY = {
    "num_samples": 64,
    "max_distance": 6,
    "noises": 2,
    "copy_length": 4,
    "copy_characters": 4096,
    "tokens_per_step": 4,
    "num_shown": 2,
}
RANGES = {"t_agree": 0.1, "t_agree_half": 0.5}  # column: the relative difference that counts as agreement
KEPT = ("model", "num_train", "model_seed", "step", "epoch", "tokens_seen", "seconds")
CORPUS, HELD_OUT, SAMPLES = "corpus", "held-out text", "samples"
WIDTH = 24  # characters of a column of samples, of which there are as many as training lengths
SHOWN = 256  # characters at most of a sample that is kept


def measure(rows: list[dict], values: dict, **options) -> Tables:
    """Every run against the training text and the held-out text of its corpus."""
    tables: Tables = {name: [] for name in ("runs", "correlations", "held_out", "samples")}
    texts: dict[str, list[KeptRun]] = {}
    for run in kept_runs(rows, values):
        texts.setdefault(run.arguments.data.text, []).append(run)
    for runs in texts.values():
        measure_text(tables, sorted(runs, key=lambda run: run["tokens_seen"]), options)
    return tables


def measure_text(tables: Tables, runs: list[KeptRun], options: dict) -> None:
    """All models of one text, beside the text itself."""
    distances, corpus, names = range(1, options["max_distance"] + 1), runs[0].corpus(), {"data": runs[0].data}
    train, test, v = corpus.splits["train"].ids, corpus.splits["test"].ids, corpus.num_symbols
    theirs, others = (token_correlations(text, distances, v) for text in (train, test))
    tables["correlations"] += correlation_rows(names | {"source": CORPUS}, theirs)
    tables["correlations"] += correlation_rows(names | {"source": HELD_OUT}, others)
    found = agreement(others, theirs) | copies(test[None], train, options)
    tables["held_out"].append(names | found | {"single": single_entropy(train)})
    for run in runs:
        samples, found = judged(run, options)
        ours = token_correlations(samples, distances, v, anchor="all")
        seen = train[: run["num_train"]]
        found |= agreement(ours, theirs) | copies(samples, seen, options)
        tables["runs"].append(names | run.keys(*KEPT) | found | versions())
        keys = names | run.keys("model_seed", "tokens_seen")
        tables["correlations"] += correlation_rows(keys | {"source": SAMPLES}, ours)
        for number, ids in enumerate(samples[: options["num_shown"], :SHOWN]):
            tables["samples"].append(keys | {"number": number, "text": corpus.tokenizer.decode(ids.tolist())})


def judged(run: KeptRun, options: dict) -> tuple[np.ndarray, dict]:
    """Rows that the model of a run samples, and its bound on held-out windows, nats a character."""
    model, data, t = run.model(), load_data(run.arguments.data), run.arguments.training
    task = Diffusion(data.num_symbols, data.length, **t.task_options())
    generator = torch.Generator().manual_seed(0)  # the same noises for all models
    bound = log_likelihood_bound(
        model, task.process, data.splits["test"], t.diffusion_steps, options["noises"], generator
    )
    generator = torch.Generator(model.device).manual_seed(0)
    samples = task.sample(model, options["num_samples"], generator, options["tokens_per_step"])
    return samples.cpu().numpy(), {name: bound[name] for name in ("bound", "bound_stderr")}


def agreement(ours: TokenCorrelations, theirs: TokenCorrelations) -> dict:
    """How far correlations agree, closely and roughly, and how far noise lets one see."""
    found: dict = {}
    for name, tolerance in RANGES.items():
        compared = compare_correlations(ours, theirs, tolerance)
        found |= {name: compared.t_agree, f"{name}_is_bound": int(compared.censored), "t_res": compared.t_res}
    return found


def correlation_rows(keys: dict, of: TokenCorrelations) -> list[dict]:
    """A row a distance: U, which is C~^2 without noise, and the noise floor of as much text."""
    names = ("distances", "signal", "signal_stderr", "noise_floor")
    lists = zip(*(getattr(of, name).tolist() for name in names), strict=True)
    return [keys | dict(zip(("t", *names[1:]), entries, strict=True)) for entries in lists]


def copies(rows: np.ndarray, train: np.ndarray, options: dict) -> dict:
    """How many pieces of some rows `(n, d)`, side by side, stand anywhere in the training text."""
    length = min(options["copy_length"], rows.shape[1])
    pieces = rows[:, : rows.shape[1] // length * length].reshape(-1, length)
    known = np.lib.stride_tricks.sliding_window_view(train[: options["copy_characters"]], length)
    found = memorisation(pieces, known, num_nearest=1)
    return {name: found[name] for name in ("copied", "copied_stderr")}


def single_entropy(train: np.ndarray) -> float:
    """Of single characters, nats: the bound of a model that knows how often each occurs and nothing else."""
    p = np.bincount(train) / len(train)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


# Reading it.


def draw(tables: Tables, path: Path) -> None:
    """Of every text the bound, correlations and how far they agree; and the samples as text."""
    names = distinct(tables["runs"], "data")
    figure, axes = sheet(4 * len(names), height=3.0)
    printed = []
    for k, name in enumerate(names):
        of = {key: where(rows, data=name) for key, rows in tables.items()}
        left, middle, right, last = axes[4 * k : 4 * k + 4]
        last.set_axis_off()
        draw_bound(left, name, of)
        draw_correlations(middle, of["correlations"])
        draw_agreement(right, of)
        printed.append(f"{name}: samples after so many training characters\n\n{side_by_side(of['samples'])}")
    note(figure, f"{scale(tables['runs'])} a training length; dotted: held-out text; hollow: as far as noise lets see")
    figure.savefig(path)
    text = "\n\n".join(printed)
    path.with_name(f"{path.stem}_samples.txt").write_text(text + "\n")
    print(text)


def draw_bound(ax, name: str, of: Tables) -> None:
    curve(ax, of["runs"], "tokens_seen", "bound", errors="bound_stderr")
    for row in of["held_out"]:
        level_line(ax, row["single"], "frequencies of characters")
    labels = {"xlabel": "training characters seen", "ylabel": "bound on $-\\log p$ (nats per character)"}
    finish(ax, f"{name}: held-out text", xscale="log", **labels)


def draw_correlations(ax, rows: list[dict]) -> None:
    """C~(t) without noise, where it stands out from it."""
    lengths = sorted(distinct(where(rows, source=SAMPLES), "tokens_seen"))
    for i, seen in enumerate(lengths):
        mine = where(rows, source=SAMPLES, tokens_seen=seen)
        for j, part in enumerate(group(mine, "model_seed").values()):
            draw_curve(ax, part, fmt="-", **ink(i, len(lengths)), label="" if j else short(seen))
    for source, style in ((HELD_OUT, ":"), (CORPUS, "-")):
        draw_curve(ax, where(rows, source=source), fmt=style, color="black", label=source, zorder=3)
    title = r"$\tilde C(t)$ of samples and text, noise subtracted"
    finish(ax, title, "lines", xscale="log", yscale="log", xlabel="distance t (characters)", ylabel=r"$\tilde C(t)$")


def draw_curve(ax, rows: list[dict], **style) -> None:
    seen = [row for row in rows if row["signal"] > row["noise_floor"] ** 2]
    values = [row["signal"] ** 0.5 for row in seen]
    errors = [row["signal_stderr"] / (2 * value) for row, value in zip(seen, values, strict=True)]
    look = {"markersize": 2.5, "linewidth": 1, "elinewidth": 0.6}
    ax.errorbar([row["t"] for row in seen], values, errors, **look, **style)


def draw_agreement(ax, of: Tables) -> None:
    """How far samples agree, hollow where that is all one can see; dotted: held-out text."""
    for i, (name, tolerance) in enumerate(RANGES.items()):
        bound = f"{name}_is_bound"
        curve(ax, of["runs"], "tokens_seen", name, i, f"to {tolerance:.0%} of the signal", hollow=bound)
        for row in of["held_out"]:
            ax.axhline(row[name], color=INKS[i], linestyle=":", linewidth=1)
    ax.plot(*averages(of["runs"], "tokens_seen", "t_res")[:2], "--", color="0.6", linewidth=1, label="resolved")
    labels = {"xlabel": "training characters seen", "ylabel": "up to distance t (characters)"}
    finish(ax, "Correlations agree with the corpus's", "lines", xscale="log", **labels)
    ax.set_ylim(bottom=-0.3)


def side_by_side(rows: list[dict], width: int = WIDTH) -> str:
    """A column a training length, a block a sample, of the first seed."""
    seed = min(row["model_seed"] for row in rows)
    lengths = sorted({row["tokens_seen"] for row in rows})
    cells = {(row["number"], row["tokens_seen"]): row["text"] for row in rows if row["model_seed"] == seed}
    lines = [[short(seen) for seen in lengths], ["-" * width] * len(lengths)]
    for number in sorted({number for number, _ in cells}):
        columns = [broken(str(cells[number, seen]), width) for seen in lengths]
        lines += [*([[""] * len(lengths)] if number else []), *zip_longest(*columns, fillvalue="")]
    return "\n".join(" | ".join(cell.ljust(width) for cell in line).rstrip() for line in lines)


def broken(text: str, width: int) -> list[str]:
    """Its lines, long ones cut after so many characters: nothing is added or left out."""
    return [line[at : at + width] for line in text.split("\n") for at in range(0, max(1, len(line)), width)]


def short(count: float) -> str:
    """131072 as 131k, 8388608 as 8.39M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv, name="diffusion_text", measure=measure, draw=draw, options=OPTIONS, shows="runs", tiny=TINY
    )


if __name__ == "__main__":
    main()
