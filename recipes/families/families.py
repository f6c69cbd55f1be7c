"""One small GPT-2 for every family of sources, and its exact KL to the law that wrote its training set.

    python recipes/families/families.py --config recipes/families/cpu.yaml [--figures FOLDER]
    python recipes/families/families.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `families.png` and its tables: `families_models.csv`
(the best evaluation of every model beside a model without context) and `families_training.csv` (all evaluations).
"""

import sys
from pathlib import Path

from rhm_hf import Grammar
from rhm_hf.inference import plateau
from rhm_hf.plots import colour, finish, new_figure
from rhm_hf.training.recipe import Tables, recipe_main
from rhm_hf.training.results import best_rows, versions


KEPT = ("variant", "data", "rules_seed", "num_train", "step", "kl", "kl_stderr", "entropy", "seconds")


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the KL off the results."""
    training = [{key: row[key] for key in ("variant", "data", "step", "kl")} for row in rows]
    return {"models": [model_row(row) for row in best_rows(rows)], "training": training}


def model_row(row: dict) -> dict:
    """The exact KL of a model beside that of one that ignores its context; nats per token."""
    grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
    blind = plateau(grammar, 0) - plateau(grammar, grammar.depth)
    return {key: row[key] for key in (*KEPT, *versions())} | {"blind_kl": blind, "share": row["kl"] / blind}


def draw(tables: Tables, path: Path) -> None:
    """The KL of every model while it is trained, and what is left at the end of that of a model without context."""
    figure, (left, right) = new_figure(2, width=5.6, height=4.4)
    draw_training(left, tables["training"])
    models = tables["models"]
    for i, row in enumerate(models):
        style = {"fmt": "o", "color": colour(i, len(models)), "capsize": 2}
        right.errorbar(row["share"], row["variant"], xerr=row["kl_stderr"] / row["blind_kl"], **style)
    right.invert_yaxis()
    finish(
        right, "What is left of the KL without context", xlim=(0, None), xlabel="KL / KL of a model without context"
    )
    figure.savefig(path)


def draw_training(ax, rows: list[dict]) -> None:
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    for i, variant in enumerate(variants):
        mine = [row for row in rows if row["variant"] == variant]
        label = mine[0]["data"]
        steps, kl = [row["step"] for row in mine], [row["kl"] for row in mine]
        ax.plot(steps, kl, marker="os^Dv"[i % 5], markersize=3, color=colour(i, len(variants)), label=label)
    finish(ax, "GPT-2, next token: exact KL", yscale="log", xlabel="training step", ylabel="KL (nats per token)")


if __name__ == "__main__":
    recipe_main(sys.argv[1:], name="families", measure=measure, draw=draw)
