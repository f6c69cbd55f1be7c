"""Diffusion learns the rules level by level: correct rules, valid sentences and copies of samples, against P.

    python recipes/diffusion_rhm/diffusion_rhm.py --config recipes/diffusion_rhm/cpu.yaml [--figures FOLDER]
    python recipes/diffusion_rhm/diffusion_rhm.py --draw docs/figures

Trains every run of the sweep that is not finished, samples from the kept model of each, then writes
`diffusion_rhm.png` and its tables: `diffusion_rhm_runs.csv` (the best evaluation of every run), `_rules.csv` (correct
rules of the samples, level by level), `_copies.csv` (valid sentences, copies of the training set), `_steps.csv`
(where each level is half way from chance to always right, beside theory), `_emergence.csv` (correct rules during the
training on the most sentences) and `_order.csv` (the training steps at which levels are half way).

Variants of a sweep are one curve: where several have a run of one process, grammar and P, the one with the lowest
validation loss counts.
"""

import sys
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm
from transformers import logging

from rhm_hf import Grammar, theory
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import last_crossing
from rhm_hf.tasks import Diffusion
from rhm_hf.training import Arguments
from rhm_hf.training.recipe import Tables, best_runs, recipe_main


KEYS = ("process", "data", "rules_seed", "num_train")
COPIES = ("valid", "novel", "copied", "copied_stderr", "chance_of_copy", "distinct", "distinct_fresh")
LINES = {
    "valid": ("valid", "o", "C0"),
    "copied": ("verbatim copies of the training set", "s", "C3"),
    "chance_of_copy": ("copies by chance, under the exact law", "", "black"),
}


def measure(rows: list[dict], values: dict, num_samples: int = 4096) -> Tables:
    """Samples from the kept models, and reads how those of the most sentences got there."""
    best = best_runs(rows, values)
    logging.disable_progress_bar()
    for row, run in best:
        row["process"] = run.training.process or "masked"
    kept, rules, copies = one_each(best), [], []
    for row, run in tqdm(kept, desc="samples", unit="model", disable=not sys.stderr.isatty()):
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        samples = samples_of(run, grammar, num_samples)
        keys = {name: row[name] for name in KEYS}
        rules += rule_rows(keys, grammar, grammaticality(samples, grammar))
        train = grammar.sample(row["num_train"], seed=row["sample_seed"], sampling=run.data.sampling)
        found = memorisation(samples, train, grammar)
        copies.append(keys | {name: found[name] for name in COPIES})
    found = emergence(rows, [row for row, _ in kept], rules)
    tables = {"runs": [row for row, _ in best], "rules": rules, "copies": copies, "steps": steps(rules)}
    return tables | {"emergence": found, "order": order(found)}


def one_each(best: list[tuple[dict, Arguments]]) -> list[tuple[dict, Arguments]]:
    """Of the runs of one process, grammar and P, that of the lowest validation loss."""
    chosen = {}
    for pair in best:
        key = tuple(pair[0][name] for name in KEYS)
        chosen[key] = min(chosen.get(key, pair), pair, key=lambda other: other[0]["validation_loss"])
    return list(chosen.values())


def samples_of(run: Arguments, grammar: Grammar, num: int) -> torch.Tensor:
    """Sentences from the model that a run kept: one token at a time in random order, or in the steps of the bound."""
    model, t = load_model(str(Path(run.training.output_dir) / "model")), run.training
    task = Diffusion(grammar.vocab_size, grammar.sentence_length, **t.task_options())
    generator = torch.Generator(model.device).manual_seed(0)
    return task.sample(model, num, generator, progress=True).cpu()


def rule_rows(keys: dict, grammar: Grammar, found: dict) -> list[dict]:
    """A row a level."""
    return [
        keys
        | {name: found[name][i] for name in ("correct", "correct_stderr", "chance", "rule_given_children")}
        | {"level": level, "theory": theory.sample_complexity(grammar.parameters, level, task="masked")}
        for i, level in enumerate(found["levels"])
    ]


def half_way(rows: list[dict], x: str) -> float:
    """From where on the mean over grammars is half way from chance to 1; nan for one point."""
    at, correct, _ = averages(rows, x, "correct")
    half = (1 + fmean(row["chance"] for row in rows)) / 2
    return last_crossing(at, [-value for value in correct], -half) if len(at) > 1 else float("nan")


def steps(rules: list[dict]) -> list[dict]:
    """The P from which the fraction of correct rules, a mean over grammars, is half way from chance to 1."""
    rows = []
    for process, data, level in dict.fromkeys((row["process"], row["data"], row["level"]) for row in rules):
        mine = [row for row in rules if (row["process"], row["data"], row["level"]) == (process, data, level)]
        point = half_way(mine, "num_train")
        predicted = mine[0]["theory"]
        keys = {"process": process, "data": data, "level": level}
        grammars = len({row["rules_seed"] for row in mine})
        rows.append({**keys, "grammars": grammars, "half_way": point, "theory": predicted, "ratio": point / predicted})
    return rows


