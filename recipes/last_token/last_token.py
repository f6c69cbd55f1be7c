"""Learning the last token: loss and KL against P for a transformer and a CNN, beside counting learners and theory.

    python recipes/last_token/last_token.py --config recipes/last_token/cpu.yaml [--figures FOLDER]
    python recipes/last_token/last_token.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `last_token.png` and its tables: `last_token_runs.csv`
(the best evaluation of every run), `_plateaus.csv` (exact, with the P_l of theory), `_ngrams.csv`, `_half_way.csv`
(where each curve is half way between two plateaus) and `_exponents.csv` (how those points grow with m).
"""

import math
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, HierarchicalNGramForCausalLM, NGramForCausalLM, theory
from rhm_hf.ensembles import averages, distinct, ensemble, group, marked_mean, num_limited, scale, where
from rhm_hf.inference import last_token_plateaus
from rhm_hf.plots import INKS, MARKERS, curve, finish, level_line, note, sheet
from rhm_hf.statistics import (
    half_way_points,
    local_exponents,
    mean_half_way_points,
    num_steps,
    plateau_polygon,
    synonym_exponent,
)
from rhm_hf.tasks import LastToken
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main


CNN, COUNTING = "hierarchical_cnn", "hierarchical_ngram"
EXPONENTS = {  # of m in the P at which level l is learnt, by the theory that a model is held against
    "transformer": lambda level: 2 * level - 1,
    "cnn": lambda level: 1 if level == 1 else level + 1,
    COUNTING: lambda level: level,
}
NAMES = {
    "gpt2": "GPT-2",
    CNN: "CNN",
    "attention_only": "attention only",
    "ngram": "n-gram",
    COUNTING: "hierarchical n-gram",
}


def measure(rows: list[dict], values: dict) -> Tables:
    """The losses of all runs, the exact plateaus and the learners that count the same sentences."""
    runs = kept_runs(rows, values)
    best = [run.row | {"loss": run["kl"] + run["entropy"]} for run in runs]
    grammars = {(run["data"], run["rules_seed"]): run.grammar() for run in runs}
    plateaus = [row for grammar in grammars.values() for row in plateau_rows(grammar)]
    return {"runs": best, "plateaus": plateaus, "ngrams": ngrams(best, grammars)}


def conclude(tables: Tables) -> Tables:
    """Half-way points, how they grow with m, and local exponents, from losses and plateaus."""
    best, counting = tables["runs"], where(tables["ngrams"], model=COUNTING)
    points, exponents = scaling(best + counting, tables["plateaus"])
    found = {"half_way": points, "exponents": exponents}
    return found | {"slopes": slopes(where(best, data=main_data(best)), tables["plateaus"])}


def theory_of(model: str) -> str:
    """Whose theory a model type is held against: that of a transformer, but for a CNN and for counting."""
    return {CNN: "cnn", COUNTING: COUNTING}.get(model, "transformer")


def main_data(best: list[dict]) -> str:
    """The ensemble with the most runs, which the first two panels show."""
    sizes = {data: len(mine) for data, mine in group(best, "data").items()}
    return max(sizes, key=sizes.get)


def plateau_rows(grammar: Grammar) -> list[dict]:
    p = grammar.parameters
    losses = last_token_plateaus(grammar)
    return [
        {
            "data": grammar.name,
            "rules_seed": p.rules_seed,
            "level": level,
            "loss": loss,
            "bound": theory.plateau(p, level),
            "transformer": theory.sample_complexity(p, level) if level else "",
            "cnn": theory.sample_complexity(p, level, architecture="cnn") if level else "",
        }
        for level, loss in enumerate(losses)
    ]


def ngrams(best: list[dict], grammars: dict) -> list[dict]:
    """The counting learners on the same sentences, judged in the same way; the plain one where it is drawn."""
    rows = []
    for (data, seed), grammar in grammars.items():
        task = LastToken(grammar.vocab_size, grammar.sentence_length, grammar, "AutoModelForCausalLM")
        for size in sorted(distinct(where(best, data=data), "num_train")):
            tokens = grammar.sample(size)
            models = [HierarchicalNGramForCausalLM.fit(tokens, grammar)]
            if data == main_data(best):
                models.append(NGramForCausalLM.fit(tokens, grammar.sentence_length, num_symbols=grammar.vocab_size))
            for model in models:
                found = task.judge(model)
                run = {"model": model.config.model_type, "data": data, "rules_seed": seed, "num_train": size}
                rows.append({**run, "loss": found["kl"] + found["entropy"], **found})
    return rows


