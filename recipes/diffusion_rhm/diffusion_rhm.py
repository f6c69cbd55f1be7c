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

import math
import sys
from pathlib import Path
from statistics import fmean

import torch
from tqdm import tqdm

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, distinct, group, marked, scale, where
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.plots import colour, curve, finish, note, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.tasks import Diffusion
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main


KEYS = ("process", "data", "rules_seed", "num_train")
COPIES = ("valid", "novel", "copied", "copied_stderr", "chance_of_copy", "distinct", "distinct_fresh")
LINES = {"valid": "valid", "copied": "copies", "chance_of_copy": "copies by chance"}


def measure(rows: list[dict], values: dict, num_samples: int = 4096) -> Tables:
    """Samples from the kept models, and reads how those of the most sentences got there."""
    best = kept_runs(rows, values)
    for run in best:
        run.row["process"] = run.arguments.training.process or "masked"
    kept, rules, copies = one_each(best), [], []
    for run in tqdm(kept, desc="samples", unit="model", disable=not sys.stderr.isatty()):
        grammar, keys = run.grammar(), run.keys(*KEYS)
        samples = samples_of(run, grammar, num_samples)
        rules += rule_rows(keys, grammar, grammaticality(samples, grammar))
        train = grammar.sample(run["num_train"], seed=run["sample_seed"], sampling=run.arguments.data.sampling)
        found = memorisation(samples, train, grammar)
        copies.append(keys | {name: found[name] for name in COPIES})
    found = emergence(rows, [run.row for run in kept], rules)
    return {"runs": [run.row for run in best], "rules": rules, "copies": copies, "emergence": found}


def conclude(tables: Tables) -> Tables:
    """Where each level is half way, along P and along training."""
    return {"steps": steps(tables["rules"]), "order": order(tables["emergence"])}


def one_each(best: list[KeptRun]) -> list[KeptRun]:
    """Of the runs of one process, grammar and P, that of the lowest validation loss."""
    chosen: dict = {}
    for run in best:
        key = tuple(run[name] for name in KEYS)
        chosen[key] = min(chosen.get(key, run), run, key=lambda other: other["validation_loss"])
    return list(chosen.values())


def samples_of(run: KeptRun, grammar: Grammar, num: int) -> torch.Tensor:
    """Sentences from the model that a run kept: one token at a time in random order, or in the steps of the bound."""
    model, options = run.model(), run.arguments.training.task_options()
    task = Diffusion(grammar.vocab_size, grammar.sentence_length, **options)
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


def half_way(rows: list[dict], x: str, name: str = "half_way") -> dict:
    """From where on the mean over grammars is half way from chance to 1, marked outside the range; empty for one x."""
    at, correct, _ = averages(rows, x, "correct")
    half = (1 + fmean(row["chance"] for row in rows)) / 2
    point = last_crossing(at, [-value for value in correct], -half) if len(at) > 1 else math.nan
    return marked(point, at, name)


def steps(rules: list[dict]) -> list[dict]:
    """The P from which the fraction of correct rules, a mean over grammars, is half way from chance to 1."""
    rows = []
    for (process, data, level), mine in group(rules, "process", "data", "level").items():
        found, predicted = half_way(mine, "num_train"), mine[0]["theory"]
        keys = {"process": process, "data": data, "level": level, "grammars": len(distinct(mine, "rules_seed"))}
        ratio = found["half_way"] / predicted if found["half_way"] else ""
        rows.append({**keys, **found, "theory": predicted, "ratio": ratio} | given_children(mine))
    return rows


def given_children(rows: list[dict]) -> dict:
    """Where the rule of a node is half way where its children are right: `correct` also counts their mistakes."""
    known = [row for row in rows if isinstance(row["rule_given_children"], float)]  # empty where no children are right
    known = [row for row in known if not math.isnan(row["rule_given_children"])]
    at, values, _ = averages(known, "num_train", "rule_given_children")
    chance = theory.grammatical_fraction(Grammar.from_name(rows[0]["data"]).parameters)
    half = (1 + chance) / 2
    point = last_crossing(at, [-value for value in values], -half) if len(at) > 1 else math.nan
    return marked(point, at, "half_way_given_children") if at else {}


