"""Grammars in context: how far models are from a grammar of which n sentences stand in their prompt.

    python recipes/in_context/in_context.py --config recipes/in_context/cpu.yaml [--figures FOLDER]
    python recipes/in_context/in_context.py --draw docs/figures

Trains a model on prompts of which each has a grammar of its own (`fresh_grammars.py`) and judges it, and every one of
`pretrained` (directories or Hub ids), by `in_context_kl` on grammars that nobody was trained on. It writes
`in_context.png` and its tables: `in_context_runs.csv` (the run), `_models.csv` (a row per model, ensemble and n),
`_lines.csv` (a row per ensemble, learner and n, on the longest prompts), `_gains.csv` (a row per model, ensemble,
learner and n: the learner's KL less the model's on the same prompts, with its interval).
"""

from pathlib import Path

from rhm_hf.ensembles import distinct, group, where
from rhm_hf.grammar import Grammar
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.plots import INKS, MARKERS, few_ticks, finish, level_line, note, sheet
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


OPTIONS = {
    # That models are judged on: in the terms of the run's grammar, v, m and d.
    "ensembles": ["{grammar}", "{grammar}-cut1", "hmm-v{v}-h{v}-m{m}-d{d}-p0.5"],
    "pretrained": [],  # directories or Hub ids
    "judged_grammars": 48,
    "judged_mappings": 2,
    "judged_prompts": 4,
}
TINY = {"judged_grammars": 3, "judged_prompts": 2, "pretrained": []}
SHOWN = {  # line -> its name in the picture
    "uniform": "uniform law",
    "ngram": "n-gram, the best",
    "hierarchical_ngram": "hierarchical n-gram, told the rules",
    "correlation_learner": "correlation learner",
    "previous_token": "exact, sees one token",
}
TRAINED = "trained in context"
TITLES = {"-cut": "filtered: blocks independent", "hmm-": "hidden Markov source"}


def measure(rows: list[dict], values: dict, pretrained: list | str, ensembles: list | str, **options) -> Tables:
    """The run's model, and those that somebody else trained."""
    pretrained, ensembles = ([given] if isinstance(given, str) else given for given in (pretrained, ensembles))
    runs = kept_runs(rows, values)
    if len({run["data"] for run in runs}) > 1:
        raise ValueError("grammar has several values: models are judged on the ensembles of one")
    models = {_named(run): run.model() for run in runs} | {Path(p).name: load_model(str(p)) for p in pretrained}
    p, d = runs[0].grammar().parameters, runs[0].grammar().sentence_length
    names = {"grammar": runs[0]["data"], "v": p.vocab_size, "m": p.num_synonyms, "d": d}
    options["ensembles"] = [ensemble.format(**names) for ensemble in ensembles]
    keys = ("data", "task", "model", "rules_seed", "model_seed", "step", "train_loss", "validation_loss", "stopped_by")
    return {"runs": [run.keys(*keys) for run in runs]} | judged(models, **options)


def _named(run) -> str:
    """What a picture calls a run's model."""
    seed, easy = run["model_seed"], run["task"] == "growing_prompts"
    return f"{run['model']} {TRAINED}" + (", easy first" if easy else "") + (f", seed {seed}" if seed else "")


def judged(
    models: dict, ensembles: list[str], judged_grammars: int, judged_mappings: int, judged_prompts: int
) -> Tables:
    """Tables of models by name, each on fresh grammars of every ensemble."""
    curves, lines, gains = [], [], []
    for data in ensembles:
        found = {}
        for name, model in models.items():
            options = {"num_grammars": judged_grammars, "num_mappings": judged_mappings, "num_prompts": judged_prompts}
            found[name] = in_context_kl(model, Grammar.from_name(data), **options)
            curves += _curve(found[name], {"data": data, "model": name})
            gains += _gains(found[name], {"data": data, "model": name})
        longest = max(found.values(), key=lambda result: result["num_examples"][-1])
        lines += _lines(longest, data)
    return {"models": curves, "lines": lines, "gains": gains}


def _curve(found: dict, keys: dict) -> list[dict]:
    rows = []
    for k, n in enumerate(found["num_examples"]):
        row = keys | {"num_examples": n}
        for name in ("kl", "kl_within"):
            row |= {name: found[name][k], f"{name}_low": found[f"{name}_interval"][k][0]}
            row |= {f"{name}_high": found[f"{name}_interval"][k][1]}
        row |= {name: found[name][k] for name in ("leak_cost", "leaked_mass")}
        row |= {f"position_{i}": kl for i, kl in enumerate(found["kl_per_position"][k], start=1)}
        row["mapping_std"] = "" if found["mapping_std"] is None else found["mapping_std"][k]
        same = ("entropy", "unit", "num_grammars", "num_mappings", "num_prompts", "symbols")
        rows.append(row | {name: found[name] for name in same})
    return rows


