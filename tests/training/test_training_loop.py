"""The loop: what it writes, early stopping, accumulation, resuming after SIGKILL, damaged checkpoints."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from forked import apart, write_to
from interrupted_runs import interrupted
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rhm_hf import Grammar
from rhm_hf.cli import main
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.training import best_row, results, trackers, train
from rhm_hf.training.run import checkpoint, loop
from rhm_hf.training.run.devices import check_processes, key_of
from rhm_hf.training.run.folder import owned
from rhm_hf.training.run.loop import Run, evaluation_steps
from rhm_hf.training.strict_yaml import dump_yaml


LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
NOT_COMPARED = ("seconds", "run", "commit")  # files may be edited while a test runs


def comparable(rows):
    return [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in rows]


def weights(folder):
    return load_file(Path(folder) / "model" / "model.safetensors")


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("model", [{}, {"model_type": "llama", "config_overrides": LLAMA}])
def test_a_run_learns_and_writes_what_it_says(tiny, model):
    a = tiny(max_steps=40, num_evaluations=2, **model)
    folder = Path(a.training.output_dir)
    rows = train(a)
    assert [row["step"] for row in rows] == [1, 40]
    assert rows[1]["validation_loss"] < rows[0]["validation_loss"] - 0.1
    assert rows[1]["kl"] < rows[0]["kl"] - 0.1
    assert [row["best"] for row in rows] == [0, 1]
    assert rows[1]["epoch"] == 40 * 16 / 96
    assert rows[1]["tokens_seen"] == 40 * 16 * 8
    assert rows == results.read_csv(folder / "results.csv")
    assert list(rows[0]) == results.columns(("kl", "kl_stderr", "entropy", "kl_last", "kl_last_stderr"))
    assert rows[0]["model"] == a.model.model_type
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["start", "evaluation", "evaluation", "end"]
    assert not list(folder.glob("*checkpoint*"))  # a finished run needs none

    saved = AutoModelForCausalLM.from_pretrained(folder / "model")
    grammar = Grammar.from_pretrained(folder / "model")
    assert grammar == Grammar.from_name("v4-m2-s2-L3")
    assert kl_divergence(saved, grammar)["kl"] == pytest.approx(rows[1]["kl"], rel=1e-5)
    assert AutoTokenizer.from_pretrained(folder / "model")("3 1").input_ids == [3, 1]


def test_a_finished_run_is_read_not_redone_and_other_arguments_are_refused(tiny, monkeypatch):
    rows = train(tiny())
    monkeypatch.setattr(loop, "Run", None)  # a second training would call it
    assert train(tiny(eval_batch_size=7)) == rows
    with pytest.raises(ValueError, match=r"holds a run with learning_rate=0\.003 \(now 0\.1\)"):
        train(tiny(learning_rate=0.1))


def test_early_stopping_keeps_the_best_model(tiny, tmp_path):
    a = tiny(learning_rate=0.05, num_train=16, max_steps=2000, num_evaluations=30, patience=2)
    rows = train(a)
    losses = [row["validation_loss"] for row in rows]
    best = losses.index(min(losses))
    assert len(rows) - 1 - best == 2  # stopped after two evaluations without a lower loss
    assert rows[-1]["step"] < 2000
    assert losses[-1] > losses[best] + 0.01
    assert best_row(rows) == rows[best]
    saved = AutoModelForCausalLM.from_pretrained(Path(a.training.output_dir) / "model")
    kl = kl_divergence(saved, Grammar.from_name("v4-m2-s2-L3"))["kl"]
    assert kl == pytest.approx(rows[best]["kl"], rel=1e-5)
    assert abs(kl - rows[-1]["kl"]) > 0.01


def test_accumulation_equals_the_larger_batch(tiny, tmp_path):
    rows, parts = (
        train(tiny(gradient_accumulation_steps=n, output_dir=str(tmp_path / str(n)), max_grad_norm=0.5))
        for n in (1, 4)
    )
    for row, part in zip(rows, parts, strict=True):
        for name in ("train_loss", "validation_loss", "test_loss", "kl"):
            assert part[name] == pytest.approx(row[name], rel=1e-5)
    one, four = weights(tmp_path / "1"), weights(tmp_path / "4")
    assert all(torch.allclose(four[name], one[name], atol=1e-5) for name in one)


def test_the_evaluation_batch_size_changes_nothing_but_rounding(tiny, tmp_path):
    rows, others = (train(tiny(eval_batch_size=n, output_dir=str(tmp_path / str(n)))) for n in (512, 5))
    assert [r["test_loss"] for r in others] == pytest.approx([r["test_loss"] for r in rows], rel=1e-6)
    assert [r["kl"] for r in others] == pytest.approx([r["kl"] for r in rows], rel=1e-6)


def test_train_loss_is_the_mean_since_the_last_evaluation(tiny):
    run = Run(tiny(max_steps=4, num_evaluations=2))  # evaluated at 1 and 4
    losses = []
    loss = run.task.loss

    def recorded(model, batch):
        value = loss(model, batch)
        if torch.is_grad_enabled():
            losses.append(value.item())
        return value

    run.task.loss = recorded
    run.folder.mkdir()
    rows = run.train()
    assert rows[0]["train_loss"] == pytest.approx(losses[0])
    assert rows[1]["train_loss"] == pytest.approx(sum(losses[1:]) / 3)


# Killed and resumed.

LONG = {"max_steps": 240, "num_evaluations": 8, "save_steps": 7, "patience": 0}


def command(path, errors):
    """`rhm train` in a process of its own."""
    write_to(errors, 2)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    sys.exit(main(["train", "--config", str(path)]))


def killed_at(arguments, tmp_path, step):
    """A run that gets SIGKILL once a checkpoint of `step` or later is there."""
    path, errors = tmp_path / "run.yaml", tmp_path / "errors.txt"
    path.write_text(dump_yaml(arguments.to_dict()))
    process = apart().Process(target=command, args=(path, errors))
    process.start()
    deadline = time.monotonic() + 3600
    while not any(found >= step for found in checkpoint.steps(Path(arguments.training.output_dir))):
        assert process.is_alive(), errors.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_run_resumed_is_bit_identical(tiny, tmp_path):
    step = random.SystemRandom().randrange(5, 180)
    print("killed after step", step)  # shown when the test fails
    killed, whole = (tiny(output_dir=str(tmp_path / name), **LONG) for name in ("killed", "whole"))
    folder = Path(killed.training.output_dir)
    killed_at(killed, tmp_path, step)
    rows = train(killed)
    assert comparable(rows) == comparable(train(whole))
    assert same_weights(weights(folder), weights(whole.training.output_dir))
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    first, second = (line["step"] for line in events if line["event"] == "start")
    assert first == 0
    assert second >= step
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    "model", [{}, {"config_overrides": {"n_embd": 16, "n_layer": 1, "n_head": 2, "attn_pdrop": 0.2}}]
)
def test_a_truncated_checkpoint_is_passed_over(tiny, tmp_path, monkeypatch, model):
    arguments = {"max_steps": 30, "num_evaluations": 4, "save_steps": 5} | model
    whole = train(tiny(output_dir=str(tmp_path / "whole"), **arguments))
    a = tiny(**arguments)
    folder = Path(a.training.output_dir)
    interrupted(a, 23, monkeypatch)
    newest, before = checkpoint.steps(folder)
    assert (newest, before) == (20, 15)
    path = folder / f"checkpoint-{newest}" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert comparable(train(a)) == comparable(whole)
    assert same_weights(weights(folder), weights(tmp_path / "whole"))
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in events if e["event"] in ("start", "damaged checkpoint")] == [
        ("start", 0),
        ("damaged checkpoint", 20),
        ("start", 15),
    ]


def test_with_every_checkpoint_damaged_a_run_starts_again(tiny, tmp_path, monkeypatch):
    whole = train(tiny(output_dir=str(tmp_path / "whole")))
    a = tiny()
    interrupted(a, 5, monkeypatch)
    for state in Path(a.training.output_dir).glob("checkpoint-*/state.json"):
        os.truncate(state, 10)
    assert comparable(train(a)) == comparable(whole)


def test_a_folder_in_use_is_refused(tiny):
    a = tiny()
    with owned(Path(a.training.output_dir), True), pytest.raises(RuntimeError, match="another process is at work in"):
        train(a)
    assert len(train(a)) == 3  # released


def test_evaluation_steps_are_log_spaced_with_both_ends():
    assert evaluation_steps(1000, 4) == [1, 10, 100, 1000]
    assert evaluation_steps(5, 100) == [1, 2, 3, 4, 5]
    assert evaluation_steps(7, 1) == [1, 7]


def test_keys_differ_wherever_a_number_does():
    keys = {
        key_of(*numbers) for numbers in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 11, 0), (1, 1, 0), (11, 0)]
    }
    assert len(keys) == 7
    assert all(0 <= key < 2**64 for key in keys)


@pytest.fixture
def fresh_accelerate():
    """Accelerate as a new process finds it: it keeps one device and one precision for a process's life."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerate")
