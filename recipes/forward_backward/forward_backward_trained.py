"""Noise a sentence, denoise it with trained models: does its class survive as often as with the exact denoiser?

    python recipes/forward_backward/forward_backward_trained.py --config recipes/forward_backward/cpu.yaml
    python recipes/forward_backward/forward_backward_trained.py --draw docs/figures

Looks at models of the recipe diffusion_rhm, training those that are not there, and sends them and the exact denoiser
back from the same noisy sentences. Writes `forward_backward_trained.png` and its tables: `_curves.csv` (a row for
every grammar, denoiser and time) and `_peaks.csv` (where the mean curves lose the class and have their peak).
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm
from transformers import logging

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import ExactDenoiser, crossing, forward_backward
from rhm_hf.judging.loading import load_model
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.tasks import Diffusion
from rhm_hf.training.recipe import Tables, best_runs, recipe_main


OPTIONS = {"num_sentences": 512, "num_times": 10, "steps": 100}
POSTERIOR, EXACT, TRAINED = "exact, one draw", "exact, step by step", "trained"
NOISE = {"masked": "fraction of masked tokens", "uniform": r"$1 - \bar\alpha$, redrawn tokens"}
PANELS = {  # a column, what its axis is called, its limits
    "class_survival": ("probability that the class survives", (0, 1.03)),
    "grammatical": ("fraction of grammatical sentences", (0, 1.03)),
    "susceptibility": (r"susceptibility $\chi$ (tokens)", (0.9, None)),
}


def measure(rows: list[dict], values: dict, num_sentences: int, num_times: int, steps: int) -> Tables:
    """Sends everything back from the same noisy sentences: one seed serves all denoisers and times."""
    logging.disable_progress_bar()
    times = (np.arange(1, num_times + 1) / num_times).tolist()
    best, curves, references = best_runs(rows, values), [], set()
    for row, run in tqdm(best, desc="models", unit="model", disable=not sys.stderr.isatty()):
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        t = run.training
        process = Diffusion(grammar.vocab_size, grammar.sentence_length, **t.task_options()).process
        model = load_model(str(Path(t.output_dir) / "model"))
        keys = {"process": process.name, "data": row["data"], "rules_seed": row["rules_seed"]}
        denoisers = [(TRAINED, row["num_train"], model)]
        if tuple(keys.values()) not in references:  # once a grammar, whatever was trained on it
            references.add(tuple(keys.values()))
            denoisers += [(POSTERIOR, "", None), (EXACT, "", ExactDenoiser(grammar, process))]
        for name, size, denoiser in denoisers:
            for time in times:
                found = forward_backward(
                    grammar, process, time, num_sentences, model=denoiser, steps=steps, progress=True
                )
                curves.append(keys | {"denoiser": name, "num_train": size, "t": time} | columns(found))
    return {"curves": curves, "peaks": peaks(curves)}


def columns(found) -> dict:
    """What a row says of one experiment; survival of level 0 is that of tokens, of level L that of the class."""
    levels = {f"survival_{level}": value for level, value in enumerate(found.survival)}
    blocks = {f"correlation_{level}": value for level, value in enumerate(found.correlations, start=1)}
    return {
        "class_survival": found.survival[-1],
        "class_survival_stderr": found.survival_stderr[-1],
        "grammatical": found.grammatical,
        "grammatical_stderr": found.grammatical_stderr,
        "susceptibility": found.susceptibility,
        **levels,
        **blocks,
    }


def kinds_of(curves: list[dict]) -> dict[tuple, list[dict]]:
    """The rows of every denoiser: by process, data, name and P, exact ones first and models by P."""
    order = [POSTERIOR, EXACT, TRAINED]
    keys = dict.fromkeys((r["process"], r["data"], r["denoiser"], r["num_train"]) for r in curves)
    keys = sorted(keys, key=lambda key: (key[0], key[1], order.index(key[2]), key[3] or 0))
    return {
        key: [r for r in curves if (r["process"], r["data"], r["denoiser"], r["num_train"]) == key] for key in keys
    }


def peaks(curves: list[dict]) -> list[dict]:
    """Of the mean curves over grammars: where the class survives half of the time, and the peak of the susceptibility.

    `half` is empty where a curve is below one half from the first time on, or never.
    """
    rows = []
    for (process, data, name, size), mine in kinds_of(curves).items():
        times, survival, _ = averages(mine, "t", "class_survival")
        _, sizes, errors = averages(mine, "t", "susceptibility")
        _, valid, _ = averages(mine, "t", "grammatical")
        half, top = crossing(times, [0.5] * len(times), survival), int(np.argmax(sizes))
        rows.append(
            {
                "process": process,
                "data": data,
                "denoiser": name,
                "num_train": size,
                "grammars": len({row["rules_seed"] for row in mine}),
                "half": "" if half is None else half,
                "peak": times[top],
                "largest_susceptibility": sizes[top],
                "largest_susceptibility_stderr": errors[top],
                "grammatical_at_peak": valid[top],
                "grammatical_from_noise": valid[-1],
            }
        )
    return rows


def draw(tables: Tables, path: Path) -> None:
    """For every process class survival, grammatical sentences and susceptibility against time."""
    kinds = kinds_of(tables["curves"])
    lines = list(dict.fromkeys(key[:2] for key in kinds))
    figure, axes = new_figure(len(PANELS), width=4.6, rows=len(lines))
    for (process, data), panels in zip(lines, np.atleast_2d(axes), strict=True):
        mine = {key[2:]: rows for key, rows in kinds.items() if key[:2] == (process, data)}
        sizes = [size for name, size in mine if name == TRAINED]
        parameters = Grammar.from_name(data).parameters
        learnt = theory.sample_complexity(parameters, parameters.depth, task="masked")
        titles = (
            f"{process} noise, {data}, {len({r['rules_seed'] for rows in mine.values() for r in rows})} grammars",
            f"theory: the top level is learnt at P = {learnt:.0f}",
            "",
        )
        for ax, (column, (label, limits)), title in zip(panels, PANELS.items(), titles, strict=True):
            for (name, size), rows in mine.items():
                style = {"color": "black", "linestyle": "-" if name == POSTERIOR else "--", "label": name}
                if name == TRAINED:
                    shade = colour(sizes.index(size), len(sizes))
                    style = {"color": shade, "marker": "o", "markersize": 3, "label": f"trained, P = {size}"}
                ax.errorbar(*averages(rows, "t", column), capsize=2, linewidth=1.2, **style)
            finish(ax, title, xlabel="t: " + NOISE[process], ylabel=label, ylim=limits)
            if ax is not panels[0]:
                ax.get_legend().remove()  # one says it for all
    figure.savefig(path)


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="forward_backward_trained", measure=measure, draw=draw, options=OPTIONS)