def predicted_size(model: str, parameters, level: int) -> float:
    """The theory's P of a level for a kind of model."""
    if model == COUNTING:
        return theory.sample_complexity(parameters, level, task=model)
    return theory.sample_complexity(parameters, level, architecture=theory_of(model))


def exact_losses(plateaus: list[dict], data: str, seeds: list[int]) -> np.ndarray:
    """The plateaus of some grammars of one ensemble, `(grammars, L+1)`."""
    _, losses = ensemble([row for row in where(plateaus, data=data) if row["rules_seed"] in seeds], "level", "loss")
    return losses


def scaling(best: list[dict], plateaus: list[dict]) -> tuple[list[dict], list[dict]]:
    """Half-way points of every ensemble and model, and their exponents of m where several m have one depth."""
    points, exponents = [], []
    for model, of_model in group(best, "model").items():
        by_ensemble = {}
        for data, mine in group(of_model, "data").items():
            seeds = sorted(distinct(mine, "rules_seed"))
            sizes, losses = ensemble(mine, "num_train", "loss", step_limited="keep")
            if len(sizes) < 2:
                continue
            exact = exact_losses(plateaus, data, seeds)
            steps = num_steps(exact)
            if not steps:
                continue
            mean = mean_half_way_points(sizes, losses, exact[:, : steps + 1])
            p = Grammar.from_name(data).parameters
            by_ensemble[data] = (p, half_way_points(sizes, losses, exact[:, : steps + 1]))
            for level in range(1, steps + 1):
                row = {"model": model, "data": data, "level": level, "grammars": len(seeds)}
                row["step_limited"] = num_limited(mine)  # whose losses are too high, and half-way points too far right
                points.append(row | half_way_row(mean, level) | {"theory": predicted_size(model, p, level)})
                points[-1]["ratio"] = points[-1]["half_way"] / points[-1]["theory"]
        exponents += synonym_exponents(model, list(by_ensemble.values()))
    return points, exponents


def half_way_row(mean, level: int) -> dict:
    """The mean half-way point of a level: a bound where some grammars take the step outside the P measured."""
    i = level - 1
    low, high = mean.interval[i]
    outside = {"num_before": int(mean.num_before[i]), "num_beyond": int(mean.num_beyond[i])}
    return marked_mean(mean.mean[i], *outside.values()) | outside | {"low": low, "high": high}


def synonym_exponents(model: str, ensembles: list) -> list[dict]:
    """Exponents of m in the half-way points of levels 1 and 2, where three values of m or more have one depth.

    `exponent` is of P (1-f), whose theory is a power of m, and of P for counting; `exponent_plain` of P itself.
    """
    rows = []
    for depth in sorted({p.depth for p, _ in ensembles}):
        same = [(p, each) for p, each in ensembles if p.depth == depth]
        if len(same) < 3:
            continue
        for level in range(1, 1 + min(2, *(each.shape[1] for _, each in same))):
            parameters, columns = [p for p, _ in same], [each[:, level - 1] for _, each in same]
            if len({p.num_synonyms for p in parameters}) < 3:
                continue
            if not all(np.isfinite(c).all() and (c > 0).all() for c in columns):
                continue  # not all curves take this step within their sizes
            plain = synonym_exponent(parameters, columns)
            fit = synonym_exponent(parameters, columns, divide_correlations=model != COUNTING)
            found = {"model": model, "level": level, "depth": depth, "exponent": fit.exponent}
            found |= {"low": fit.interval[0], "high": fit.interval[1], "theory": EXPONENTS[theory_of(model)](level)}
            found |= {"exponent_plain": plain.exponent, "amplitude_plain": plain.amplitude}
            rows.append(found | {"synonyms": " ".join(str(p.num_synonyms) for p in parameters)})
    return rows


