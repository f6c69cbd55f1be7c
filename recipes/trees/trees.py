"""Networks on trees of varying shape: the root by the paper's CNN and by a transformer, next tokens by a GPT-2.

    python recipes/trees/trees.py --config recipes/trees/cpu.yaml [--figures FOLDER]
    python recipes/trees/trees.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `trees.png` and its tables: `trees_roots.csv` (the last
evaluation of every classifier, with P over the exact threshold of its grammar and over the published law),
`trees_thresholds.csv` (where the error is half of that of a guess), `trees_runs.csv` (the kept evaluation of
every GPT-2), and its KL by position (`_positions`), by level (`_levels`) and by the kind of rule that a token decides
(`_rules`).
"""

from collections import defaultdict
from pathlib import Path

from rhm_hf import Grammar, theory
from rhm_hf.ensembles import averages, group, limited, marked, scale, unconverged, where
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.plots import colour, curve, finish, ink, note, place_line, sheet
from rhm_hf.statistics import last_crossing
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


KEYS = ("data", "rules_seed", "model_seed", "num_train")
KEPT = (*KEYS, "model", "step", "stopped_by", "validation_loss", "train_loss", "kl", "kl_stderr", "kl_end", "entropy")
ROOTS = ("variant", "model", *KEYS, "step", "train_loss", "test_accuracy", "accuracy", "bayes_accuracy", "kl")
NAMES = {"hierarchical_cnn": "CNN", "bert": "transformer"}
SCALES = {"over_exact": "exact threshold", "over_formula": "published law"}


def measure(rows: list[dict], values: dict) -> Tables:
    """Errors of the classifiers; KL of the GPT-2 and its parts, at the fresh sentences that it was judged at."""
    found: Tables = {name: [] for name in ("roots", "runs", "positions", "levels", "rules")}
    for run in kept_runs(rows, values):
        if run.arguments.training.task == "classification":
            found["roots"].append(root_row(run))
            continue
        model, grammar = run.model(), run.grammar()
        options = {"num_sentences": run.arguments.training.kl_sentences}
        levels = kl_divergence(model, grammar, split="levels", **options)
        of_positions = zip(levels["positions"], levels["kl_per_position"], strict=True)
        found["runs"].append(run.keys(*KEPT, *versions()))
        found["positions"] += [run.keys(*KEYS) | {"position": i, "kl": kl} for i, kl in of_positions if kl is not None]
        found["levels"] += parts(run, "level", levels)
        found["rules"] += parts(run, "kind", by_kind(kl_divergence(model, grammar, split="rules", **options)))
    return found


def root_row(run: KeptRun) -> dict:
    """The error on sentences that were not trained on, beyond that of the exact posterior, as a share of a guess's."""
    grammar, row = run.grammar(), run.keys(*(name for name in ROOTS if name in run.row))
    error, least = 1 - run["test_accuracy"], 1 - run["bayes_accuracy"]
    exact, formula = theory.root_threshold(grammar), theory.tree_sample_complexity(grammar.parameters)
    row |= {"error": error, "relative_error": (error - least) / (1 - 1 / grammar.num_classes - least)}
    row |= {"exact_threshold": exact, "formula": formula}
    return row | {
        "over_exact": run["num_train"] / exact,
        "over_formula": run["num_train"] / formula,
        **versions_of(run),
    }


def versions_of(run: KeptRun) -> dict:
    return run.keys(*versions())


def by_kind(found: dict) -> dict:
    """The KL by rule, summed over the rules of a level with the same number of children."""
    sums = defaultdict(lambda: [0.0, 0.0])
    for name, kl, share in zip(found["split_groups"], found["kl_split"], found["split_share"], strict=True):
        left, arrow, right = name.partition(" -> ")
        kind = f"level {left.split('.')[0]}, {len(right.split())} children" if arrow else name
        sums[kind][0] += kl
        sums[kind][1] += share
    kinds = sorted(sums)
    return {"split_groups": kinds} | {
        key: [sums[k][i] for k in kinds] for i, key in enumerate(("kl_split", "split_share"))
    }


def parts(run: KeptRun, name: str, found: dict) -> list[dict]:
    """A row for every group that has tokens: what it adds to the KL, its share of the tokens, and their mean KL."""
    rows = zip(found["split_groups"], found["kl_split"], found["split_share"], strict=True)
    return [
        run.keys(*KEYS) | {name: key, "adds": kl, "share": share, "kl": kl / share} for key, kl, share in rows if share
    ]


def conclude(tables: Tables) -> Tables:
    """Where the mean error of a variant comes down to half of that of a guess, over the threshold and the law."""
    rows = []
    for (variant, model, data), mine in group(tables["roots"], "variant", "model", "data").items():
        sizes, errors, _ = averages(mine, "num_train", "relative_error")
        if len(sizes) < 2:
            continue
        half = marked(last_crossing(sizes, errors, 0.5), sizes)
        exact = sum(row["exact_threshold"] for row in mine) / len(mine)
        found = {"variant": variant, "model": model, "data": data, **half, "exact_threshold": exact}
        found |= {"formula": mine[0]["formula"], "over_exact": half["half_way"] / exact}
        rows.append(found | {"over_formula": half["half_way"] / mine[0]["formula"]})
    return {"thresholds": rows}


