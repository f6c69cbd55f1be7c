"""A learning curve: KL to the exact law against the number of training sentences P, beside the exact plateaus.

    python recipes/next_token/learning_curve.py --config recipes/next_token/demo.yaml [--num_train 256 1024 ..]
    python recipes/next_token/learning_curve.py --draw docs/figures

Trains one model for every value of `num_train` (finished runs are skipped, killed ones resumed), prints the table and
writes into `output_dir` `results.csv` (all evaluations), `learning_curve.png`, its tables, `learning_curve_runs.csv`
(the best evaluation of each run) and `_plateaus.csv` (exact), and `model`, the best model of all, which
`AutoModelForCausalLM.from_pretrained` loads.
"""

import shutil
from pathlib import Path

from rhm_hf import Grammar
from rhm_hf.ensembles import distinct
from rhm_hf.plots import learning_curve, plateaus
from rhm_hf.training.recipe import KeptRun, Tables, kept_runs, recipe_main
from rhm_hf.training.sweep import expand


NAMES = {"gpt2": "GPT-2", "llama": "Llama"}


def measure(rows: list[dict], values: dict) -> Tables:
    """The best row of every run and the exact plateaus; the best model is copied to where the runs are."""
    runs = sorted(kept_runs(rows, values), key=lambda run: run["num_train"])
    copy_model(min(runs, key=lambda run: run["validation_loss"]))
    exact = []
    for data, seed in distinct([run.row for run in runs], "data", "rules_seed"):
        names = {"data": data, "rules_seed": seed}
        exact += [names | law for law in plateaus(Grammar.from_name(data, rules_seed=seed))]
    return {"runs": [run.row for run in runs], "plateaus": exact}


def check(values: dict) -> None:
    """A grammar may be too large for its plateaus: said before the training."""
    for run in expand(values):
        plateaus(Grammar.from_name(run.data.grammar, rules_seed=run.data.rules_seed))


def copy_model(run: KeptRun) -> None:
    """Copies the model of a run to `model`, beside the runs."""
    folder = Path(run.arguments.training.output_dir)
    shutil.copytree(folder / "model", folder.parent / "model", dirs_exist_ok=True)


def draw(tables: Tables, path: Path) -> None:
    """KL against P, over all positions and at the last one, with the exact plateaus; and the table on the screen."""
    runs, exact = tables["runs"], tables["plateaus"]
    model = NAMES.get(runs[0]["model"], runs[0]["model"])
    learning_curve(runs, exact, path, title=f"{model} trained on P sentences of {runs[0]['data']}")
    print(table(runs, exact))


def table(best: list[dict], exact: list[dict]) -> str:
    """The measured values and, below, the exact ones they are read against."""
    rate, rate_last = exact[-1]["loss"], exact[-1]["loss_last"]
    lines = [
        f"{best[0]['data']}: nats per token; the best evaluation of each run.",
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


def main(argv: list[str] | None = None) -> Tables:
    """The command line."""
    return recipe_main(argv, name="learning_curve", measure=measure, draw=draw, check=check)


if __name__ == "__main__":
    main()
