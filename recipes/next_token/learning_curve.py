"""A learning curve: KL to the exact law against the number of training sentences P, beside the exact plateaus.

    python recipes/next_token/learning_curve.py --config recipes/next_token/demo.yaml [--num_train 256 1024 ..]

Trains one model for every value of `num_train` (finished runs are skipped, killed ones resumed), prints the table and
writes into `output_dir`: `results.csv` (all evaluations), `learning_curve.csv` (the best of each run),
`learning_curve.png` and `model`, the best model, which `AutoModelForCausalLM.from_pretrained` loads.
"""

import shutil
import sys
import time
from pathlib import Path

from rhm_hf import Grammar
from rhm_hf.inference import plateau, position_entropies
from rhm_hf.plots import learning_curve
from rhm_hf.training.arguments import Arguments, parse_sweep
from rhm_hf.training.results import best_row, write_csv
from rhm_hf.training.sweep import expand, sweep


def main(argv: list[str] | None = None) -> None:
    """Trains, prints, draws."""
    start = time.perf_counter()
    values = parse_sweep(argv, extra=["num_workers"])
    num_workers = values.pop("num_workers", 1)
    if listed := [name for name, value in values.items() if isinstance(value, list) and name != "num_train"]:
        raise ValueError(f"{', '.join(listed)}: only num_train may be listed in a learning curve")
    runs = expand(values)
    folder = Path(runs[0].training.output_dir).parent
    grammar = Grammar.from_name(runs[0].data.grammar, rules_seed=runs[0].data.rules_seed)
    print(
        f"{len(runs)} runs in {folder}, {num_workers} at a time: minutes the first time, seconds after that",
        flush=True,
    )
    rows = sweep(values, num_workers)
    best = sorted(best_rows(rows), key=lambda row: row["num_train"])
    write_csv(folder / "learning_curve.csv", best)
    learning_curve(best, grammar, folder / "learning_curve.png")
    copy_model(runs, best, folder / "model")
    print(table(best, grammar))
    seconds = time.perf_counter() - start
    print(f"\n{folder}/: results.csv, learning_curve.csv, learning_curve.png, model ({seconds:.0f} s)")


def best_rows(rows: list[dict]) -> list[dict]:
    """The best row of every run."""
    names = dict.fromkeys(row["run"] for row in rows)
    return [best_row([row for row in rows if row["run"] == name]) for name in names]


def copy_model(runs: list[Arguments], best: list[dict], target: Path) -> None:
    """Copies the model with the lowest validation loss of all."""
    name = min(best, key=lambda row: row["validation_loss"])["run"]
    source = next(Path(run.training.output_dir) for run in runs if Path(run.training.output_dir).name == name)
    shutil.copytree(source / "model", target, dirs_exist_ok=True)


def table(best: list[dict], grammar: Grammar) -> str:
    """The measured values and, below, the exact ones they are read against."""
    rate, rate_last = best[0]["entropy"], best[0]["entropy_last"]
    lines = [
        f"{grammar.name}: {grammar.sentence_length} tokens per sentence, {grammar.num_sentences:,} sentences. "
        "Nats per token; best evaluation of each run.",
        "",
        f"{'':>22}  {'all positions':^40}  {'last position':^18}",
        f"{'P':>22}  {'test loss':>9} {'KL':>12} {'':>8} {'entropy':>8}  {'cross-entropy':>13} {'KL':>8}",
    ]
    for row in best:
        lines.append(
            f"{row['num_train']:>22}  {row['test_loss']:9.4f} {row['kl']:12.4f} +-{row['kl_stderr']:6.4f} {rate:8.4f}"
            f"  {row['kl_last'] + rate_last:13.4f} {row['kl_last']:8.4f}"
        )
    lines += ["", "Exact: the best possible model that sees only its own aligned block of tokens"]
    for level in range(grammar.depth + 1):
        law, last = plateau(grammar, level), float(position_entropies(grammar, level)[-1])
        label = f"level {level}, block of {grammar.block_length(level)}"
        lines.append(
            f"{label:>22}  {law:9.4f} {law - rate:12.4f} {'':>8} {rate:8.4f}  {last:13.4f} {last - rate_last:8.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
