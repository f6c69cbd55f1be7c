"""A learning curve: KL to the exact law against the number of training sentences P, beside the exact plateaus.

    python recipes/next_token/learning_curve.py --config recipes/next_token/demo.yaml [--num_train 256 1024 ..]

Trains one model for every value of `num_train` (finished runs are skipped, killed ones resumed), prints the table and
writes into `output_dir`: `results.csv` (all evaluations), `learning_curve.png` with what it shows in
`learning_curve.csv` (the best evaluation of each run) and `plateaus.csv` (exact), and `model`, the best model, which
`AutoModelForCausalLM.from_pretrained` loads.
"""

import math
import shutil
import sys
import time
from pathlib import Path

from rhm_hf import Grammar
from rhm_hf.plots import learning_curve, plateaus
from rhm_hf.training.arguments import Arguments, parse_sweep
from rhm_hf.training.results import best_rows, write_csv
from rhm_hf.training.sweep import expand, sweep


def main(argv: list[str] | None = None) -> None:
    """Trains, prints, draws."""
    start = time.perf_counter()
    values = parse_sweep(argv, extra=["num_workers"])
    num_workers = values.pop("num_workers", 1)
    if listed := [name for name, value in values.items() if isinstance(value, list) and name != "num_train"]:
        raise ValueError(f"{', '.join(listed)}: only num_train may be listed in a learning curve")
    runs = expand(values)
    model = {"gpt2": "GPT-2", "llama": "Llama"}.get(runs[0].model.model_type, runs[0].model.model_type)
    folder = Path(runs[0].training.output_dir).parent
    grammar = Grammar.from_name(runs[0].data.grammar, rules_seed=runs[0].data.rules_seed)
    exact = plateaus(grammar)  # before the training: a grammar may be too large for them
    print(
        f"{len(runs)} runs in {folder}, {num_workers} at a time: minutes the first time, seconds after that",
        flush=True,
    )
    rows = sweep(values, num_workers)
    best = sorted(best_rows(rows), key=lambda row: row["num_train"])
    write_csv(folder / "learning_curve.csv", best)
    write_csv(folder / "plateaus.csv", exact)
    learning_curve(
        best, exact, folder / "learning_curve.png", title=f"{model} trained on P sentences of {grammar.name}"
    )
    copy_model(runs, best, folder / "model")
    print(table(best, exact, grammar))
    seconds = time.perf_counter() - start
    print(f"\n{folder}/: results.csv, learning_curve.png and .csv, plateaus.csv, model ({seconds:.0f} s)")


def copy_model(runs: list[Arguments], best: list[dict], target: Path) -> None:
    """Copies the model with the lowest validation loss of all."""
    name = min(best, key=lambda row: row["validation_loss"])["run"]
    source = next(Path(run.training.output_dir) for run in runs if Path(run.training.output_dir).name == name)
    shutil.copytree(source / "model", target, dirs_exist_ok=True)


def table(best: list[dict], exact: list[dict], grammar: Grammar) -> str:
    """The measured values and, below, the exact ones they are read against."""
    rate, rate_last = exact[-1]["loss"], exact[-1]["loss_last"]
    lines = [
        f"{grammar.name}: {grammar.sentence_length} tokens per sentence, 10^{math.log10(grammar.num_sentences):.2f} "
        "sentences. Nats per token; the best evaluation of each run.",
        "",
        f"{'':>22}  {'all positions':^39}  {'last position':^31}",
        f"{'P':>22}  {'test loss':>9} {'KL':>11} {'':>8} {'entropy':>8}  {'cross-entropy':>13} {'KL':>8}",
    ]
    for row in best:
        lines.append(
            f"{row['num_train']:>22}  {row['test_loss']:9.4f} {row['kl']:11.4f} +-{row['kl_stderr']:.4f} {rate:8.4f}"
            f"  {row['kl_last'] + rate_last:13.4f} {row['kl_last']:8.4f} +-{row['kl_last_stderr']:.4f}"
        )
    lines += ["", "Exact: the best possible model that sees only its own aligned block of tokens"]
    for row in exact:
        label = f"level {row['level']}, block of {row['block']}"
        lines.append(
            f"{label:>22}  {row['loss']:9.4f} {row['kl']:11.4f} {'':>8} {rate:8.4f}"
            f"  {row['loss_last']:13.4f} {row['kl_last']:8.4f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
