"""The training loop: any task, any model of transformers, one process or several.

- Step k is a function of (arguments, k): its batch, its random numbers, its learning rate. Resuming skips nothing.
- The host never waits for the device between evaluations: losses are summed there and read at evaluations.
- Everything a run has found out is in its checkpoint; `results.csv` is written from it, whole, at each evaluation.
"""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import get_scheduler

from ...checks import checked
from ...files import remove_partial
from ...tasks.task import Task
from .. import plugins, results, trackers
from ..arguments import Arguments
from ..batches import Batches
from ..data import TrainingData, load_data
from ..model_building import ModelKind, make_optimizer, num_parameters_of, scratch_config, scratch_model, suited_sizes
from . import checkpoint, estimates, folder, saving, trial
from .devices import caller_left_as_found, check_processes, cpu_only, generators, key_of, uniforms
from .meters import Meter


DEPTH = 4  # of what has no levels, for the size of a model that nobody gave


@checked
def train(arguments: Arguments, announce: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Trains, or resumes, or only reads, the run in `arguments.training.output_dir`.

    The caller's random numbers, threads, default type and environment are left as they were found.

    Args:
        arguments ([`Arguments`]): the run. Run under `accelerate launch` it uses all its processes.
        announce (`Callable`, *optional*): is told, in a line, what will be trained and where it is written.

    Returns:
        `list[dict]`: the rows of `results.csv`, one per evaluation; [`~results.best_row`] picks the one to report.

    Raises:
        `ValueError`: if the folder holds a run with other arguments or of other files, the number of processes is not
            what was asked, the model does not fit the task, or sizes are beyond this machine.
        `RuntimeError`: if another process is at work in the folder, or training diverged.
    """
    place = Path(arguments.training.output_dir)
    if (rows := folder.finished(arguments)) is not None:
        if folder.needs_cleaning(place):
            with folder.owned(place, results.is_main_process()):
                folder.clean(place)
        return rows
    estimates.check_sizes(arguments)
    with caller_left_as_found():
        run = Run(arguments)
        with folder.owned(run.folder, run.accelerator.is_main_process):
            if announce is not None and run.accelerator.is_main_process:
                announce(run.described())
            return run.train()


def evaluation_steps(max_steps: int, num_evaluations: int) -> list[int]:
    """Steps 1 .. max_steps, evenly spaced in their logarithm, both ends included, without repeats."""
    return sorted({round(step) for step in np.geomspace(1, max_steps, num_evaluations)} | {max_steps})


class Run:
    """One run: its parts, its place in time and what it has found so far."""

    def __init__(self, arguments: Arguments):
        self.arguments: Arguments = arguments
        t = arguments.training
        self.folder: Path = Path(t.output_dir)
        if t.num_threads is not None:
            torch.set_num_threads(t.num_threads)
        trackers.check(t.report_to)
        self.accelerator: Accelerator = Accelerator(
            mixed_precision=t.mixed_precision,
            log_with=None if t.report_to == "none" else t.report_to,
            project_dir=self.folder,
            cpu=cpu_only(),
        )
        check_processes(self.accelerator.num_processes, t.num_processes)
        self._load_data()
        self._make_task()
        self._make_model()
        self.generators: list[torch.Generator] = generators(self.accelerator.device)
        self.evaluations: list[int] = evaluation_steps(t.max_steps, t.num_evaluations)
        self.progress: folder.ProgressFile = folder.ProgressFile(
            self.folder, t.max_steps, self.accelerator.is_main_process
        )
        self.step: int = 0
        self.rows: list[dict[str, Any]] = []
        self.stopped: bool = False
        self.seconds: float = 0.0
        # Since the last evaluation.
        self.loss_sum: torch.Tensor = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)

    def _load_data(self) -> None:
        accelerator, t = self.accelerator, self.arguments.training
        self.task_class: type[Task] = plugins.task_class(t.task)
        self.data: TrainingData = load_data(self.arguments.data, self.task_class.reads_classes, t.kl_sentences)
        splits = self.data.splits
        self.batches: Batches = Batches(
            splits["train"],
            t.batch_size,
            self.arguments.model.model_seed,
            t.gradient_accumulation_steps,
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
        )
        self.held_out: dict[str, Any] = {
            split: splits[split].to(accelerator.device) for split in ("validation", "test")
        }

    def _make_task(self) -> None:
        d, t = self.data, self.arguments.training
        self.kind: ModelKind = ModelKind.of(self.arguments.model.model_type, self.task_class.auto_classes)
        self.task: Task = self.task_class(d.num_symbols, d.length, d.grammar, self.kind.auto_class, **t.task_options())
        self.held_out_noise: dict[str, torch.Tensor] = {
            split: self._noise(key_of(number), len(rows)) for number, (split, rows) in enumerate(self.held_out.items())
        }

    def _noise(self, key: int, num_rows: int) -> torch.Tensor:
        numbers = uniforms(key, (num_rows, self.task.noise_per_row), self.accelerator.device)
        return self.task.prepare_noise(numbers)

    def _make_model(self) -> None:
        m, t = self.arguments.model, self.arguments.training
        grammar = self.data.grammar
        depth = grammar.depth if grammar is not None and grammar.has_blocks else DEPTH
        config = scratch_config(
            self.kind,
            m.config_overrides,
            self.data.num_symbols,
            self.task.context_length,
            self.task.num_labels if self.task.auto_class == "AutoModelForSequenceClassification" else None,
            suited_sizes(self.data.num_symbols, depth),
        )
        estimates.check_model(num_parameters_of(config, self.kind), m.model_type)
        model = scratch_model(config, self.kind, m.model_seed, self.data.length)
        model = model.to(self.accelerator.device)
        trial.check_model(model, self.task, self.held_out["validation"][:2], self.held_out_noise["validation"][:2])
        optimizer = make_optimizer(model, t)
        self.scheduler: torch.optim.lr_scheduler.LRScheduler = get_scheduler(
            t.lr_scheduler_type, optimizer, num_warmup_steps=t.warmup_steps, num_training_steps=t.max_steps
        )
        # The schedule is not prepared: Accelerate would step it once per process. Nor is the optimizer, but for fp16's
        # loss scaling: its wrapper looks on the disk for a package (lomo_optim) at each step, which takes 0.2 ms.
        self.model: torch.nn.Module = self.accelerator.prepare(model)
        self.optimizer: torch.optim.Optimizer = (
            optimizer if self.accelerator.scaler is None else self.accelerator.prepare(optimizer)
        )

    @property
    def bare_model(self) -> Any:
        """The model without what Accelerate put around it."""
        return self.accelerator.unwrap_model(self.model)

    def described(self) -> str:
        """What is trained on what, and where it is written, in a line."""
        data, t = self.arguments.data, self.arguments.training
        seen = self.data.test_seen
        return (
            f"{self.folder}: {self.arguments.model.model_type} with {self.bare_model.num_parameters():,} parameters, "
            f"task {self.task.name}, {data.num_train:,} of {data.text or self.data.grammar.name}, up to "
            f"{t.max_steps:,} steps of {t.batch_size}"
            + ("" if seen is None else f"; {seen:.1%} of the test sentences are training sentences too")
        )

    # The loop.

    def train(self) -> list[dict[str, Any]]:
        """Steps until the end, an early stop included."""
        t, main = self.arguments.training, self.accelerator.is_main_process
        self._begin()
        start = time.perf_counter() - self.seconds
        with Meter(t.max_steps, "steps", self.step, str(self.folder), shown=main) as meter:
            self.model.train()
            while self.step < t.max_steps and not self.stopped:
                self.train_step()
                meter.update(self.step)
                self.progress.update(self.step)
                due = self.step in self.evaluations
                if due:
                    self.seconds = time.perf_counter() - start
                    self._evaluate()
                    meter.annotate(validation_loss=f"{self.rows[-1]['validation_loss']:.4f}")
                if due or self.step % t.save_steps == 0:
                    self.seconds = time.perf_counter() - start
                    saving.save(self)
        self.seconds = time.perf_counter() - start  # with the last evaluation and its checkpoint
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
                batch = self.task.training_batch(rows, numbers, self.step / t.max_steps)
                loss = self.task.loss(self.model, batch) / len(parts)
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
            "stopped_by": "",  # known at the end
            "test_seen": "" if self.data.test_seen is None else self.data.test_seen,
            **results.versions(),
        }
        self.rows = results.mark_best([*self.rows, row], a.training.keep)
        best = next(i for i, r in enumerate(self.rows) if r["best"])
        self.stopped: bool = 0 < a.training.patience <= len(self.rows) - 1 - best
        self._log("evaluation", **{k: v for k, v in row.items() if k not in results.versions()})
        accelerator.log({k: v for k, v in row.items() if isinstance(v, int | float)}, step=self.step)

    # On the disk.

    def _begin(self) -> None:
        if self.accelerator.is_main_process:
            remove_partial(self.folder)
            folder.write_run(self.folder, self.arguments, is_finished=False)
        self.accelerator.wait_for_everyone()
        for step in checkpoint.steps(self.folder):
            try:
                saving.restore(self, *checkpoint.load(self.folder, step))
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
            test_seen=self.data.test_seen,
            **results.versions(),
        )
        trackers.start(self.accelerator, self.folder, self.arguments.to_dict())

    def _end(self) -> None:
        blind = math.log(self.task.num_labels or self.task.num_outcomes)
        reason = results.stopped_by(self.rows, self.stopped, self.arguments.training.max_steps, blind)
        self.rows = [row | {"stopped_by": reason} for row in self.rows]
        if self.accelerator.is_main_process:
            self._log("end", step=self.step, stopped_by=reason, seconds=round(self.seconds, 3))
            results.write_csv(self.folder / folder.RESULTS_FILE, self.rows, results.columns(self.task.columns))
            folder.write_run(self.folder, self.arguments, is_finished=True)
            folder.clean(self.folder)
        for tracker in self.accelerator.trackers:  # end_training() would end the process group too
            tracker.finish()
        self.accelerator.wait_for_everyone()

    def _log(self, event: str, **values: Any) -> None:
        if self.accelerator.is_main_process:
            results.append_log(self.folder / folder.LOG_FILE, event, **values)
