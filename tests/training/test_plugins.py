"""Tasks, optimizers and models from outside, as `module:Name` in a YAML, in this process and in others."""

import os
import sys
from pathlib import Path

import pytest
import torch
from forked import ForkedZygote
from safetensors.torch import load_file

from rhm_hf.tasks import TASKS
from rhm_hf.training import best_row, parse_arguments, train
from rhm_hf.training.results import read_csv
from rhm_hf.training.run.loop import Run
from rhm_hf.training.sweep import sweep, workers


ROOT = Path(__file__).resolve().parents[2]
PLUGIN = '''
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel
from rhm_hf.tasks import NextToken


class Doubled(NextToken):
    """Next tokens, each counted twice."""
    name = "doubled"

    def loss(self, model, batch):
        return 2 * super().loss(model, batch)


class Signs(torch.optim.Optimizer):
    """Steps of the sign of the gradient; keeps a tensor and a plain number for every parameter."""

    def __init__(self, params, lr=0.1, scale=1.0):
        super().__init__(params, {"lr": lr, "scale": scale})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["steps"] = state.get("steps", 0) + 1
                state["last"] = p.grad.sign()
                p.sub_(group["lr"] * group["scale"] / state["steps"] * state["last"])


class OwnConfig(GPT2Config):
    model_type = "own"


class Own(GPT2LMHeadModel):
    config_class = OwnConfig
    auto_class = "AutoModelForCausalLM"


class Backwards(Own):
    """Looks at what it should predict."""

    def forward(self, input_ids, **kwargs):
        out = super().forward(input_ids.flip(1), **kwargs)
        out.logits = out.logits.flip(1)
        return out


SOMETHING = 3
'''
RUN = """
task: outside_plugin:Doubled
optimizer: outside_plugin:Signs
optimizer_options: {scale: 0.5}
model_type: outside_plugin:Own
config_overrides: {n_embd: 16, n_layer: 1, n_head: 2}
grammar: v4-m2-s2-L3
num_train: 64
num_validation: 16
num_test: 16
batch_size: 16
max_steps: 12
num_evaluations: 2
save_steps: 3
warmup_steps: 0
patience: 0
learning_rate: 1e-2
num_threads: 1
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module in the working directory, and the path of a YAML that names what it holds."""
    (tmp_path / "outside_plugin.py").write_text(PLUGIN)
    (tmp_path / "run.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    threads = torch.get_num_threads()
    path = list(sys.path)
    yield tmp_path / "run.yaml"
    torch.set_num_threads(threads)
    TASKS.pop("doubled", None)
    sys.path[:] = path
    for name in ("outside_plugin", "registering_plugin", "broken_plugin"):
        sys.modules.pop(name, None)


def test_a_run_of_outside_things_learns_resumes_and_sweeps(outside, tmp_path, monkeypatch):
    whole = parse_arguments(["--config", str(outside), "--output_dir", str(tmp_path / "whole")])
    rows = train(whole)
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    assert rows[-1]["kl"] < rows[0]["kl"]
    assert (rows[0]["task"], rows[0]["model"]) == ("doubled", "outside_plugin:Own")
    assert rows[0]["train_loss"] > 1.5 * rows[0]["validation_loss"]  # the task's own loss

    killed, train_step = (
        parse_arguments(["--config", str(outside), "--output_dir", str(tmp_path / "run")]),
        Run.train_step,
    )

    def stopping(self):
        if self.step == 7:
            raise KeyboardInterrupt
        train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(killed)
    assert best_row(train(killed))["kl"] == best_row(rows)["kl"]
    values = whole.to_dict() | {"output_dir": str(tmp_path / "sweep"), "model_seed": [0, 1]}
    monkeypatch.setattr(workers, "Zygote", ForkedZygote)
    found = sweep(values, num_workers=2)
    assert [row["kl"] for row in found if row["model_seed"] == 0] == [row["kl"] for row in rows]
    ours, theirs = (load_file(tmp_path / f / "model" / "model.safetensors") for f in ("whole", "sweep/model_seed-0"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert read_csv(tmp_path / "sweep" / "results.csv") == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--task=nowhere:Task", "task='nowhere:Task': there is no module nowhere, neither installed nor in "),
        (
            "--task=outside_plugin:Missing",
            r"task='outside_plugin:Missing': the module outside_plugin \(.*\) has no Missing",
        ),
        ("--task=outside_plugin:Signs", "is Signs, not a subclass of rhm_hf.tasks"),
        ("--optimizer=outside_plugin:SOMETHING", "is a int, not a subclass of torch.optim"),
        ("--model_type=outside_plugin:OwnConfig", "is OwnConfig, not a subclass of transformers"),
        ("--task=a b:C", "'a b' is no module's name"),
        ("--task=chess", "task='chess' is out of range: it must be one of next_token"),
        ("--import=nowhere", "imports='nowhere': there is no module nowhere"),
        ("--import=broken_plugin", r"imports='broken_plugin': importing broken_plugin failed: ZeroDivisionError"),
    ],
)
def test_what_cannot_be_used_is_said_when_arguments_are_read(outside, given, message):
    (outside.parent / "broken_plugin.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match=message):
        parse_arguments(["--config", str(outside), given])


def test_models_and_optimizers_that_do_not_fit_end_in_a_line(outside, tmp_path):
    for given, message in (
        (["--model_type", "outside_plugin:Backwards"], "reads the answer"),
        (["--optimizer_options", "{colour: red}"], "optimizer='outside_plugin:Signs' cannot be made with .*colour"),
    ):
        with pytest.raises(ValueError, match=message):
            train(parse_arguments(["--config", str(outside), "--output_dir", str(tmp_path / "run"), *given]))


def test_the_source_of_a_plugin_is_part_of_the_run(outside, tmp_path):
    a = parse_arguments(["--config", str(outside), "--output_dir", str(tmp_path / "run")])
    train(a)
    path = tmp_path / "outside_plugin.py"
    path.write_text(PLUGIN.replace("2 * super()", "3 * super()"))
    with pytest.raises(ValueError, match="holds a run whose module outside_plugin had another content"):
        train(a)


def test_imported_modules_register_tasks_and_families(outside, tmp_path, monkeypatch):
    (tmp_path / "registering_plugin.py").write_text(
        "import outside_plugin, rhm_hf.tasks\nrhm_hf.tasks.TASKS['doubled'] = outside_plugin.Doubled\n"
    )
    given = ["--import", "registering_plugin", "--task", "doubled", "--output_dir", str(tmp_path / "sweep")]
    a = parse_arguments(["--config", str(outside), *given])
    assert a.training.imports == "registering_plugin"
    rows = sweep(a.to_dict() | {"model_seed": [0, 1]})  # in worker processes: test_plugins_everywhere.py
    assert {row["task"] for row in rows} == {"doubled"}
    assert os.environ["PYTHONPATH"] == str(ROOT)  # workers look in the working directory themselves, last
