"""A step of the training loop against a bare forward, backward and optimizer step of the same model and batch."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.timing import Row, seconds
from rhm_hf.training import Arguments
from rhm_hf.training.run.loop import Run


MODELS = {
    "GPT-2": {
        "model_type": "gpt2",
        "config_overrides": {"n_embd": 64, "n_layer": 3, "n_head": 4, "initializer_range": 0.1},
    },
    "Llama": {
        "model_type": "llama",
        "config_overrides": {
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        },
    },
}


def rows() -> Iterator[Row]:
    """Width 64, batch 128 x 8 tokens, one thread: what `make demo` does."""
    threads = torch.get_num_threads()
    try:
        for name, model in MODELS.items():
            with tempfile.TemporaryDirectory() as folder:
                yield _row(name, model, folder)
    finally:
        torch.set_num_threads(threads)


def _row(name: str, model: dict, folder: str, pairs: int = 150) -> Row:
    settings = {"num_train": 8192, "max_steps": 10_000, "num_threads": 1, "output_dir": str(Path(folder) / "run")}
    run = Run(Arguments.from_dict(model | settings))
    run.model.train()
    bare = _bare_step(run)
    for _ in range(5):
        run.train_step(), bare()
    # Many short neighbours in alternating order: the machine may be shared, and who comes first may matter.
    times = []
    for pair in range(pairs):
        if pair % 2:
            plain, ours = seconds(bare), seconds(run.train_step)
        else:
            ours, plain = seconds(run.train_step), seconds(bare)
        times.append((ours, plain))
    ratio = statistics.median(ours / plain for ours, plain in times)
    return Row(
        f"training step, {name} width 64, 128 x 8 tokens",
        statistics.median(ours for ours, _ in times),
        statistics.median(plain for _, plain in times),
        1 / ratio,
        "ours <= 1.05 x plain",
        f"{ratio:.3f} x a bare step",
    )


def _bare_step(run: Run):
    """Forward, backward and step on one batch that is there already: no loop, no bookkeeping."""
    from rhm_hf.training.model_building import scratch_model

    model = scratch_model(run.bare_model.config, run.task.auto_class, 0, run.data.length)
    model.to(run.accelerator.device).train()
    options = {name: run.optimizer.defaults[name] for name in ("lr", "betas", "weight_decay", "fused")}
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    batch = run.task.collate(run.batches(0)[0])

    def step() -> None:
        logits = model(input_ids=batch["input_ids"], use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
