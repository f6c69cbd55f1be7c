"""Creativity against memorisation: what a diffusion model samples that was trained on and on, by P and by step.

    python recipes/memorisation/memorisation.py --config recipes/memorisation/cpu.yaml [--figures FOLDER]
    python recipes/memorisation/memorisation.py --draw docs/figures

Runs keep their last model, not the best: early stopping ends a run before it copies. Writes `memorisation.png` and its
tables: `memorisation_copies.csv` (samples of every last model: valid, new, copied, beside the chance of a copy) and
`memorisation_emergence.csv` (an evaluation of every run: what the bound loses, and valid samples).
"""

import sys
from pathlib import Path

import torch
from tqdm import tqdm

from rhm_hf.ensembles import averages, distinct, scale, where
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.plots import curve, few_ticks, finish, note, sheet
from rhm_hf.tasks import Diffusion
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main


KEYS = ("data", "rules_seed", "model_seed", "num_train", "step", "stopped_by")
FOUND = ("valid", "novel", "copied", "copied_stderr", "chance_of_copy", "distinct", "distinct_fresh")
LINES = {"valid": "valid", "novel": "valid, no copies", "copied": "copies"}


def measure(rows: list[dict], values: dict, num_samples: int) -> Tables:
    """Samples of the last models, and the evaluations on the way."""
    copies, emergence = [], []
    for run in tqdm(kept_runs(rows, values), desc="samples", unit="model", disable=not sys.stderr.isatty()):
        if run.arguments.training.keep != "last":
            raise ValueError("keep='best': what was trained longest is asked here; give keep: last, patience: 0")
        grammar = run.grammar()
        train = grammar.sample(run["num_train"], seed=run["sample_seed"], sampling=run.arguments.data.sampling)
        found = memorisation(samples_of(run, num_samples), train, grammar)
        copies.append(run.keys(*KEYS, "kl") | {name: found[name] for name in FOUND})
        columns = ("step", "train_loss", "validation_loss", "kl", "valid")
        emergence += [
            run.keys(*KEYS[:4]) | {name: row[name] for name in columns} for row in where(rows, run=run["run"])
        ]
    return {"copies": copies, "emergence": emergence}


def samples_of(run: KeptRun, num: int) -> torch.Tensor:
    """Sentences, one token at a time in random order: the exact denoiser would sample the exact law."""
    model, grammar = run.model(), run.grammar()
    task = Diffusion(grammar.vocab_size, grammar.sentence_length, **run.arguments.training.task_options())
    return task.sample(model, num, torch.Generator(model.device).manual_seed(0)).cpu()


def draw(tables: Tables, path: Path) -> None:
    """Valid samples, new ones and copies against P; what the bound loses along training."""
    copies, emergence = tables["copies"], tables["emergence"]
    figure, (left, right) = sheet(2, height=3)
    for i, (name, label) in enumerate(LINES.items()):
        curve(left, copies, "num_train", name, i, label)
    sizes, chance, _ = averages(copies, "num_train", "chance_of_copy")
    left.plot(sizes, chance, "k--", linewidth=0.8, label="copies by chance")
    labels = {"xlabel": "training sentences P", "ylabel": "fraction of samples"}
    finish(left, f"{copies[0]['data']}, last models", "lines", xscale="log", ylim=(-0.03, 1.03), **labels)
    few_ticks(left, sizes)
    sizes = sorted(distinct(emergence, "num_train"))
    for i, size in enumerate(sizes):
        curve(right, where(emergence, num_train=size), "step", "kl", i, f"P = {size}", len(sizes))
    labels = {"xlabel": "training steps", "ylabel": "what the bound loses (nats per token)"}
    finish(right, "Against the exact denoiser", "lines", xscale="log", yscale="log", **labels)
    share = max(row["chance_of_copy"] for row in copies)
    steps = ", ".join(f"{step} at P = {size}" for size, step in distinct(copies, "num_train", "step"))
    text = f"{scale(copies)}; bars: over grammars. Steps, no early stopping: {steps}; "
    note(figure, text + f"the largest P is {share:.1%} of all sentences.")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    parts = {"measure": measure, "draw": draw, "options": {"num_samples": 2048}, "tiny": {"num_samples": 64}}
    return recipe_main(argv, name="memorisation", shows="copies", **parts)


if __name__ == "__main__":
    main()
