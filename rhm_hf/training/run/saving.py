"""A run on the disk: its checkpoints, its results, its best model. `run` is a [`~loop.Run`]."""

from typing import Any

import torch

from .. import results
from . import checkpoint, folder


def save(run: Any) -> None:
    """Writes a checkpoint of the step, then what is read of it by others."""
    # Each process's sum by itself: adding them here would change the last bits of a run that is not killed.
    loss_sums = run.accelerator.gather(run.loss_sum.reshape(1))
    if run.accelerator.is_main_process:
        scaler = run.accelerator.scaler
        tensors = {
            "model": checkpoint.model_tensors(run.bare_model),
            "optimizer": checkpoint.optimizer_tensors(run.optimizer),
            "losses": {"loss_sums": loss_sums},
        }
        state = {
            "step": run.step,
            "optimizer": checkpoint.optimizer_values(run.optimizer),
            "rows": run.rows,
            "stopped": run.stopped,
            "seconds": run.seconds,
            "scheduler": run.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        checkpoint.save(run.folder, run.step, tensors, state)
        write_rows(run)
    run.accelerator.wait_for_everyone()


def restore(run: Any, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
    """Takes up a checkpoint; one that is refused has loaded nothing."""
    checkpoint.check_state(state, run.arguments.training.max_steps)
    values = state.get("optimizer", {})
    for name in ("model", "optimizer", "losses"):
        if name not in tensors:
            raise ValueError(f"the checkpoint has no {name}.safetensors")
    if "loss_sums" not in tensors["losses"]:
        raise ValueError("the checkpoint has no loss_sums")
    checkpoint.check_model(run.bare_model, tensors["model"])
    checkpoint.check_optimizer(run.optimizer, tensors["optimizer"], values)
    checkpoint.restore_model(run.bare_model, tensors["model"])
    checkpoint.restore_optimizer(run.optimizer, tensors["optimizer"], values)
    run.scheduler.load_state_dict(state["scheduler"])
    for group, rate in zip(run.optimizer.param_groups, run.scheduler.get_last_lr(), strict=True):
        group["lr"] = rate  # which the schedule itself sets at its next step only
    if state.get("scaler") is not None and run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    run.step, run.rows, run.stopped = state["step"], state["rows"], state["stopped"]
    run.seconds = state["seconds"]
    sums, rank = tensors["losses"]["loss_sums"], run.accelerator.process_index
    if len(sums) == run.accelerator.num_processes:
        run.loss_sum.copy_(sums[rank])
    else:  # resumed on another number of processes: reduced as a mean, so each takes the old mean
        run.loss_sum.copy_(sums.mean())
    if run.accelerator.is_main_process:
        write_rows(run)


def write_rows(run: Any) -> None:
    """`results.csv`, and the best model where it is the one of this step.

    Called after the checkpoint of the step is safe, and again when it is restored, so the model on the disk is
    always that of the best row.
    """
    if not run.rows:
        return
    results.write_csv(run.folder / folder.RESULTS_FILE, run.rows, results.columns(run.task.columns))
    if results.best_row(run.rows)["step"] == run.step:
        model = run.folder / folder.MODEL_FOLDER
        folder.save_model(run.bare_model, run.data.tokenizer, run.data.grammar, model)
