"""`--import` of a module with a model, a task and a family of its own: the same run in every executor."""

import os
import shlex
import sys
from pathlib import Path

import pytest
import torch
import yaml
from forked import ForkedZygote, Python

from rhm_hf.cli import main
from rhm_hf.grammar import registry
from rhm_hf.tasks import TASKS
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import sweep, workers


ROOT = Path(__file__).resolve().parents[2]
FAMILY = (
    (ROOT / "tests" / "palindromes.py")
    .read_text(encoding="utf-8")
    .replace("palindromes:", "mirrored_plugin:")
    .replace("palindromes", "mirrored")
)
PLUGIN = (
    FAMILY
    + '''

from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import rhm_hf.tasks
from rhm_hf.tasks import NextToken


class MirroredConfig(GPT2Config):
    model_type = "mirrored"


class Mirrored(GPT2LMHeadModel):
    config_class = MirroredConfig


class Halved(NextToken):
    """Next tokens, each counted half."""
    name = "halved"

    def loss(self, model, batch):
        return super().loss(model, batch) / 2


AutoConfig.register("mirrored", MirroredConfig, exist_ok=True)
AutoModelForCausalLM.register(MirroredConfig, Mirrored, exist_ok=True)
rhm_hf.tasks.TASKS["halved"] = Halved
'''
)
VALUES = {
    "imports": "mirrored_plugin",
    "task": "halved",
    "model_type": "mirrored",
    "grammar": "mirrored-v3-h2",
    "config_overrides": {"n_embd": 8, "n_layer": 1, "n_head": 1},
    "num_train": 32,
    "num_validation": 8,
    "num_test": 8,
    "batch_size": 8,
    "max_steps": 3,
    "num_evaluations": 2,
    "model_seed": [0, 1],
    "num_threads": 1,
}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """The module in the working directory; it is forgotten afterwards."""
    (tmp_path / "mirrored_plugin.py").write_text(PLUGIN)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(VALUES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path, threads = list(sys.path), torch.get_num_threads()
    tables = [registry._FAMILIES, registry._KINDS, registry._SOURCES]
    known = [dict(table) for table in tables]
    yield tmp_path
    torch.set_num_threads(threads)
    sys.path[:] = path
    TASKS.pop("halved", None)
    sys.modules.pop("mirrored_plugin", None)
    for table, before in zip(tables, known, strict=True):
        table.clear()
        table.update(before)


def rows_of(folder: Path) -> list[tuple]:
    rows = read_csv(folder / "results.csv")
    return [(row["run"], row["step"], row["task"], row["model"], row["train_loss"], row["kl"]) for row in rows]


def test_models_tasks_and_families_in_worker_processes_and_printed_commands(outside, monkeypatch, capsys):
    sweep(VALUES | {"output_dir": "alone"})
    expected = rows_of(outside / "alone")
    assert {row[2:4] for row in expected} == {("halved", "mirrored")}
    assert all(row[5] > 0 for row in expected)

    monkeypatch.setattr(workers, "Zygote", ForkedZygote)
    sweep(VALUES | {"output_dir": "workers"}, num_workers=2)
    assert rows_of(outside / "workers") == expected

    printing = ["sweep", "--config", "sweep.yaml", "--output_dir", "printed"]
    printing += ["--executor", "print", "--model_seed", "1"]
    assert main(printing) == 0
    (line,) = capsys.readouterr().out.splitlines()
    with Python(shlex.split(line)) as process:
        process.stdout.read()
    assert process.poll() == 0
    assert main(printing) == 0
    second = [row[1:] for row in expected if row[0] == "model_seed-1"]
    assert [row[1:] for row in rows_of(outside / "printed")] == second


def test_models_tasks_and_families_on_ray(outside, monkeypatch):
    """The one sweep of the tests on Ray itself: what it gives is what this process gives."""
    ray = pytest.importorskip("ray")
    sweep(VALUES | {"output_dir": "alone"})
    expected = rows_of(outside / "alone")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder of who runs the tests
    init = ray.init
    monkeypatch.setattr(ray, "init", lambda **options: init(address="local", num_cpus=2, **options))
    rows = sweep(VALUES | {"output_dir": "ray"}, executor="ray")
    assert not ray.is_initialized()  # what the sweep has started it ends
    assert rows_of(outside / "ray") == expected
    assert rows == read_csv(outside / "ray" / "results.csv")


def test_the_word_on_the_command_line(outside, capsys):
    values = {name: value for name, value in VALUES.items() if name != "imports"} | {"model_seed": 0}
    Path("run.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", "--config", "run.yaml", "--output_dir", "run"]) != 0
    assert "halved" in capsys.readouterr().err
    assert main(["train", "--config", "run.yaml", "--output_dir", "run", "--import", "mirrored_plugin"]) == 0
    assert {row[2] for row in rows_of(outside / "run")} == {"halved"}
    assert os.environ["PYTHONPATH"] == str(ROOT)