def draw(tables: Tables, path: Path) -> None:
    """Errors of the root against P, scaled twice; the KL of the GPT-2 by P, position, level and kind of rule."""
    figure, axes = sheet(6, height=2.8)
    for ax, (column, label) in zip(axes, SCALES.items(), strict=False):
        for i, ((_, model, data), mine) in enumerate(group(tables["roots"], "variant", "model", "data").items()):
            name = f"{NAMES.get(model, model)}, {short(data)}"
            if column == "over_exact":  # of the mean threshold, so that grammars share their places
                exact = sum(row["exact_threshold"] for row in mine) / len(mine)
                mine = [row | {column: row["num_train"] / exact} for row in mine]
            curve(ax, mine, column, "relative_error", i, name, hollow=unconverged)
        place_line(ax, 1)
        options = {"xscale": "log", "xlabel": f"P / {label}", "ylabel": "error beyond Bayes / that of a guess"}
        finish(ax, "The root", "lines", ylim=(0, 1.08), **options)
    draw_kl(axes[2], tables["runs"])
    draw_positions(axes[3], tables["positions"])
    draw_parts(axes[4], tables["levels"], "level", "By the level that a token opens")
    draw_kinds(axes[5], tables["rules"])
    text = (
        f"Root: {scale(tables['roots'])}; hollow: train loss above .1. GPT-2 on {short(tables['runs'][0]['data'])}: "
    )
    text += f"{scale(tables['runs'])}; hollow: stopped by the step limit. Late positions are those of few, long "
    note(figure, text + "sentences. Below: the parts sum to the KL; one by a rule may be negative.")
    figure.savefig(path)


def short(data: str) -> str:
    """`f = .25, L = 2` of the name of a grammar."""
    p = Grammar.from_name(data).parameters
    counts = dict(p.num_rules[0])
    return f"v = {p.vocab_size}, f = {counts.get(2, 0) / p.vocab_size:g}, L = {p.depth}"


def draw_kl(ax, runs: list[dict]) -> None:
    runs = sorted(runs, key=lambda row: row["num_train"])
    ended = {"hollow": limited}
    curve(ax, runs, "num_train", "kl", 0, "all tokens", **ended)
    curve(ax, runs, "num_train", "kl_end", 1, "at END", **ended)
    axes = {"xscale": "log", "yscale": "log", "xlabel": "training sentences P"}
    finish(ax, "GPT-2: exact KL", "lines", ylabel="KL (nats per token)", **axes)


def draw_positions(ax, rows: list[dict]) -> None:
    sizes = group(rows, "num_train")
    for i, size in enumerate(sorted(sizes)):
        mine = group(sizes[size], "position")
        means = [sum(row["kl"] for row in some) / len(some) for some in mine.values()]
        ax.plot(list(mine), means, color=colour(i, len(sizes)), linewidth=1, label=f"P = {size}")
    finish(ax, "By position", "lines", yscale="log", xlabel="position", ylabel="KL (nats per token)")


def draw_parts(ax, rows: list[dict], name: str, title: str) -> None:
    """The mean KL of the tokens of every group, against P."""
    groups = group(rows, name)
    for i, (key, mine) in enumerate(sorted(groups.items())):
        curve(ax, mine, "num_train", "kl", i, key.strip("()"))
    axes = {"xscale": "log", "yscale": "log", "xlabel": "training sentences P", "ylabel": "KL (nats per such token)"}
    finish(ax, title, "lines", **axes)


def draw_kinds(ax, rows: list[dict]) -> None:
    """What the rules of a kind add to the KL, at the smallest and the largest P."""
    sizes = sorted(group(rows, "num_train"))
    shown = sorted({sizes[0], sizes[-1]})
    kinds = sorted(group(rows, "kind"), reverse=True)
    for i, size in enumerate(shown):
        mine = where(rows, num_train=size)
        adds = [sum(row["adds"] for row in where(mine, kind=kind)) / len(group(mine, "rules_seed")) for kind in kinds]
        places = [k + 0.38 * (i - 0.5) for k in range(len(kinds))]
        ax.barh(places, adds, height=0.36, color=ink(i)["color"], label=f"P = {size}")
    ax.set_yticks(range(len(kinds)), [kind.strip("()").replace("level ", "") for kind in kinds])
    finish(ax, "By what a token decides: level, children", xlabel="adds to the KL (nats per token)")
    ax.tick_params(axis="y", labelsize=6.5)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="trees", measure=measure, conclude=conclude, draw=draw, shows="thresholds")


if __name__ == "__main__":
    main()
