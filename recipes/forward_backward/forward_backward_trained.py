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

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import ExactDenoiser, crossing, forward_backward
from rhm_hf.ensembles import averages, distinct, group
from rhm_hf.plots import curve, finish, note, sheet
from rhm_hf.tasks import Diffusion
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


OPTIONS = {"num_sentences": 512, "num_times": 10, "steps": 100}
TINY = {"num_sentences": 16, "num_times": 3, "steps": 4}
POSTERIOR, EXACT, TRAINED = "exact, one draw", "exact, step by step", "trained"
SHORT = {POSTERIOR: "exact, 1 draw", EXACT: "exact, steps"}
NOISE = {"masked": "fraction of masked tokens", "uniform": r"$1 - \bar\alpha$, redrawn tokens"}
PANELS = {  # a column, what its axis is called, its limits
    "class_survival": ("class survives", (0, 1.03)),
    "grammatical": ("grammatical", (0, 1.03)),
    "susceptibility": (r"susceptibility $\chi$ (tokens)", (0.9, None)),
}


def measure(rows: list[dict], values: dict, num_sentences: int, num_times: int, steps: int) -> Tables:
    """Sends everything back from the same noisy sentences: one seed serves all denoisers and times."""
    times = (np.arange(1, num_times + 1) / num_times).tolist()
    curves, references = [], set()
    for run in tqdm(kept_runs(rows, values), desc="models", unit="model", disable=not sys.stderr.isatty()):
        grammar, options = run.grammar(), run.arguments.training.task_options()
        process = Diffusion(grammar.vocab_size, grammar.sentence_length, **options).process
        keys = {"process": process.name} | run.keys("data", "rules_seed")
        denoisers = [(TRAINED, run["num_train"], run.model())]
        if tuple(keys.values()) not in references:  # once a grammar, whatever was trained on it
            references.add(tuple(keys.values()))
            denoisers += [(POSTERIOR, "", None), (EXACT, "", ExactDenoiser(grammar, process))]
        for name, size, denoiser in denoisers:
            for time in times:
                found = forward_backward(
                    grammar, process, time, num_sentences, model=denoiser, steps=steps, progress=True
                )
                curves.append(keys | {"denoiser": name, "num_train": size, "t": time} | columns(found))
    return {"curves": curves}


def conclude(tables: Tables) -> Tables:
    """Where the mean curves lose the class, and their peaks."""
    return {"peaks": peaks(tables["curves"])}


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
    order, kinds = [POSTERIOR, EXACT, TRAINED], group(curves, "process", "data", "denoiser", "num_train")
    return dict(sorted(kinds.items(), key=lambda kind: (*kind[0][:2], order.index(kind[0][2]), kind[0][3] or 0)))


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
                "grammars": len(distinct(mine, "rules_seed")),
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
    figure, axes = sheet(4 * len(lines), height=2.7)
    notes = []
    for k, (process, data) in enumerate(lines):
        mine = {key[2:]: rows for key, rows in kinds.items() if key[:2] == (process, data)}
        sizes = [size for name, size in mine if name == TRAINED]
        parameters = Grammar.from_name(data).parameters
        learnt = theory.sample_complexity(parameters, parameters.depth, task="masked")
        grammars = len({r["rules_seed"] for rows in mine.values() for r in rows})
        notes.append(
            f"{data}, {process} noise: {grammars} grammars; theory has the top level learnt at P = {learnt:.0f}"
        )
        axes[4 * k + 3].set_axis_off()
        for ax, (column, (label, limits)) in zip(axes[4 * k :], PANELS.items(), strict=False):
            for (name, size), rows in mine.items():
                style = {"color": "black", "marker": "", "linestyle": "-" if name == POSTERIOR else "--"}
                if name == TRAINED:
                    style = {"of": len(sizes), "i": sizes.index(size)}
                curve(ax, rows, "t", column, label=f"P = {size}" if name == TRAINED else SHORT[name], **style)
            finish(ax, "", "lines", xlabel="t: " + NOISE[process], ylabel=label, ylim=limits)
    note(figure, "; ".join(notes) + "; bars: standard error over grammars")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="forward_backward_trained",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options=OPTIONS,
        shows="peaks",
        tiny=TINY,
    )


if __name__ == "__main__":
    main()
