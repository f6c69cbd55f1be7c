"""Learning the last token: loss and KL against P for a transformer and a CNN, beside counting learners and theory.

    python recipes/last_token/last_token.py --config recipes/last_token/cpu.yaml [--figures FOLDER]
    python recipes/last_token/last_token.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `last_token.png` and its tables: `last_token_runs.csv`
(the best evaluation of every run), `_plateaus.csv` (exact, with the P_l of theory), `_ngrams.csv`, `_half_way.csv`
(where each curve is half way between two plateaus) and `_exponents.csv` (how those points grow with m).
"""

import math
import sys
from pathlib import Path

import numpy as np

from rhm_hf import Grammar, HierarchicalNGramForCausalLM, NGramForCausalLM, theory
from rhm_hf.inference import position_entropies
from rhm_hf.plots import averages, colour, finish, new_figure
from rhm_hf.statistics import half_way_points, local_exponents, mean_half_way_points, plateau_polygon, synonym_exponent
from rhm_hf.tasks import LastToken
from rhm_hf.training.recipe import Tables, recipe_main
from rhm_hf.training.results import best_rows


ARCHITECTURES = {"gpt2": "transformer", "hierarchical_cnn": "cnn"}  # whose theory a model type is held against
EXPONENTS = {  # of m in the P at which level l is learnt
    "gpt2": lambda level: 2 * level - 1,
    "hierarchical_cnn": lambda level: 1 if level == 1 else level + 1,
    "hierarchical_ngram": lambda level: level,
}
NAMES = {"gpt2": "GPT-2", "hierarchical_cnn": "CNN", "ngram": "n-gram", "hierarchical_ngram": "hierarchical n-gram"}
MARKERS = {"gpt2": "o", "hierarchical_cnn": "s"}


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the curves off the results."""
    best = best_rows(rows)
    for row in best:
        row["loss"] = row["kl"] + row["entropy"]
    grammars = {
        (row["data"], row["rules_seed"]): Grammar.from_name(row["data"], rules_seed=row["rules_seed"]) for row in best
    }
    exact = {key: [float(e[-1]) for e in entropies(grammar)] for key, grammar in grammars.items()}
    counted = ngrams(best, grammars)
    counting = [row for row in counted if row["model"] == "hierarchical_ngram"]
    points, exponents = scaling(best + counting, exact, grammars)
    return {
        "runs": best,
        "plateaus": [row for key, grammar in grammars.items() for row in plateau_rows(grammar, exact[key])],
        "ngrams": counted,
        "half_way": points,
        "exponents": exponents,
        "slopes": slopes(best, exact, grammars, main_data(best)),
    }


def entropies(grammar: Grammar) -> list:
    return [position_entropies(grammar, level) for level in range(grammar.depth + 1)]


def main_data(best: list[dict]) -> str:
    """The ensemble with the most runs, which the first two panels show."""
    names = [row["data"] for row in best]
    return max(dict.fromkeys(names), key=names.count)


def plateau_rows(grammar: Grammar, losses: list[float]) -> list[dict]:
    p = grammar.parameters
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
        for size in sorted({row["num_train"] for row in best if row["data"] == data}):
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
    if model == "hierarchical_ngram":
        return theory.sample_complexity(parameters, level, task=model)
    return theory.sample_complexity(parameters, level, architecture=ARCHITECTURES[model])


def scaling(best: list[dict], exact: dict, grammars: dict) -> tuple[list[dict], list[dict]]:
    """Half-way points of every ensemble and model, and their exponents of m where several m have one depth."""
    points, exponents = [], []
    for model in dict.fromkeys(row["model"] for row in best):
        by_ensemble = {}
        for data in dict.fromkeys(row["data"] for row in best if row["model"] == model):
            seeds = sorted({row["rules_seed"] for row in best if (row["model"], row["data"]) == (model, data)})
            sizes, losses = curves(best, model, data, seeds)
            plateaus = np.array([exact[data, seed] for seed in seeds])
            # With few synonyms the highest levels may tell nothing new: there is no step then.
            falls = (np.diff(plateaus) < -1e-9).all(0)
            steps = len(falls) if falls.all() else int(falls.argmin())
            plateaus = plateaus[:, : steps + 1]
            mean, each = mean_half_way_points(sizes, losses, plateaus), half_way_points(sizes, losses, plateaus)
            p = grammars[data, seeds[0]].parameters
            by_ensemble[data] = (p, each)
            for level in range(1, steps + 1):
                predicted = predicted_size(model, p, level)
                point, (low, high) = mean.mean[level - 1], mean.interval[level - 1]
                row = {"model": model, "data": data, "level": level, "grammars": len(seeds), "half_way": point}
                points.append({**row, "low": low, "high": high, "theory": predicted, "ratio": point / predicted})
        exponents += synonym_exponents(model, list(by_ensemble.values()))
    return points, exponents


def synonym_exponents(model: str, ensembles: list) -> list[dict]:
    """Exponents of m in the half-way points of levels 1 and 2, where three values of m or more have one depth.

    `exponent` is of P (1-f), whose theory is a power of m, and of P for counting; `exponent_plain` of P itself.
    """
    rows = []
    for depth in sorted({p.depth for p, _ in ensembles}):
        same = [(p, each) for p, each in ensembles if p.depth == depth]
        if len(same) < 3:
            continue
        for level in (1, 2):
            parameters, columns = [p for p, _ in same], [each[:, level - 1] for _, each in same]
            if not all(np.isfinite(c).all() and (c > 0).all() for c in columns):
                continue  # not all curves take this step within their sizes
            plain = synonym_exponent(parameters, columns)
            fit = synonym_exponent(parameters, columns, divide_correlations=model in ARCHITECTURES)
            found = {"model": model, "level": level, "depth": depth, "exponent": fit.exponent}
            found |= {"low": fit.interval[0], "high": fit.interval[1], "theory": EXPONENTS[model](level)}
            found |= {"exponent_plain": plain.exponent, "amplitude_plain": plain.amplitude}
            rows.append(found | {"synonyms": " ".join(str(p.num_synonyms) for p in parameters)})
    return rows


def slopes(best: list[dict], exact: dict, grammars: dict, data: str) -> list[dict]:
    """Local exponents of L(P) - L_L, with the exact L_L, beside the polygon of plateaus that theory puts there."""
    rows = []
    for model in dict.fromkeys(row["model"] for row in best):
        seeds = sorted({row["rules_seed"] for row in best if (row["model"], row["data"]) == (model, data)})
        sizes, losses = curves(best, model, data, seeds)
        plateaus = np.array([exact[data, seed] for seed in seeds])
        parameters = grammars[data, seeds[0]].parameters
        found = local_exponents(sizes, losses, plateaus[:, -1], window=min(4, len(sizes)))
        for size, value, (low, high) in zip(found.sizes, found.exponents, found.intervals, strict=True):
            row = {"model": model, "kind": "measured, four sizes", "P": size, "exponent": value}
            rows.append(row | {"low": low, "high": high})
        mean = plateaus.mean(0)
        polygon = plateau_polygon(parameters, mean, mean[-1], ARCHITECTURES[model], corner="half_way")
        middles = np.sqrt(polygon.sizes[1:] * polygon.sizes[:-1])
        for size, value in zip(middles, polygon.exponents, strict=True):
            rows.append({"model": model, "kind": "polygon of theory", "P": size, "exponent": value})
        limit = theory.learning_exponent(parameters, ARCHITECTURES[model])
        rows.append({"model": model, "kind": "asymptotic", "P": "", "exponent": limit})
    return rows


def curves(best: list[dict], model: str, data: str, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Sizes `(sizes,)` and losses `(grammars, sizes)`."""
    mine = [row for row in best if (row["model"], row["data"]) == (model, data)]
    sizes = sorted({row["num_train"] for row in mine})
    table = {(row["rules_seed"], row["num_train"]): row["loss"] for row in mine}
    return np.array(sizes), np.array([[table[seed, size] for size in sizes] for seed in seeds])