def test_mixed_precision_learns_too(tiny):
    rows = train(tiny(mixed_precision="bf16", max_steps=40, num_evaluations=2))
    assert rows[1]["kl"] < rows[0]["kl"] - 0.1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("fresh_accelerate")
def test_the_host_never_waits_for_the_device_between_evaluations(tiny, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    run = Run(tiny(max_grad_norm=1.0))
    assert run.loss_sum.is_cuda
    run.train_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):  # over several epochs
            run.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(run.loss_sum).item()


def test_the_wrong_number_of_processes_is_refused(tiny):
    check_processes(2, None)
    check_processes(2, 2)
    with pytest.raises(ValueError, match="num_processes=2 was asked for and 1 run"):
        train(tiny(num_processes=2))


def test_trackers_get_every_evaluation(tiny, monkeypatch):
    from accelerate.tracking import GeneralTracker, on_main_process

    class Recorder(GeneralTracker):
        name, requires_logging_directory, logged = "recorder", False, []
        main_process_only = True

        @property
        def tracker(self):
            return self

        @on_main_process
        def store_init_configuration(self, values):
            self.logged.append(("config", values["num_train"]))

        @on_main_process
        def log(self, values, step, **_):
            self.logged.append((step, values["kl"]))

    make = loop.Accelerator
    monkeypatch.setattr(trackers, "check", lambda name: None)  # it is not of those that Accelerate knows by name
    monkeypatch.setattr(loop, "Accelerator", lambda **kwargs: make(**(kwargs | {"log_with": Recorder("x")})))
    rows = train(tiny(report_to="tensorboard"))
    assert [(r["step"], r["kl"]) for r in rows] == Recorder.logged[1:]
    assert Recorder.logged[0] == ("config", "96")


def test_the_last_model_is_kept_where_that_is_wanted(tiny):
    a = tiny(learning_rate=0.05, num_train=16, max_steps=60, num_evaluations=6, patience=0, keep="last")
    rows = train(a)
    assert [row["best"] for row in rows] == [0, 0, 0, 0, 0, 1]
    assert rows[-1]["validation_loss"] > min(row["validation_loss"] for row in rows) + 0.01
    saved = AutoModelForCausalLM.from_pretrained(Path(a.training.output_dir) / "model")
    kl = kl_divergence(saved, Grammar.from_name("v4-m2-s2-L3"))["kl"]
    assert kl == pytest.approx(rows[-1]["kl"], rel=1e-5)


@pytest.mark.parametrize("wrong", [{"keep": "first"}, {"keep": "last", "patience": 2}])
def test_impossible_ways_to_keep_are_refused(tiny, wrong):
    with pytest.raises(ValueError, match=r"keep='first'|patience=2.*keep=last"):
        tiny(**wrong)
