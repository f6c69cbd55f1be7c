"""Training on one device: eager, compiled, captured as a CUDA graph, several runs at once, stacked by torch.func.

All do the same step: forward, backward and AdamW of one task's loss on one batch. Tiny models are bound by launches,
not by arithmetic: what a step costs beyond that is what compiling, capturing, sharing a device and stacking remove.
"""

import ast
import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_timing import Budget, Line, per_second, synchronise
from rhm_hf.training import Arguments
from rhm_hf.training.model_building import scratch_model
from rhm_hf.training.run.loop import Run


ATTENTION = {"num_hidden_layers": 3, "num_attention_heads": 16}
GPT2 = {"n_layer": 3, "initializer_range": 0.1, "activation_function": "gelu_pytorch_tanh"}


@dataclass(frozen=True)
class Sizes:
    """What is trained.

    Args:
        runs (`dict[str, dict]`): arguments of runs by what they are called in the table.
        beside (`tuple[int, ...]`): runs to a device.
        stacked (`tuple[int, ...]`): models to a stack.
        square (`int`): of the matrices whose product gives the device's rate.
        backend (`str`): of torch.compile.
    """

    runs: dict[str, dict[str, Any]]
    beside: tuple[int, ...]
    stacked: tuple[int, ...]
    square: int
    backend: str


def _gpt2(width: int, heads: int, **others: Any) -> dict[str, Any]:
    return {"model_type": "gpt2", "config_overrides": GPT2 | {"n_embd": width, "n_head": heads}} | others


COMPILING, STARTING = 60.0, 40.0  # seconds that a compiler, and eight processes with their imports, may take
LAST = {"grammar": "v32-m8-s2-L3", "task": "last_token", "num_train": 16384}
FULL = Sizes(
    runs={
        "demo: GPT-2 of width 64, (16,4,2), L = 3": _gpt2(64, 4, grammar="v16-m4-s2-L3", num_train=16384),
        "GPT-2 of width 256, (32,8,2), L = 3": _gpt2(256, 8) | LAST,
        "attention alone of width 512, (32,8,2), L = 3": LAST
        | {"model_type": "attention_only", "config_overrides": ATTENTION | {"hidden_size": 512}},
    },
    beside=(1, 2, 4, 8),
    stacked=(2, 4, 8),
    square=8192,
    backend="inductor",
)
TINY = Sizes(
    runs={
        "GPT-2 of width 16, (4,2,2), L = 3": _gpt2(16, 2, grammar="v4-m2-s2-L3", num_train=32, batch_size=8)
        | {"num_validation": 8, "num_test": 8, "kl_sentences": 8}
    },
    beside=(2,),
    stacked=(2,),
    square=64,
    backend="eager",  # the code around the compiler; compiling itself takes a minute
)


@dataclass(frozen=True)
class Measured:
    """A run, and how its steps are measured and written down."""

    name: str
    values: dict[str, Any]
    folder: Path
    device: torch.device
    budget: Budget
    peak: float

    @cached_property
    def run(self) -> Run:
        """The run itself."""
        run = Run(arguments(self.values, self.folder))
        run.model.train()
        return run

    @cached_property
    def flops(self) -> int:
        """Of one step."""
        return flops_of(self.run)

    def rate(self, make: Callable[..., Callable[[], object]], *options: Any) -> float:
        """Calls a second of the step that `make` makes."""
        return per_second(make(self.run, *options), self.device, self.budget.seconds)

    def line(self, what: str, rate: Callable[[], float], note: str = "", needs: float = 0.0) -> Line:
        """Steps a second, with the share of the device's rate of products that they are."""

        def measured() -> Line:
            steps = rate()
            mfu = f"MFU {self.flops * steps / self.peak:.2%}"
            return Line(f"training, {what}", self.name, steps, "steps/s", f"{mfu}; {note}" if note else mfu)

        return self.budget.line(f"training, {what}", self.name, measured, needs)


def lines(sizes: Sizes, device: torch.device, budget: Budget, folder: Path) -> Iterator[Line]:
    """Every run in every way: steps a second, and the share of the device's own rate of products (MFU)."""
    square = torch.ones(sizes.square, sizes.square, device=device)
    peak = 2 * sizes.square**3 * per_second(lambda: square @ square, device, budget.seconds)
    yield Line("products", f"float32, {sizes.square} squared", peak / 1e12, "TFLOP/s", "what MFU is a share of")
    for number, (name, values) in enumerate(sizes.runs.items()):
        of = Measured(name, values, folder / str(number), device, budget, peak)
        yield of.line("the package's loop", partial(of.rate, lambda run: run.train_step))
        yield of.line("eager", partial(of.rate, eager), "a bare step")
        compiling = COMPILING if sizes.backend == "inductor" else 0.0
        yield of.line(
            "torch.compile", partial(of.rate, compiled, sizes.backend), f"backend {sizes.backend}", compiling
        )
        yield of.line("captured as a CUDA graph", partial(of.rate, captured, device))
        for count in sizes.stacked:
            label = f"{count} models stacked by torch.func"
            yield of.line(label, lambda count=count, of=of: count * of.rate(stacked, count), "steps of all")
        yield budget.line("exact KL", name, partial(evaluation, of))
        yield from beside(of, sizes.beside)


def arguments(values: dict[str, Any], folder: Path) -> Arguments:
    """A run that goes on for as long as it is measured."""
    return Arguments.from_dict({"max_steps": 10**7, "output_dir": str(folder), "save_steps": 10**7} | values)


def new_model(run: Run, seed: int = 0) -> torch.nn.Module:
    """Another model of the run's shape."""
    device = run.accelerator.device
    return scratch_model(run.bare_model.config, run.kind, seed, run.data.length).to(device).train()