def emergence(rows: list[dict], kept: list[dict], rules: list[dict]) -> list[dict]:
    """A row for every evaluation and level of the runs of the largest P, from the samples of the evaluation itself.

    Nothing where an evaluation samples nothing, as with sentences of more than 64 tokens.
    """
    found = []
    for row in kept:
        kind = {"process": row["process"], "data": row["data"]}
        if row["num_train"] < max(r["num_train"] for r in where(kept, **kind)):
            continue
        keys = {name: row[name] for name in KEYS}
        levels = [(r["level"], r["chance"]) for r in where(rules, **keys)]
        for seen in where(rows, run=row["run"]):
            at = keys | {"step": seen["step"], "tokens_seen": seen["tokens_seen"]}
            columns = [(level, f"valid_level_{level}", chance) for level, chance in levels]
            found += [
                at | {"level": level, "correct": seen[name], "chance": chance}
                for level, name, chance in columns
                if seen.get(name, "") != ""
            ]
    return found


def in_common(rows: list[dict]) -> list[dict]:
    """Those at steps that all grammars have reached: one that stopped early does not change who is averaged."""
    grammars = {row["rules_seed"] for row in rows}
    steps_of = [{row["step"] for row in rows if row["rules_seed"] == seed} for seed in grammars]
    return [row for row in rows if row["step"] in set.intersection(*steps_of)]


def order(found: list[dict]) -> list[dict]:
    """The training step, and tokens seen, at which a level is half way, and over that of the level below."""
    rows: list[dict] = []
    for (process, data, level), part in group(found, "process", "data", "level").items():
        mine = in_common(part)
        row = {"process": process, "data": data, "num_train": mine[0]["num_train"], "level": level}
        row |= {"grammars": len(distinct(mine, "rules_seed"))} | half_way(mine, "step", "half_way_step")
        step, below = row["half_way_step"], rows[-1] if level > 1 else None
        row["half_way_tokens"] = step * mine[0]["tokens_seen"] / mine[0]["step"] if step else ""
        known = below and step and not row["half_way_step_bound"] and not below["half_way_step_bound"]
        rows.append(row | {"over_level_below": step / below["half_way_step"] if known else ""})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """For every process correct rules by level, valid sentences and copies against P, and rules against steps."""
    kinds = distinct(tables["rules"], "process", "data")
    figure, axes = sheet(4 * len(kinds), height=2.7)
    for k, (process, data) in enumerate(kinds):
        rules, copies, during = (
            where(tables[name], process=process, data=data) for name in ("rules", "copies", "emergence")
        )
        left, middle, right, last = axes[4 * k : 4 * k + 4]
        last.set_axis_off()
        draw_levels(left, rules, "num_train")
        for level, mine in group(rules, "level").items():
            style = {"color": colour(level - 1, max(distinct(rules, "level"))), "markersize": 4}
            left.plot(mine[0]["theory"], 0.02, "v", transform=left.get_xaxis_transform(), **style)
        finish(
            left, f"{process} noise, {data}; triangles: theory", "lines", **settings("training sentences P", "rules")
        )
        for i, (name, label) in enumerate(LINES.items()):
            curve(middle, copies, "num_train", name, i, label, linestyle="--" if name == "chance_of_copy" else "-")
        finish(middle, "Sampled sentences", "lines", **settings("training sentences P", "samples"))
        if not during:
            right.set_axis_off()
            continue
        draw_levels(right, in_common(during), "step")
        tokens = during[0]["tokens_seen"] // during[0]["step"]
        title = f"During training, P = {during[0]['num_train']}; dotted: chance"
        finish(right, title, "lines", **settings(f"training step ({tokens} tokens each)", "rules"))
    note(figure, f"{scale(tables['runs'])}; bars: standard error over grammars")
    figure.savefig(path)


def settings(xlabel: str, of: str) -> dict:
    ylabel = "correct rules in samples" if of == "rules" else "fraction of samples"
    return {"xscale": "log", "ylim": (-0.03, 1.03), "xlabel": xlabel, "ylabel": ylabel}


def draw_levels(ax, rows: list[dict], x: str) -> None:
    """A curve a level against P or steps, its chance dotted."""
    levels = sorted(distinct(rows, "level"))
    for i, level in enumerate(levels):
        mine = where(rows, level=level)
        curve(ax, mine, x, "correct", i, f"level {level}", of=len(levels))
        ax.axhline(fmean(row["chance"] for row in mine), color=colour(i, len(levels)), linestyle=":", linewidth=0.8)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(
        argv,
        name="diffusion_rhm",
        measure=measure,
        conclude=conclude,
        draw=draw,
        options={"num_samples": 4096},
        shows="steps",
        tiny={"num_samples": 64},
    )


if __name__ == "__main__":
    main()