def emergence(rows: list[dict], kept: list[dict], rules: list[dict]) -> list[dict]:
    """A row for every evaluation and level of the runs of the largest P, from the samples of the evaluation itself.

    Nothing where an evaluation samples nothing, as with sentences of more than 64 tokens.
    """
    found = []
    for row in kept:
        if row["num_train"] < max(r["num_train"] for r in kept if same_kind(r, row)):
            continue
        keys = {name: row[name] for name in KEYS}
        levels = [(r["level"], r["chance"]) for r in rules if all(r[name] == keys[name] for name in KEYS)]
        for seen in (r for r in rows if r["run"] == row["run"]):
            at = keys | {"step": seen["step"], "tokens_seen": seen["tokens_seen"]}
            columns = [(level, f"valid_level_{level}", chance) for level, chance in levels]
            found += [
                at | {"level": level, "correct": seen[name], "chance": chance}
                for level, name, chance in columns
                if seen.get(name, "") != ""
            ]
    return found


def same_kind(row: dict, other: dict) -> bool:
    return (row["process"], row["data"]) == (other["process"], other["data"])


def in_common(rows: list[dict]) -> list[dict]:
    """Those at steps that all grammars have reached: one that stopped early does not change who is averaged."""
    grammars = {row["rules_seed"] for row in rows}
    steps_of = [{row["step"] for row in rows if row["rules_seed"] == seed} for seed in grammars]
    return [row for row in rows if row["step"] in set.intersection(*steps_of)]


def order(found: list[dict]) -> list[dict]:
    """The training step, and tokens seen, at which a level is half way, and over that of the level below."""
    rows = []
    for process, data, level in dict.fromkeys((row["process"], row["data"], row["level"]) for row in found):
        mine = in_common([r for r in found if (r["process"], r["data"], r["level"]) == (process, data, level)])
        step = half_way(mine, "step")
        below = rows[-1]["half_way_step"] if level > 1 else float("nan")
        row = {"process": process, "data": data, "num_train": mine[0]["num_train"], "level": level}
        row |= {"grammars": len({r["rules_seed"] for r in mine}), "half_way_step": step}
        row |= {"half_way_tokens": step * mine[0]["tokens_seen"] / mine[0]["step"]}
        rows.append(row | {"over_level_below": step / below if below > 0 else float("nan")})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """For every process correct rules by level, valid sentences and copies against P, and rules against steps."""
    kinds = list(dict.fromkeys((row["process"], row["data"]) for row in tables["rules"]))
    figure, axes = new_figure(3, width=4.8, rows=len(kinds))
    for (process, data), (left, middle, right) in zip(kinds, axes if len(kinds) > 1 else [axes], strict=True):
        rules, copies, during = (
            [row for row in tables[name] if (row["process"], row["data"]) == (process, data)]
            for name in ("rules", "copies", "emergence")
        )
        draw_levels(left, rules, "num_train")
        for row in rules:
            shade = colour(row["level"] - 1, max(r["level"] for r in rules))
            left.plot(row["theory"], 0.02, "v", color=shade, transform=left.get_xaxis_transform())
        grammars = len({row["rules_seed"] for row in rules})
        finish(
            left,
            f"{process} noise, {data}, {grammars} grammars; triangles: theory",
            xscale="log",
            ylim=(-0.03, 1.03),
            xlabel="training sentences P",
            ylabel="fraction of correct rules in samples",
        )
        for name, (label, marker, shade) in LINES.items():
            style = {"linestyle": "-" if marker else "--", "marker": marker or None, "color": shade}
            middle.errorbar(*averages(copies, "num_train", name), markersize=4, capsize=2, label=label, **style)
        finish(
            middle,
            "Sampled sentences",
            xscale="log",
            ylim=(-0.03, 1.03),
            xlabel="training sentences P",
            ylabel="fraction of samples",
        )
        if not during:
            right.set_axis_off()
            continue
        draw_levels(right, in_common(during), "step")
        finish(
            right,
            f"During training, P = {during[0]['num_train']}; dotted: chance",
            xscale="log",
            ylim=(-0.03, 1.03),
            xlabel=f"training step ({during[0]['tokens_seen'] // during[0]['step']} tokens each)",
            ylabel="fraction of correct rules in samples",
        )
    figure.savefig(path)


def draw_levels(ax, rows: list[dict], x: str) -> None:
    """A curve a level against P or steps, its chance dotted."""
    levels = sorted({row["level"] for row in rows})
    for i, level in enumerate(levels):
        mine = [row for row in rows if row["level"] == level]
        shade = colour(i, len(levels))
        curve = averages(mine, x, "correct")
        ax.errorbar(*curve, marker="o", markersize=4, capsize=2, color=shade, label=f"level {level}")
        ax.axhline(fmean(row["chance"] for row in mine), color=shade, linestyle=":", linewidth=0.8)


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="diffusion_rhm", measure=measure, draw=draw, options={"num_samples": 4096})
