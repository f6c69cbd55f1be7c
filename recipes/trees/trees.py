"""A GPT-2 that learns the next tokens of trees of varying shape, and its exact KL against P.

    python recipes/trees/trees.py --config recipes/trees/cpu.yaml [--figures FOLDER]
    python recipes/trees/trees.py --draw docs/figures

Trains every run of the sweep that is not finished, then writes `trees.png` and its tables: `trees_runs.csv` (the kept
evaluation of every run, with the KL at the end of the sentences) and `trees_positions.csv` (its KL by position).
"""

from pathlib import Path

from rhm_hf.ensembles import group, scale
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.plots import colour, curve, finish, note, sheet
from rhm_hf.training.recipe import Tables, kept_runs, recipe_main
from rhm_hf.training.results import versions


KEYS = ("data", "rules_seed", "model_seed", "num_train")
KEPT = (*KEYS, "step", "stopped_by", "validation_loss", "train_loss", "kl", "kl_stderr", "kl_end", "entropy")


def measure(rows: list[dict], values: dict) -> Tables:
    """The kept evaluation of every run, and its KL at every position, at the fresh sentences it was judged at."""
    runs = kept_runs(rows, values)
    positions = []
    for run in runs:
        found = kl_divergence(run.model(), run.grammar(), num_sentences=run.arguments.training.kl_sentences)
        of_positions = zip(found["positions"], found["kl_per_position"], strict=True)
        positions += [run.keys(*KEYS) | {"position": i, "kl": kl} for i, kl in of_positions if kl is not None]
    return {"runs": [run.keys(*KEPT, *versions()) for run in runs], "positions": positions}


def draw(tables: Tables, path: Path) -> None:
    """KL against P, of all tokens and of END alone; and by position for every P."""
    runs = sorted(tables["runs"], key=lambda row: row["num_train"])
    figure, (left, right) = sheet(2, height=3.0)
    for i, (data, mine) in enumerate(group(runs, "data").items()):
        curve(left, mine, "num_train", "kl", 2 * i, f"{data}", hollow=lambda row: row["stopped_by"] == "max_steps")
        curve(left, mine, "num_train", "kl_end", 2 * i + 1, "at END")
    axes = {"xscale": "log", "yscale": "log", "xlabel": "training sentences P"}
    finish(left, "Exact KL", "lines", ylabel="KL (nats per token)", **axes)
    sizes = group(tables["positions"], "num_train")
    for i, size in enumerate(sorted(sizes)):
        mine = group(sizes[size], "position")
        means = [sum(row["kl"] for row in rows) / len(rows) for rows in mine.values()]
        right.plot(list(mine), means, color=colour(i, len(sizes)), linewidth=1, label=f"P = {size}")
    finish(right, "By position", "lines", yscale="log", xlabel="position", ylabel="KL (nats per token)")
    text = f"{scale(runs)}; hollow: stopped by the step limit; bars: standard error over grammars, where there are "
    note(figure, text + "several. Late positions are those of few, long sentences.")
    figure.savefig(path)


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="trees", measure=measure, draw=draw, shows="runs")


if __name__ == "__main__":
    main()