def slopes(best: list[dict], plateaus: list[dict]) -> list[dict]:
    """Local exponents of L(P) - L_L, with the exact L_L, beside the polygon of plateaus that theory puts there."""
    rows = []
    for (model, data), mine in group(best, "model", "data").items():
        sizes, losses = ensemble(mine, "num_train", "loss", step_limited="keep")
        if len(sizes) < 2:
            continue
        exact = exact_losses(plateaus, data, distinct(mine, "rules_seed"))
        parameters = Grammar.from_name(data).parameters
        found = local_exponents(sizes, losses, exact[:, -1], window=min(4, len(sizes)))
        for i, (size, value, (low, high)) in enumerate(
            zip(found.sizes, found.exponents, found.intervals, strict=True)
        ):
            row = {
                "model": model,
                "kind": "measured, four sizes",
                "P": size,
                "exponent": value,
                "low": low,
                "high": high,
            }
            window = [row for row in mine if row["num_train"] in sizes[i : i + 4]]
            rows.append(row | {"step_limited": num_limited(window)})
        mean = exact.mean(0)
        polygon = plateau_polygon(parameters, mean, mean[-1], theory_of(model), corner="half_way")
        middles = np.sqrt(polygon.sizes[1:] * polygon.sizes[:-1])
        for size, value in zip(middles, polygon.exponents, strict=True):
            rows.append({"model": model, "kind": "polygon of theory", "P": size, "exponent": value})
        limit = theory.learning_exponent(parameters, theory_of(model))
        rows.append({"model": model, "kind": "asymptotic", "P": "", "exponent": limit})
    return rows


def draw(tables: Tables, path: Path) -> None:
    """Loss and its envelope against P; KL to every truncated oracle; half-way points against m; other ensembles."""
    best, data = tables["runs"], main_data(tables["runs"])
    mine, exact = where(best, data=data), where(tables["plateaus"], data=data)
    models, others = distinct(mine, "model"), [row for row in best if row["data"] != data]
    several = len({Grammar.from_name(row["data"]).parameters.num_synonyms for row in best}) > 1
    figure, axes = sheet(2 + len(models) + several + bool(others), height=2.8)
    draw_losses(axes[0], tables, mine, exact)
    draw_envelope(axes[1], mine, exact)
    for ax, model in zip(axes[2:], models, strict=False):
        draw_levels(ax, where(mine, model=model), model)
    if several:
        draw_scaling(axes[2 + len(models)], tables)
    if others:
        draw_others(axes[-1], others)
    text = (
        f"{data}: {scale(mine)}; bars: standard error over grammars. Triangles: $P_\\ell$ of theory (up: transformer, "
    )
    text += "down: CNN). Hollow: bounds, or runs ended by their step limit."
    note(figure, text)
    figure.savefig(path)


def draw_losses(ax, tables: Tables, mine: list[dict], exact: list[dict]) -> None:
    for i, (model, rows) in enumerate(group(mine, "model").items()):
        curve(ax, rows, "num_train", "loss", i, NAMES.get(model, model))
    for model, style in (("ngram", ":"), (COUNTING, "-.")):
        rows = where(tables["ngrams"], model=model, data=mine[0]["data"])
        ax.plot(*averages(rows, "num_train", "loss")[:2], style, color="0.5", linewidth=1, label=NAMES[model])
    for level, loss in zip(*averages(exact, "level", "loss")[:2], strict=True):
        level_line(ax, loss, f"$L_{level}$")
    theories = [theory_of(model) for model in distinct(mine, "model")]
    for kind, marker in (("transformer", "^"), ("cnn", "v")):  # in the colour of the first model that it is about
        ink = INKS[theories.index(kind)] if kind in theories else "0.5"
        for row in where(exact, rules_seed=exact[0]["rules_seed"])[1:]:
            ax.plot(row[kind], 0.03, marker, color=ink, markersize=4, transform=ax.get_xaxis_transform())
    labels = {"xlabel": "training sentences P", "ylabel": "loss at the last token (nats)"}
    finish(ax, mine[0]["data"], "lines", xscale="log", yscale="log", **labels)


def draw_envelope(ax, mine: list[dict], exact: list[dict]) -> None:
    """L(P) - L_L on the polygon of exact plateaus that theory puts there, and the slope of infinite depth."""
    parameters = Grammar.from_name(mine[0]["data"]).parameters
    plateaus = averages(exact, "level", "loss")[1]
    for i, (model, rows) in enumerate(group(mine, "model").items()):
        curve(ax, rows, "num_train", "kl", i, NAMES.get(model, model))  # which is the loss above the exact limit
        polygon = plateau_polygon(parameters, plateaus, plateaus[-1], theory_of(model), corner="half_way")
        ax.plot(polygon.sizes, polygon.excess, "--", color=INKS[i % len(INKS)], linewidth=0.9)
        limit, at = theory.learning_exponent(parameters, theory_of(model)), np.array(polygon.sizes[[0, -1]])
        ax.plot(at, polygon.excess[-1] * (at / at[-1]) ** -limit, ":", color=INKS[i % len(INKS)], linewidth=0.9)
    labels = {"xlabel": "training sentences P", "ylabel": f"$L(P) - L_{len(plateaus) - 1}$ (nats)"}
    title = "On the polygon of exact plateaus (dashed); dotted: slope of infinite depth"
    finish(ax, title, "lines", xscale="log", yscale="log", **labels)


