"""Every YAML of the recipes is valid as it stands; the learning curve writes its table, figure and model."""

import pytest
import torch
import yaml
from recipe_scripts import RECIPES, recipe
from transformers import AutoModelForCausalLM

from rhm_hf import Grammar
from rhm_hf.inference import plateau
from rhm_hf.training.arguments import field_names
from rhm_hf.training.recipe import recipe_main
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand


CONFIGS = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "accelerate")
IDS = [f"{path.parent.name}-{path.stem}" for path in CONFIGS]


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_there_are_recipes():
    assert {"demo", "gpt2", "llama", "paper"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_it_is_valid_as_it_stands(path):
    values = yaml.safe_load(path.read_text())
    runs = expand({name: value for name, value in values.items() if name in (*field_names(), "variants")})
    assert {run.training.output_dir.split("/")[0] for run in runs} == {"runs"}  # git ignores it
    for name in {run.data.grammar for run in runs if run.data.text is None}:
        count = Grammar.from_name(name).num_sentences
        for run in (run for run in runs if run.data.grammar == name and run.data.text is None):
            drawn = run.data.num_train + run.data.num_validation + run.data.num_test
            assert run.data.sampling == "iid" or drawn <= count  # iid sentences may repeat


@pytest.mark.parametrize("path", sorted((RECIPES / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_launch_configurations_are_accelerate_s(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]


def test_learning_curve_writes_table_figure_and_model(tmp_path, capsys, monkeypatch):
    settings = {"grammar": "v4-m2-s2-L3", "num_validation": 16, "num_test": 16, "batch_size": 16, "max_steps": 30}
    settings |= {"num_evaluations": 3, "kl_sentences": 16, "output_dir": tmp_path / "demo", "num_workers": 1}
    argv = ["--config", str(RECIPES / "next_token" / "demo.yaml"), "--num_train", "64", "16"]
    argv += [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    argv += ["--config_overrides", "{n_embd: 16, n_layer: 1, n_head: 2}"]
    module = recipe("next_token", "learning_curve")
    parts = {"name": "learning_curve", "measure": module.measure, "draw": module.draw, "check": module.check}
    recipe_main(argv, **parts)
    printed = capsys.readouterr().out
    grammar = Grammar.from_name("v4-m2-s2-L3")
    best = read_csv(tmp_path / "demo" / "learning_curve_runs.csv")
    assert [row["num_train"] for row in best] == [16, 64]
    assert all(row["best"] == 1 for row in best)
    lines = [line.split() for line in printed.splitlines()]
    for row in best:
        (line,) = [line for line in lines if line and line[0] == str(row["num_train"])]
        assert line[1:3] == [f"{float(row['test_loss']):.4f}", f"{float(row['kl']):.4f}"]
    for level in range(4):
        (line,) = [line for line in lines if line[:2] == ["level", f"{level},"]]
        assert f"{plateau(grammar, level):.4f}" in line
    assert len(read_csv(tmp_path / "demo" / "results.csv")) == 6
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "demo" / "model")
    assert model.config.vocab_size == 7
    assert Grammar.from_pretrained(tmp_path / "demo" / "model") == grammar

    monkeypatch.setattr("rhm_hf.training.run.loop.Run", None)  # a second call trains nothing
    recipe_main(argv, **parts)