def batch_of(run: Run) -> dict[str, torch.Tensor]:
    """One batch, which every bare step reads."""
    return run.task.collate(run.batches(0)[0], run.batches.share(run._noise(0, run.arguments.training.batch_size))[0])


def optimizer_of(run: Run, parameters: Any, **others: Any) -> torch.optim.Optimizer:
    """AdamW with the run's settings."""
    defaults = run.optimizer.defaults
    options = {name: defaults[name] for name in ("lr", "betas", "weight_decay") if name in defaults}
    return torch.optim.AdamW(parameters, **options, **others)


def flops_of(run: Run) -> int:
    """Floating-point operations of forward and backward of one step, counted operation by operation."""
    model, batch = new_model(run), batch_of(run)
    with FlopCounterMode(display=False) as counter:
        run.task.loss(model, batch).backward()
    return counter.get_total_flops()


def eager(run: Run, model: torch.nn.Module | None = None) -> Callable[[], None]:
    """Eager: a bare step."""
    model, batch = new_model(run) if model is None else model, batch_of(run)
    optimizer = optimizer_of(run, model.parameters(), fused=True)

    def step() -> None:
        run.task.loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def compiled(run: Run, backend: str) -> Callable[[], None]:
    """Compiled: the model is compiled once for its one shape."""
    return eager(run, torch.compile(new_model(run), backend=backend, dynamic=False))


def captured(run: Run, device: torch.device) -> Callable[[], None]:
    """Captured: the whole step, replayed by one launch."""
    if device.type != "cuda":
        raise ValueError("needs a CUDA device")
    model, batch = new_model(run), batch_of(run)
    optimizer = optimizer_of(run, model.parameters(), capturable=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is made at the first steps must be there before
        for _ in range(3):
            optimizer.zero_grad()
            run.task.loss(model, batch).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        run.task.loss(model, batch).backward()
        optimizer.step()
    return graph.replay


def stacked(run: Run, count: int) -> Callable[[], None]:
    """Stacked: models of one shape as one, their weights along a new first axis."""
    models = [new_model(run, seed) for seed in range(count)]
    for model in models:
        model.set_attn_implementation("eager") if hasattr(model, "set_attn_implementation") else None
    weights, buffers = stack_module_state(models)
    batch, skeleton = batch_of(run), models[0]
    optimizer = optimizer_of(run, weights.values())

    class Called(torch.nn.Module):
        """The skeleton with given weights, as what a task calls."""

        def __init__(self, own: dict, others: dict):
            super().__init__()
            self.own, self.others, self.config = own, others, skeleton.config

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return functional_call(skeleton, (self.own, self.others), args, kwargs)

    def loss(own: dict, others: dict) -> torch.Tensor:
        return run.task.loss(Called(own, others), batch)

    gradients = vmap(grad_and_value(loss), in_dims=(0, 0), randomness="different")

    def step() -> None:
        found, _ = gradients(weights, buffers)
        for name, weight in weights.items():
            weight.grad = found[name]
        optimizer.step()
        optimizer.zero_grad()

    return step


def evaluation(of: Measured) -> Line:
    """An evaluation by exact KL once its laws are kept, and its share of a run of 4000 steps and 20 evaluations."""
    run, size = of.run, of.run.arguments.training.eval_batch_size
    start = time.perf_counter()
    run.task.judge(run.bare_model, None, size)
    synchronise(of.device)
    first = time.perf_counter() - start
    again = 1 / of.rate(lambda run: lambda: run.task.judge(run.bare_model, None, size))
    judged, trained = first + 19 * again, 4000 / of.rate(lambda run: run.train_step)
    share = f"{judged / (judged + trained):.1%} of 4000 steps with 20 evaluations"
    return Line("exact KL", of.name, again, "s", f"the first one {first:.3g} s; {share}")


def beside(of: Measured, counts: tuple[int, ...]) -> Iterator[Line]:
    """Several runs at once, each a process: all are started, and as many as are measured are told to train."""
    with contextlib.ExitStack() as stack:
        workers: list[subprocess.Popen] = []
        for number in range(max(counts) if of.budget.left > STARTING else 0):
            place = str(of.folder / f"beside{number}")
            command = [sys.executable, "-m", "benchmarks.gpu_training", repr(of.values), of.device.type, place]
            options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers.append(stack.enter_context(subprocess.Popen(command, **options)))
            stack.callback(workers[-1].stdin.close)
        ending = threading.Timer(max(0.0, of.budget.left), lambda: [worker.kill() for worker in workers])
        ending.start()  # a worker that hangs would be waited for without end
        stack.callback(ending.cancel)
        if any(worker.stdout.readline().strip() != "ready" for worker in workers):
            yield Line("training, runs beside each other", of.name, None, note="a run did not come to its first step")
            return

        def rate(count: int) -> float:
            for worker in workers[:count]:
                print(of.budget.seconds, file=worker.stdin, flush=True)
            return sum(float(worker.stdout.readline()) for worker in workers[:count])

        for count in counts:
            label = f"{count} run{'s' * (count > 1)} to a device"
            yield of.line(label, partial(rate, count), "steps of all", 0.0 if workers else math.inf)


def work(values: dict[str, Any], folder: Path) -> None:
    """One of several runs: says that it is ready, then for every line read trains for so many seconds."""
    run = Run(arguments(values, folder))
    run.model.train()
    for _ in range(3):
        run.train_step()
    synchronise(run.accelerator.device)
    print("ready", flush=True)
    for line in sys.stdin:
        print(per_second(run.train_step, run.accelerator.device, float(line)), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    work(ast.literal_eval(sys.argv[1]), Path(sys.argv[3]))
