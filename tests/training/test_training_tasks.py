"""Every task through the loop: it learns, writes its columns, resumes to the bit; models and tasks that do not fit."""

from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from rhm_hf.tasks import NextToken
from rhm_hf.training import results, train
from rhm_hf.training.model_building import auto_class_for
from rhm_hf.training.run import saving
from rhm_hf.training.run.loop import Run


BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
UNET = {"hidden_size": 16, "num_hidden_layers": 3, "filter_size": 2}


class OneSymbolFirst(NextToken):
    """A curriculum: in the first half of a run no token but the first of a sentence is judged."""

    seen: ClassVar[list[float]] = []

    def training_batch(self, rows, noise=None, progress=0.0):
        self.seen.append(progress)
        batch = self.collate(rows, noise)
        if progress < 0.5:
            batch["labels"][:, 2:] = -100
        return batch


CURRICULUM = "test_training_tasks:OneSymbolFirst"
CASES = {
    "curriculum-gpt2": {"task": CURRICULUM},
    "last_token-gpt2": {"task": "last_token"},
    "last_token-bert": {"task": "last_token", "model_type": "bert", "config_overrides": BERT, "visible_tokens": 3},
    "masked-bert": {"task": "masked", "model_type": "bert", "config_overrides": BERT, "mask_probability": 0.3},
    "masked-modernbert": {"task": "masked", "model_type": "modernbert", "config_overrides": BERT},
    "diffusion-bert": {"task": "diffusion", "model_type": "bert", "config_overrides": BERT},
    "diffusion-unet": {
        "task": "diffusion",
        "model_type": "hierarchical_unet",
        "config_overrides": UNET | {"time_embedding": True},
        "process": "uniform",
        "diffusion_steps": 8,
        "schedule": "cosine",
    },
    "classification-gpt2": {"task": "classification"},
    "classification-sgd": {
        "task": "classification",
        "optimizer": "sgd",
        "momentum": 0.9,
        "learning_rate": 0.1,
        "max_steps": 300,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_learns_and_writes_its_columns(tiny, case):
    a = tiny(**{"max_steps": 80, "num_evaluations": 2, "num_train": 128} | CASES[case])
    rows = train(a)
    run = Run(tiny(output_dir=a.training.output_dir + "-other", **CASES[case]))
    assert list(rows[0]) == results.columns(run.task.columns)
    assert rows[1]["kl"] < rows[0]["kl"] - 0.02
    assert 0 <= rows[1]["test_accuracy"] <= 1


@pytest.mark.parametrize("case", ["masked-bert", "diffusion-unet", "classification-sgd", "curriculum-gpt2"])
def test_a_resumed_run_has_the_same_bits(tiny, tmp_path, case):
    whole = train(tiny(output_dir=str(tmp_path / "whole"), **CASES[case]))
    cut = Run(tiny(output_dir=str(tmp_path / "cut"), save_steps=5, **CASES[case]))
    cut.folder.mkdir()
    cut._begin()
    for _ in range(7):
        cut.train_step()
        if cut.step in cut.evaluations:
            cut._evaluate()
        if cut.step in cut.evaluations or cut.step == 5:
            saving.save(cut)
    rows = train(tiny(output_dir=str(tmp_path / "cut"), **CASES[case]))  # goes on from step 5
    different = ("seconds", "run", "commit")
    assert [{k: v for k, v in row.items() if k not in different} for row in rows] == [
        {k: v for k, v in row.items() if k not in different} for row in whole
    ]
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_curriculum_is_told_the_share_of_steps_that_is_done(tiny):
    OneSymbolFirst.seen.clear()
    rows = train(tiny(task=CURRICULUM, max_steps=8, num_evaluations=2))
    assert OneSymbolFirst.seen == [step / 8 for step in range(8)]
    assert rows[0]["train_loss"] < rows[0]["validation_loss"] / 4  # one of 8 tokens counts, and all that are held out


@pytest.mark.parametrize("case", ["masked-bert", "diffusion-bert"])
def test_masks_do_not_depend_on_how_a_batch_is_shared(tiny, tmp_path, case):
    rows, parts = (
        train(tiny(gradient_accumulation_steps=n, output_dir=str(tmp_path / str(n)), **CASES[case])) for n in (1, 4)
    )
    for row, part in zip(rows, parts, strict=True):
        assert [part[k] for k in ("train_loss", "test_loss", "kl")] == pytest.approx(
            [row[k] for k in ("train_loss", "test_loss", "kl")], rel=1e-5
        )


def test_a_run_that_diverges_says_so_and_keeps_no_such_row(tiny):
    with pytest.raises(RuntimeError, match=r"_loss is .* at step 12: training diverged with learning_rate=1e\+30"):
        train(tiny(learning_rate=1e30, num_evaluations=1))


def test_models_that_do_not_fit_a_task_are_named(tiny):
    with pytest.raises(
        ValueError, match="'gpt2' cannot be trained so: the task needs AutoModelForMaskedLM, and GPT2C"
    ):
        Run(tiny(task="masked"))
    assert auto_class_for("gpt2", ("AutoModelForMaskedLM", "AutoModelForCausalLM")) == "AutoModelForCausalLM"
    with pytest.raises(ValueError, match="task='classification' needs a grammar"):
        Run(tiny(task="classification", text=__file__, context_length=4, num_train=100))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visible_tokens": 3}, "visible_tokens=3 is out of range: it must be left out with task=next_token"),
        ({"mask_probability": 0.2}, "mask_probability=0.2 .* left out with task=next_token"),
        ({"process": "uniform"}, "process='uniform' .* left out with task=next_token"),
        ({"optimizer": "lion"}, "optimizer='lion' is out of range: it must be one of adamw, sgd, or module:Name"),
        ({"momentum": 0.9}, "momentum=0.9 .* 0 with optimizer=adamw"),
    ],
)
def test_arguments_of_other_tasks_are_refused(tiny, change, message):
    with pytest.raises(ValueError, match=message):
        tiny(**change)