def draw(tables: Tables, path: Path) -> None:
    """Loss against P; KL to every truncated oracle against P; half-way points against m."""
    best, data = tables["runs"], main_data(tables["runs"])
    figure, (left, middle, right) = new_figure(3, width=4.6)
    mine = [row for row in best if row["data"] == data]
    models = list(dict.fromkeys(row["model"] for row in mine))
    exact = [row for row in tables["plateaus"] if row["data"] == data]
    depth = max(row["level"] for row in exact)
    for i, model in enumerate(models):
        left.errorbar(
            *averages([row for row in mine if row["model"] == model], "num_train", "loss"),
            marker=MARKERS[model],
            color=f"C{i}",
            markersize=4,
            capsize=2,
            label=NAMES[model],
        )
    for model, style in (("ngram", ":"), ("hierarchical_ngram", "-.")):
        rows = [row for row in tables["ngrams"] if (row["model"], row["data"]) == (model, data)]
        sizes, losses, _ = averages(rows, "num_train", "loss")
        left.plot(sizes, losses, style, color="0.5", label=NAMES[model])
    plateaus = averages(exact, "level", "loss")[1]
    for level, loss in enumerate(plateaus):
        left.axhline(loss, color="black", linestyle="--", linewidth=0.8)
        left.text(1.0, loss, f" $L_{level}$", fontsize=8, va="center", transform=left.get_yaxis_transform())
    for i, architecture in enumerate(("transformer", "cnn")):
        for level in range(1, depth + 1):
            predicted = next(row[architecture] for row in exact if row["level"] == level)
            left.plot(predicted, 0.02 + 0.025 * i, "v", color=f"C{i}", transform=left.get_xaxis_transform())
    finish(
        left,
        f"{data}, {len({r['rules_seed'] for r in mine})} grammars; triangles: $P_\\ell$ of theory",
        xscale="log",
        yscale="log",
        xlabel="training sentences P",
        ylabel="loss at the last token (nats)",
    )
    for level in range(depth + 1):
        rows = [row for row in mine if row["model"] == "gpt2"]
        sizes, kl, error = averages(rows, "num_train", f"kl_level_{level}")
        label = "no context" if level == 0 else f"level {level}: the {int(2**level) - 1} before"
        middle.errorbar(
            sizes, kl, error, marker="o", markersize=4, capsize=2, color=colour(level, depth + 1), label=label
        )
    finish(
        middle,
        "KL of GPT-2 to every truncated oracle: the lowest says its level",
        xscale="log",
        yscale="log",
        xlabel="training sentences P",
        ylabel="KL (nats)",
    )
    draw_scaling(right, tables, models)
    figure.savefig(path)


