"""One small GPT-2 for every family of sources, and its exact KL to the law that wrote its training set.

    python recipes/families/families.py --config recipes/families/cpu.yaml [--figures FOLDER]
    python recipes/families/families.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `families.png` and its tables: `families_models.csv`
(the best evaluation of every model beside a model without context) and `families_training.csv` (all evaluations).
"""

from pathlib import Path

from rhm_hf.ensembles import distinct, group, scale, where
from rhm_hf.inference import plateau
from rhm_hf.plots import finish, ink, note, sheet
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


KEPT = ("variant", "data", "rules_seed", "num_train", "step", "kl", "kl_stderr", "entropy", "seconds")


def measure(rows: list[dict], values: dict) -> Tables:
    """Reads the KL off the results."""
    rows = [row | {"variant": row.get("variant") or row["data"]} for row in rows]
    training = [{key: row[key] for key in ("variant", "data", "step", "kl")} for row in rows]
    return {"models": [model_row(run) for run in kept_runs(rows, values)], "training": training}


def model_row(run: KeptRun) -> dict:
    """The exact KL of a model beside that of one that ignores its context; nats per token."""
    grammar = run.grammar()
    blind = plateau(grammar, 0) - plateau(grammar, grammar.depth)
    return run.keys(*KEPT, *versions()) | {"blind_kl": blind, "share": run["kl"] / blind}


def draw(tables: Tables, path: Path) -> None:
    """The KL of every model while it is trained, and what is left at the end of that of a model without context."""
    figure, (left, right) = sheet(2, height=3.4)
    runs = group(tables["training"], "variant")
    for i, mine in enumerate(runs.values()):
        style = {**ink(i), "markersize": 3, "linewidth": 1}
        left.plot([r["step"] for r in mine], [r["kl"] for r in mine], "-", **style)
    finish(left, "Exact KL while training", yscale="log", xlabel="training step", ylabel="KL (nats per token)")
    names = {variant: i for i, variant in enumerate(distinct(tables["models"], "variant"))}
    for row in tables["models"]:
        i = names[row["variant"]]
        style = {**ink(i), "capsize": 2, "markersize": 4}
        right.errorbar(row["share"], i, xerr=row["kl_stderr"] / row["blind_kl"], **style)
    labels = {variant: where(tables["training"], variant=variant)[0]["data"] for variant in names}
    right.set_yticks(list(names.values()), labels.values())
    right.invert_yaxis()
    finish(right, "What is left of the KL without context", xlim=(0, None), xlabel="KL / KL without context")
    right.tick_params(axis="y", labelsize=6.5)
    text = f"{scale(tables['models'])} a family; bars: standard error over sentences. Left: marks as at the right."
    note(figure, text)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="families", measure=measure, draw=draw, shows="models")


if __name__ == "__main__":
    main()