def _lines(found: dict, data: str) -> list[dict]:
    rows = []
    for line, values in found["lines"].items():
        for k, n in enumerate(found["num_examples"]):
            low, high = values["interval"][k]
            row = {"data": data, "line": line, "num_examples": n, "kl": values["kl"][k], "low": low, "high": high}
            rows.append(row | {f"position_{i}": kl for i, kl in enumerate(values["per_position"][k], start=1)})
    return rows


def _gains(found: dict, keys: dict) -> list[dict]:
    rows = []
    for line, values in found["lines"].items():
        for k, n in enumerate(found["num_examples"]):
            low, high = values["gain_interval"][k]
            rows.append(keys | {"line": line, "num_examples": n, "gain": values["gain"][k], "low": low, "high": high})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """KL against n on every ensemble, and the gains of every model that was trained here over the n-gram."""
    ensembles = distinct(tables["models"], "data")
    models = distinct(tables["models"], "model")
    trained = [name for name in models if TRAINED in name] or models[:1]
    figure, axes = sheet(len(ensembles) + len(trained), height=3.0)
    for ax, data in zip(axes, ensembles, strict=False):
        draw_ensemble(ax, data, tables)
    for ax, name in zip(axes[len(ensembles) :], trained, strict=True):
        draw_gains(ax, where(tables["gains"], model=name, line="ngram"))
    first = tables["models"][0]
    text = f"KL of the next sentence, q renormalised to the symbols. {first['num_grammars']} fresh grammars, "
    text += f"{first['num_prompts']} prompts of each; bars: 95 % over grammars. Ensembles: {', '.join(ensembles)}. "
    text += "Dashed: laws that know nothing, or the grammar but one token only. n-gram: the best kind at each n."
    note(figure, text)
    figure.savefig(path)


def draw_ensemble(ax, data: str, tables: Tables) -> None:
    """Models in colour, learners in grey and black."""
    for i, (name, rows) in enumerate(group(where(tables["models"], data=data), "model").items()):
        _bars(ax, rows, "kl_within", "kl_within_low", "kl_within_high", i, name)
    styles = {"ngram": ("black", "-"), "hierarchical_ngram": ("0.35", ":"), "correlation_learner": ("0.35", "-.")}
    for line, rows in group(where(tables["lines"], data=data), "line").items():
        x, y = [place(row) for row in rows], [row["kl"] for row in rows]
        if line in styles:
            colour, style = styles[line]
            ax.plot(x, y, style, color=colour, linewidth=0.9, label=SHOWN[line])
        elif line in ("uniform", "previous_token"):
            level_line(ax, sum(y) / len(y), SHOWN[line])
    labels = {"xlabel": "sentences in the prompt n", "ylabel": "KL (nats per token)"}
    _ticks(ax, where(tables["lines"], data=data))  # first: labels stand where lines end on the final axis
    finish(ax, title_of(data), "lines", yscale="log", **labels)


def draw_gains(ax, gains: list[dict]) -> None:
    """What a model is below the n-gram, on every ensemble."""
    for i, (data, rows) in enumerate(group(gains, "data").items()):
        _bars(ax, rows, "gain", "low", "high", i, title_of(data))
    ax.axhline(0, color="black", linewidth=0.7)
    label = "KL of n-gram - KL (nats per token)"
    _ticks(ax, gains)
    finish(ax, f"{gains[0]['model']}: gain", "lines", xlabel="sentences in the prompt n", ylabel=label)


def title_of(data: str) -> str:
    """What a picture calls an ensemble."""
    return next((text for part, text in TITLES.items() if part in data), "uniform rules")


def place(row: dict) -> float:
    """Where n stands on an axis of powers of two: 0 half a step before 1."""
    return row["num_examples"] or 0.5


def _bars(ax, rows: list[dict], value: str, low: str, high: str, i: int, label: str) -> None:
    y = [row[value] for row in rows]
    bars = [[row[value] - row[low] for row in rows], [row[high] - row[value] for row in rows]]
    look = {"markersize": 3.5, "capsize": 1.5, "linewidth": 1.1, "color": INKS[i], "marker": MARKERS[i]}
    ax.errorbar([place(row) for row in rows], y, bars, label=label, **look)


def _ticks(ax, rows: list[dict]) -> None:
    ax.set_xscale("log", base=2)
    sizes = distinct(rows, "num_examples")
    few_ticks(ax, [size for size in sizes if size])
    ticks = ax.get_xticks()
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    ax.set_xticks([0.5, *ticks], ["0", *labels])


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="in_context", measure=measure, draw=draw, options=OPTIONS, tiny=TINY, shows="models")


if __name__ == "__main__":
    main()
