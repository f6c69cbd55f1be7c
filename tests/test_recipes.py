"""Every recipe is parsed, and run at a tiny size; the learning curve writes its table and figure."""

import pytest
import torch
import yaml
from matplotlib.image import imread
from recipe_scripts import RECIPES, recipe
from transformers import AutoModelForCausalLM

from rhm_hf import Grammar
from rhm_hf.inference import plateau
from rhm_hf.training import Arguments, train
from rhm_hf.training.arguments import field_names
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand


CONFIGS = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "accelerate")
IDS = [f"{path.parent.name}-{path.stem}" for path in CONFIGS]
TINY = {
    "grammar": "v4-m2-s2-L3",
    "num_validation": 16,
    "num_test": 16,
    "batch_size": 16,
    "max_steps": 5,
    "num_evaluations": 3,
    "kl_sentences": 16,
    "num_threads": 1,
}
TINY_WIDTHS = {"n_embd": 16, "n_layer": 1, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def parsed(path):
    """A recipe's sweep without its own options, such as how many workers it has."""
    values = yaml.safe_load(path.read_text())
    return {name: value for name, value in values.items() if name in (*field_names(), "variants")}


def test_there_are_recipes():
    assert {"demo", "gpt2", "llama", "paper"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=IDS)
def test_recipe_is_valid_as_it_stands_and_runs_at_a_tiny_size(path, tmp_path):
    runs = expand(parsed(path))
    assert {run.training.output_dir.split("/")[0] for run in runs} == {"runs"}  # git ignores it
    tiny = TINY | {"num_train": 64}
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question. " * 50)
    text = {"text": str(tmp_path / "text.txt"), "context_length": 8, "mixed_precision": "no"}
    for run in runs:
        if run.data.text is None:
            wanted = run.data.num_train + run.data.num_validation + run.data.num_test
            assert wanted <= Grammar.from_name(run.data.grammar).num_sentences
    kinds = {(run.training.task, run.model.model_type, str(run.model.config_overrides)): run for run in runs}
    for number, run in enumerate(kinds.values()):
        overrides = {k: TINY_WIDTHS.get(k, value) for k, value in run.model.config_overrides.items()}
        if "filter_size" in overrides:  # as deep as the tiny grammar
            overrides |= {"filter_size": 2, "num_hidden_layers": 3}
        own = {"config_overrides": overrides, "output_dir": str(tmp_path / "runs" / str(number))}
        if run.training.visible_tokens is not None:
            own["visible_tokens"] = 3
        if run.training.optimizer == "sgd":  # in the mean-field scaling it goes with the width
            own["learning_rate"] = run.training.learning_rate * 16 / run.model.config_overrides["hidden_size"]
        own |= {} if run.data.text is None else text
        rows = train(Arguments.from_dict(run.to_dict() | tiny | own))
        assert rows[-1]["step"] == 5
        assert 0 < rows[-1]["kl" if run.data.text is None else "test_loss"] < float("inf")


@pytest.mark.parametrize("path", sorted((RECIPES / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_launch_configurations_are_accelerate_s(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]


def test_learning_curve_writes_table_figure_and_model(tmp_path, capsys, monkeypatch):
    overrides = TINY | {"output_dir": tmp_path / "demo", "max_steps": 30, "num_workers": 1}
    argv = ["--config", str(RECIPES / "next_token" / "demo.yaml"), "--num_train", "64", "16"]
    argv += [str(part) for name, value in overrides.items() for part in (f"--{name}", value)]
    argv += ["--config_overrides", "{n_embd: 16, n_layer: 1, n_head: 2}"]
    module = recipe("next_token", "learning_curve")
    module.main(argv)
    printed = capsys.readouterr().out
    grammar = Grammar.from_name("v4-m2-s2-L3")
    best = read_csv(tmp_path / "demo" / "learning_curve.csv")
    assert [row["num_train"] for row in best] == [16, 64]
    assert all(row["best"] == 1 for row in best)
    lines = [line.split() for line in printed.splitlines()]
    for row in best:
        (line,) = [line for line in lines if line and line[0] == str(row["num_train"])]
        assert line[1:3] == [f"{float(row['test_loss']):.4f}", f"{float(row['kl']):.4f}"]
    for level in range(4):
        (line,) = [line for line in lines if line[:2] == ["level", f"{level},"]]
        assert f"{plateau(grammar, level):.4f}" in line
    image = imread(tmp_path / "demo" / "learning_curve.png")
    assert image.shape[0] > 400
    assert image.std() > 0.05  # something is drawn
    assert len(read_csv(tmp_path / "demo" / "results.csv")) == 6
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "demo" / "model")
    assert model.config.vocab_size == 7
    assert Grammar.from_pretrained(tmp_path / "demo" / "model") == grammar

    monkeypatch.setattr("rhm_hf.training.executors.train", None)  # a second call trains nothing
    module.main(argv)
    with pytest.raises(ValueError, match="only num_train may be listed"):
        module.main([*argv, "--model_seed", "0", "1"])
