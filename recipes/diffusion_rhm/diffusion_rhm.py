"""Diffusion learns the rules level by level: correct rules, valid sentences and copies of samples, against P.

    python recipes/diffusion_rhm/diffusion_rhm.py --config recipes/diffusion_rhm/cpu.yaml [--figures FOLDER]
    python recipes/diffusion_rhm/diffusion_rhm.py --draw docs/figures

Trains every run of the sweep that is not finished, samples from the kept model of each, then writes
`diffusion_rhm.png` and its tables: `diffusion_rhm_runs.csv` (the best evaluation of every run), `_rules.csv` (correct
rules of the samples, level by level), `_copies.csv` (valid sentences, copies of the training set) and `_steps.csv`
(where each level is half way from chance to always right, beside theory).
"""

import sys
from pathlib import Path
from statistics import fmean

import torch
from transformers import logging

from rhm_hf import Grammar, theory
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.loading import load_model
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import last_crossing
from rhm_hf.tasks import Diffusion
from rhm_hf.training import Arguments
from rhm_hf.training.recipe import Tables, best_runs, recipe_main


COPIES = ("valid", "novel", "copied", "copied_stderr", "chance_of_copy", "distinct", "distinct_fresh")
LINES = {
    "valid": ("valid", "o", "C0"),
    "copied": ("verbatim copies of the training set", "s", "C3"),
    "chance_of_copy": ("copies by chance, under the exact law", "", "black"),
}


def measure(rows: list[dict], values: dict, num_samples: int = 4096) -> Tables:
    """Samples from the kept model of every run."""
    best = best_runs(rows, values)
    logging.disable_progress_bar()
    rules, copies = [], []
    for row, run in best:
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        samples = samples_of(run, grammar, num_samples)
        keys = {
            "process": run.training.process or "masked",
            **{k: row[k] for k in ("data", "rules_seed", "num_train")},
        }
        rules += rule_rows(keys, grammar, grammaticality(samples, grammar))
        train = grammar.sample(row["num_train"], seed=row["sample_seed"], sampling=run.data.sampling)
        found = memorisation(samples, train, grammar)
        copies.append(keys | {name: found[name] for name in COPIES})
    return {"runs": [row for row, _ in best], "rules": rules, "copies": copies, "steps": steps(rules)}


def samples_of(run: Arguments, grammar: Grammar, num: int) -> torch.Tensor:
    """Sentences from the model that a run kept: one token at a time in random order, or in the steps of the bound."""
    model, t = load_model(str(Path(run.training.output_dir) / "model")), run.training
    options = {name: getattr(t, name) for name in Diffusion.options if getattr(t, name) is not None}
    task = Diffusion(grammar.vocab_size, grammar.sentence_length, **options)
    return task.sample(model, num, torch.Generator(model.device).manual_seed(0)).cpu()


def rule_rows(keys: dict, grammar: Grammar, found: dict) -> list[dict]:
    """A row a level."""
    return [
        keys
        | {name: found[name][i] for name in ("correct", "correct_stderr", "chance", "rule_given_children")}
        | {"level": level, "theory": theory.sample_complexity(grammar.parameters, level, task="masked")}
        for i, level in enumerate(found["levels"])
    ]


def steps(rules: list[dict]) -> list[dict]:
    """The P from which the fraction of correct rules, a mean over grammars, is half way from chance to 1."""
    rows = []
    for process, data, level in dict.fromkeys((row["process"], row["data"], row["level"]) for row in rules):
        mine = [row for row in rules if (row["process"], row["data"], row["level"]) == (process, data, level)]
        sizes, correct, _ = averages(mine, "num_train", "correct")
        half = (1 + fmean(row["chance"] for row in mine)) / 2
        point = last_crossing(sizes, [-value for value in correct], -half) if len(sizes) > 1 else float("nan")
        predicted = mine[0]["theory"]
        keys = {"process": process, "data": data, "level": level}
        grammars = len({row["rules_seed"] for row in mine})
        rows.append({**keys, "grammars": grammars, "half_way": point, "theory": predicted, "ratio": point / predicted})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """For every process correct rules by level, and valid sentences and copies, against P."""
    kinds = list(dict.fromkeys((row["process"], row["data"]) for row in tables["rules"]))
    figure, axes = new_figure(2, width=5.2, rows=len(kinds))
    for (process, data), (left, right) in zip(kinds, axes if len(kinds) > 1 else [axes], strict=True):
        rules, copies = (
            [row for row in tables[name] if (row["process"], row["data"]) == (process, data)]
            for name in ("rules", "copies")
        )
        draw_rules(left, rules)
        grammars = len({row["rules_seed"] for row in rules})
        finish(
            left,
            f"{process} noise, {data}, {grammars} grammars; dotted: chance; triangles: theory",
            xscale="log",
            ylim=(-0.03, 1.03),
            xlabel="training sentences P",
            ylabel="fraction of correct rules in samples",
        )
        for name, (label, marker, shade) in LINES.items():
            style = {"linestyle": "-" if marker else "--", "marker": marker or None, "color": shade}
            right.errorbar(*averages(copies, "num_train", name), markersize=4, capsize=2, label=label, **style)
        finish(
            right,
            "Sampled sentences",
            xscale="log",
            ylim=(-0.03, 1.03),
            xlabel="training sentences P",
            ylabel="fraction of samples",
        )
    figure.savefig(path)


def draw_rules(ax, rules: list[dict]) -> None:
    """A curve a level, its chance dotted, and a triangle where theory has it learnt."""
    levels = sorted({row["level"] for row in rules})
    for i, level in enumerate(levels):
        mine = [row for row in rules if row["level"] == level]
        shade = colour(i, len(levels))
        curve = averages(mine, "num_train", "correct")
        ax.errorbar(*curve, marker="o", markersize=4, capsize=2, color=shade, label=f"level {level}")
        ax.axhline(fmean(row["chance"] for row in mine), color=shade, linestyle=":", linewidth=0.8)
        ax.plot(mine[0]["theory"], 0.02, "v", color=shade, transform=ax.get_xaxis_transform())


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="diffusion_rhm", measure=measure, draw=draw, options={"num_samples": 4096})
