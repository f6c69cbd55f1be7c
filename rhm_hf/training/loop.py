"""The training loop: any task, any model of transformers, one process or several.

- Step k is a function of (arguments, k): its batch, its random numbers, its learning rate. Resuming skips nothing.
- The host never waits for the device between evaluations: losses are summed there and read at evaluations.
- Everything a run has found out is in its checkpoint; `results.csv` is written from it, whole, at each evaluation.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm
from transformers import get_scheduler

from ..tasks import TASKS
from . import checkpoint, results
from .arguments import Arguments
from .batches import Batches
from .data import load_data
from .devices import check_processes, cpu_only, generators, key_of, uniforms
from .folder import LOG_FILE, MODEL_FOLDER, RESULTS_FILE, RUN_FILE, finished, owned, save_model
from .models import auto_class_for, make_optimizer, scratch_config, scratch_model


def train(arguments: Arguments) -> list[dict]:
    """Trains, or resumes, or only reads, the run in `arguments.training.output_dir`.

    Args:
        arguments ([`Arguments`]): the run. Run under `accelerate launch` it uses all its processes.

    Returns:
        `list[dict]`: the rows of `results.csv`, one per evaluation; [`~results.best_row`] picks the one to report.

    Raises:
        `ValueError`: if the folder holds a run with other arguments, or the number of processes is not what was asked.
        `RuntimeError`: if another process is at work in the folder.
    """
    if (rows := finished(arguments)) is not None:
        return rows
    run = Run(arguments)
    with owned(run.folder, run.accelerator.is_main_process):
        return run.train()


def evaluation_steps(max_steps: int, num_evaluations: int) -> list[int]:
    """Steps 1 .. max_steps, evenly spaced in their logarithm, both ends included, without repeats."""
    return sorted({round(step) for step in np.geomspace(1, max_steps, num_evaluations)} | {max_steps})


class Run:
    """One run: its parts, its place in time and what it has found so far."""

    def __init__(self, arguments: Arguments):
        self.arguments, t = arguments, arguments.training
        self.folder = Path(t.output_dir)
        if t.num_threads is not None:
            torch.set_num_threads(t.num_threads)
        self.accelerator = Accelerator(
            mixed_precision=t.mixed_precision,
            log_with=None if t.report_to == "none" else t.report_to,
            project_dir=self.folder,
            cpu=cpu_only(),
        )
        check_processes(self.accelerator.num_processes, t.num_processes)
        self._load_data()
        self._make_task()
        self._make_model()
        self.generators = generators(self.accelerator.device)
        self.evaluations = evaluation_steps(t.max_steps, t.num_evaluations)
        self.step, self.rows, self.stopped, self.seconds = 0, [], False, 0.0
        # Since the last evaluation.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)

    def _load_data(self) -> None:
        accelerator, t = self.accelerator, self.arguments.training
        self.data = load_data(self.arguments.data, TASKS[t.task].reads_classes)
        splits = self.data.splits
        self.batches = Batches(
            splits["train"],
            t.batch_size,
            self.arguments.model.model_seed,
            t.gradient_accumulation_steps,
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
        )
        self.held_out = {split: splits[split].to(accelerator.device) for split in ("validation", "test")}

    def _make_task(self) -> None:
        d, t = self.data, self.arguments.training
        task = TASKS[t.task]
        auto_class = auto_class_for(self.arguments.model.model_type, task.auto_classes)
        self.task = task(d.num_symbols, d.length, d.grammar, auto_class, **t.task_options())
        self.held_out_noise = {
            split: self._noise(key_of(number), len(rows)) for number, (split, rows) in enumerate(self.held_out.items())
        }

    def _noise(self, key: int, num_rows: int) -> torch.Tensor:
        numbers = uniforms(key, (num_rows, self.task.noise_per_row), self.accelerator.device)
        return self.task.prepare_noise(numbers)

    def _make_model(self) -> None:
        m, t = self.arguments.model, self.arguments.training
        config = scratch_config(
            m.model_type,
            m.config_overrides,
            self.data.num_symbols,
            self.task.context_length,
            self.task.num_labels if self.task.auto_class == "AutoModelForSequenceClassification" else None,
        )
        model = scratch_model(config, self.task.auto_class, m.model_seed, self.data.length)
        model = model.to(self.accelerator.device)
        optimizer = make_optimizer(model, t)
        self.scheduler = get_scheduler(
            t.lr_scheduler_type, optimizer, num_warmup_steps=t.warmup_steps, num_training_steps=t.max_steps
        )
        # The schedule is not prepared: Accelerate would step it once per process. Nor is the optimizer, but for fp16's
        # loss scaling: its wrapper looks on the disk for a package (lomo_optim) at each step, which takes 0.2 ms.
        self.model = self.accelerator.prepare(model)
        self.optimizer = optimizer if self.accelerator.scaler is None else self.accelerator.prepare(optimizer)

    @property
    def bare_model(self):
        """The model without what Accelerate put around it."""
        return self.accelerator.unwrap_model(self.model)

    # The loop.

    def train(self) -> list[dict]:
        """Steps until the end, an early stop included."""
        t, main = self.arguments.training, self.accelerator.is_main_process
        self._begin()
        start = time.perf_counter() - self.seconds
        bar = tqdm(total=t.max_steps, initial=self.step, unit="step", disable=not (main and sys.stderr.isatty()))
        self.model.train()
        while self.step < t.max_steps and not self.stopped:
            self.train_step()
            bar.update()
            due = self.step in self.evaluations
            if due:
                self.seconds = time.perf_counter() - start
                self._evaluate()
                bar.set_postfix(validation_loss=self.rows[-1]["validation_loss"])
            if due or self.step % t.save_steps == 0:
                self.seconds = time.perf_counter() - start
                self._save()
        bar.close()
        self._end()
        return self.rows

    def train_step(self) -> None:
        """One optimizer step on one global batch."""
        accelerator, t = self.accelerator, self.arguments.training
        # Whatever is random in the model, dropout say, is a function of (seed, step, rank) too.
        key = key_of(self.arguments.model.model_seed, self.step, accelerator.process_index)
        for generator in self.generators:
            generator.manual_seed(key)
        parts = self.batches(self.step)
        # Drawn for the whole batch by every process: what is random in a batch does not depend on how it is shared.
        noise_key = key_of(self.arguments.model.model_seed, self.step, "noise")
        noise = self.batches.share(self._noise(noise_key, t.batch_size))
        for number, (rows, numbers) in enumerate(zip(parts, noise, strict=True), start=1):
            last = number == len(parts)
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
                loss = self.task.loss(self.model, self.task.collate(rows, numbers)) / len(parts)
                accelerator.backward(loss)
            self.loss_sum += loss.detach()
        if t.max_grad_norm > 0:
            accelerator.clip_grad_norm_(self.model.parameters(), t.max_grad_norm)
        self.optimizer.step()
        if not getattr(self.optimizer, "step_was_skipped", False):  # by fp16's loss scaling
            self.scheduler.step()
        self.optimizer.zero_grad()
        self.step += 1

    def scores(self, split: str) -> dict[str, float]:
        """The task's loss per target and the share of right first guesses on held-out rows, all processes sharing."""
        rows, noise = self.held_out[split], self.held_out_noise[split]
        accelerator, total = self.accelerator, torch.zeros(3, dtype=torch.float64, device=rows.device)
        self.model.eval()
        mine = slice(accelerator.process_index, None, accelerator.num_processes)
        size = self.arguments.training.eval_batch_size
        with torch.no_grad():
            for chunk, numbers in zip(rows[mine].split(size), noise[mine].split(size), strict=True):
                total += self.task.scores(self.bare_model, self.task.collate(chunk, numbers))
        self.model.train()
        loss, right, count = accelerator.reduce(total, reduction="sum").tolist()
        return {f"{split}_loss": loss / count, f"{split}_accuracy": right / count}

    def _evaluate(self) -> None:
        a, accelerator = self.arguments, self.accelerator
        steps = self.step - (self.rows[-1]["step"] if self.rows else 0)
        train_loss = (accelerator.reduce(self.loss_sum.clone(), reduction="mean") / steps).item()
        self.loss_sum.zero_()
        losses = {"train_loss": train_loss, **self.scores("validation"), **self.scores("test")}
        results.check_finite({"step": self.step, **losses}, a.training.learning_rate)  # before a broken law is judged
        seen = self.step * a.training.batch_size
        row = {
            "run": self.folder.name,
            "task": self.task.name,
            "model": a.model.model_type,
            "data": a.data.text or self.data.grammar.name,
            "num_train": a.data.num_train,
            "rules_seed": a.data.rules_seed,
            "sample_seed": a.data.sample_seed,
            "model_seed": a.model.model_seed,
            "step": self.step,
            "epoch": seen / len(self.batches.rows),
            **losses,
            **self.task.judge(self.bare_model, accelerator, a.training.eval_batch_size),
            "seconds": round(self.seconds, 3),
            "tokens_seen": seen * self.task.tokens_per_row,
            "best": 0,  # marked below
            **results.versions(),
        }
        self.rows = results.mark_best([*self.rows, row], a.training.keep)
        best = next(i for i, r in enumerate(self.rows) if r["best"])
        self.stopped = 0 < a.training.patience <= len(self.rows) - 1 - best
        self._log("evaluation", **{k: v for k, v in row.items() if k not in results.versions()})
        accelerator.log({k: v for k, v in row.items() if isinstance(v, int | float)}, step=self.step)

    # On the disk.

    def _begin(self) -> None:
        if self.accelerator.is_main_process:
            arguments = {"arguments": self.arguments.identity(), "finished": False}
            checkpoint.write_atomically(self.folder / RUN_FILE, json.dumps(arguments, indent=2) + "\n")
        self.accelerator.wait_for_everyone()
        for step in checkpoint.steps(self.folder):
            try:
                self._restore(*checkpoint.load(self.folder, step))
                break
            except ValueError as error:
                self._log("damaged checkpoint", step=step, reason=str(error))
        self._log(
            "start",
            step=self.step,
            processes=self.accelerator.num_processes,
            device=str(self.accelerator.device),
            threads=torch.get_num_threads(),
            parameters=self.bare_model.num_parameters(),
            **results.versions(),
        )
        if self.accelerator.log_with:
            self.accelerator.init_trackers("rhm_hf", {k: str(v) for k, v in self.arguments.to_dict().items()})

    def _save(self) -> None:
        # Each process's sum by itself: adding them here would change the last bits of a run that is not killed.
        loss_sums = self.accelerator.gather(self.loss_sum.reshape(1))
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            tensors = {
                "model": checkpoint.model_tensors(self.bare_model),
                "optimizer": checkpoint.optimizer_tensors(self.optimizer),
                "losses": {"loss_sums": loss_sums},
            }
            state = {
                "step": self.step,
                "rows": self.rows,
                "stopped": self.stopped,
                "seconds": self.seconds,
                "scheduler": self.scheduler.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            checkpoint.save(self.folder, self.step, tensors, state)
            self._write_rows()
        self.accelerator.wait_for_everyone()

    def _restore(self, tensors: dict, state: dict) -> None:
        checkpoint.restore_model(self.bare_model, tensors["model"])
        checkpoint.restore_optimizer(self.optimizer, tensors["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
            group["lr"] = rate  # which the schedule itself sets at its next step only
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.rows, self.stopped = state["step"], state["rows"], state["stopped"]
        self.seconds = state["seconds"]
        sums, rank = tensors["losses"]["loss_sums"], self.accelerator.process_index
        if len(sums) == self.accelerator.num_processes:
            self.loss_sum.copy_(sums[rank])
        else:  # resumed on another number of processes: reduced as a mean, so each takes the old mean
            self.loss_sum.copy_(sums.mean())
        if self.accelerator.is_main_process:
            self._write_rows()

    def _write_rows(self) -> None:
        """`results.csv`, and the best model where it is the one of this step.

        Called after the checkpoint of the step is safe, and again when it is restored, so the model on the disk is
        always that of the best row.
        """
        if not self.rows:
            return
        results.write_csv(self.folder / RESULTS_FILE, self.rows, results.columns(self.task.columns))
        if results.best_row(self.rows)["step"] == self.step:
            save_model(self.bare_model, self.data.tokenizer, self.data.grammar, self.folder / MODEL_FOLDER)

    def _end(self) -> None:
        if self.accelerator.is_main_process:
            self._log("end", step=self.step, stopped_early=self.stopped, seconds=round(self.seconds, 3))
            done = {"arguments": self.arguments.identity(), "finished": True}
            checkpoint.write_atomically(self.folder / RUN_FILE, json.dumps(done, indent=2) + "\n")
            checkpoint.remove_all(self.folder)
        for tracker in self.accelerator.trackers:  # end_training() would end the process group too
            tracker.finish()
        self.accelerator.wait_for_everyone()

    def _log(self, event: str, **values) -> None:
        if self.accelerator.is_main_process:
            results.append_log(self.folder / LOG_FILE, event, **values)