def draw_levels(ax, rows: list[dict], model: str) -> None:
    """KL of one model to every truncated oracle: the lowest says what the model is."""
    levels = sorted(int(name.removeprefix("kl_level_")) for name in rows[0] if name.startswith("kl_level_"))
    levels = [level for level in levels if all(row[f"kl_level_{level}"] != "" for row in rows)]
    for level in levels:
        curve(ax, rows, "num_train", f"kl_level_{level}", level, f"level {level}", of=len(levels))
    title = f"{NAMES.get(model, model)}: KL to every truncated oracle"
    finish(ax, title, "lines", xscale="log", yscale="log", xlabel="training sentences P", ylabel="KL (nats)")


def draw_scaling(ax, tables: Tables) -> None:
    """Half-way points against m with their fitted exponents, and theory, moved to them, dashed."""
    points = [row for row in tables["half_way"] if row["model"] != COUNTING]
    shown = [fit for fit in tables["exponents"] if fit["model"] != COUNTING]
    depths = {fit["depth"] for fit in shown} or {Grammar.from_name(row["data"]).parameters.depth for row in points}
    models = distinct(points, "model")
    for (model, level), rows in group(points, "model", "level").items():
        rows = [row for row in rows if Grammar.from_name(row["data"]).parameters.depth in depths]
        look, i = {"marker": MARKERS[level], "color": INKS[models.index(model)]}, models.index(model)
        for row in rows:
            m = Grammar.from_name(row["data"]).parameters.num_synonyms
            if not row["half_way_bound"]:
                bars = np.abs(np.array([[row["low"]], [row["high"]]]) - row["half_way"])
                bars = np.where(np.isfinite(bars), bars, 0)
                ax.errorbar(m, row["half_way"], bars, **look, markersize=4, capsize=2, linestyle="none")
        for fit in where(shown, model=model, level=level):
            m = np.array([int(n) for n in str(fit["synonyms"]).split()])
            line = fit["amplitude_plain"] * m ** fit["exponent_plain"]
            label = f"{NAMES.get(model, model)}, {level}: $m^{{{fit['exponent']:.1f}}}$ ({fit['theory']:g})"
            ax.plot(m, line, "-", color=INKS[i], linewidth=0.9, label=label)
            expected = [row["theory"] for row in rows if not row["half_way_bound"]]
            if len(expected) == len(m):
                ax.plot(m, np.array(expected) * math.exp(np.mean(np.log(line / expected))), "k--", linewidth=0.7)
    title = "P half way, by model and level: exponent of m in P (1 - f) (theory's)"
    finish(ax, title, "lines", xscale="log", yscale="log", xlabel="synonyms m", ylabel="P half way")
    ticks = sorted({Grammar.from_name(row["data"]).parameters.num_synonyms for row in points})
    ax.set_xticks(ticks, [str(m) for m in ticks])
    ax.set_xticks([], minor=True)


def draw_others(ax, rows: list[dict]) -> None:
    """The exact KL of the other ensembles: a colour for each, a line for each model."""
    datas, models = distinct(rows, "data"), distinct(rows, "model")
    for (model, data), mine in group(rows, "model", "data").items():
        style = {"linestyle": "-" if model == models[0] else "--", "marker": MARKERS[models.index(model)]}
        curve(
            ax, mine, "num_train", "kl", datas.index(data), f"{NAMES.get(model, model)}, {data}", len(datas), **style
        )
    labels = {"xlabel": "training sentences P", "ylabel": "KL (nats)"}
    finish(ax, "Other ensembles", "lines", xscale="log", yscale="log", **labels)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="last_token", measure=measure, conclude=conclude, draw=draw, shows="half_way")


if __name__ == "__main__":
    main()