def draw_scaling(ax, tables: Tables, models: list[str]) -> None:
    """Half-way points against m with their fitted exponents, and theory, moved to them, dashed."""
    for fit in (row for row in tables["exponents"] if row["model"] in models):
        rows = [
            row
            for row in tables["half_way"]
            if (row["model"], row["level"]) == (fit["model"], fit["level"])
            and row["data"].endswith(f"L{fit['depth']}")
        ]
        synonyms = np.array([int(m) for m in str(fit["synonyms"]).split()])
        points, expected = (np.array([row[name] for row in rows]) for name in ("half_way", "theory"))
        bars = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - points)
        i = models.index(fit["model"])
        label = (
            f"{NAMES[fit['model']]}, level {fit['level']}: {fit['exponent']:.2f} "
            f"[{fit['low']:.2f}, {fit['high']:.2f}], theory {fit['theory']:g}"
        )
        style = {"fillstyle": "full" if fit["level"] == 1 else "none", "color": f"C{i}"}
        ax.errorbar(
            synonyms, points, np.where(np.isfinite(bars), bars, 0), fmt=MARKERS[fit["model"]], capsize=2, **style
        )
        line = fit["amplitude_plain"] * synonyms ** fit["exponent_plain"]
        ax.plot(synonyms, line, "-", color=f"C{i}", linewidth=0.8, label=label)
        ax.plot(synonyms, expected * math.exp(np.mean(np.log(points / expected))), "k--", linewidth=0.8)
    ticks = sorted({int(m) for fit in tables["exponents"] for m in str(fit["synonyms"]).split()})
    finish(
        ax,
        "Half-way points; exponents of m in P (1 - f)",
        xscale="log",
        yscale="log",
        xlabel="synonyms m",
        ylabel="P half way",
    )
    ax.set_xticks(ticks, [str(m) for m in ticks])
    ax.set_xticks([], minor=True)


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="last_token", measure=measure, draw=draw)
