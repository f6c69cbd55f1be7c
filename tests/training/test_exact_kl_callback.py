"""The callback's numbers in the stock Trainer are those of the metric, wherever they are read."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from rhm_hf import Grammar, RHMCollator, load_metric
from rhm_hf.data import RHMDatasetBuilder
from rhm_hf.training import ExactKLCallback


V = 4
CONFIG = GPT2Config(
    vocab_size=V + 3, n_positions=9, n_embd=16, n_layer=1, n_head=2, bos_token_id=V, eos_token_id=V, pad_token_id=V + 1
)


class Heard(TrainerCallback):
    """A stand-in of a tracker."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


@pytest.fixture
def grammar() -> Grammar:
    return Grammar.from_name("v4-m2-s2-L3", rules_seed=2)


@pytest.fixture
def rows(grammar, tmp_path):
    builder = RHMDatasetBuilder(
        grammar=grammar, train_size=64, validation_size=16, test_size=16, cache_dir=str(tmp_path)
    )
    builder.download_and_prepare()
    return builder.as_dataset()


def trainer_of(tmp_path, rows, callbacks, evaluated, **arguments) -> Trainer:
    torch.manual_seed(0)
    return Trainer(
        model=GPT2LMHeadModel(CONFIG),
        args=TrainingArguments(
            str(tmp_path / "run"),
            max_steps=4,
            per_device_train_batch_size=16,
            learning_rate=1e-2,
            eval_strategy="steps",
            eval_steps=2,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=False,
            **{"save_strategy": "no"} | arguments,
        ),
        train_dataset=rows["train"],
        eval_dataset=evaluated,
        data_collator=RHMCollator(num_symbols=V),
        callbacks=callbacks,
    )


def test_the_numbers_are_the_metrics(tmp_path, rows, grammar):
    trainer = trainer_of(tmp_path, rows, [ExactKLCallback(rows, num_sentences=256)], rows["validation"])
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_kl" in entry]
    assert [entry["step"] for entry in logged] == [2, 4]
    assert all("eval_loss" in entry for entry in logged)
    expected = load_metric("rhm_kl").compute(model=trainer.model, grammar=grammar, num_sentences=256)
    for name in ("kl", "kl_stderr", "kl_within", "leaked_mass", "entropy"):
        assert logged[-1][f"eval_{name}"] == expected[name]
    assert logged[0]["eval_kl"] > logged[1]["eval_kl"] > 0  # it learns
    assert trainer.evaluate()["eval_kl"] == expected["kl"]


def test_the_best_model_by_kl(tmp_path, rows, grammar):
    options = {
        "save_strategy": "steps",
        "save_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "kl",
    }
    callback = ExactKLCallback(grammar, num_sentences=256)
    trainer = trainer_of(tmp_path, rows, [callback], rows["validation"], greater_is_better=False, **options)
    trainer.train()
    logged = [entry["eval_kl"] for entry in trainer.state.log_history if "eval_kl" in entry]
    assert trainer.state.best_metric == min(logged)


def test_trackers_and_several_data_sets(tmp_path, rows, grammar):
    heard = Heard()
    trainer = trainer_of(tmp_path, rows, [heard], {"near": rows["validation"], "far": rows["test"]})
    trainer.add_callback(ExactKLCallback(grammar, trainer=trainer, num_sentences=64))
    trainer.train()
    for name in ("near", "far"):
        assert sum(f"eval_{name}_kl" in logs for logs in heard.logs) == 2
    values = {entry[key] for entry in heard.logs for key in ("eval_near_kl", "eval_far_kl") if key in entry}
    assert len(values) == 2  # two steps; the data sets do not matter, as sentences are fresh


def test_what_is_no_grammar_or_no_argument_is_refused(tmp_path, rows, grammar):
    with pytest.raises(ValueError, match="grammar is a int"):
        ExactKLCallback(3)
    trainer = trainer_of(tmp_path, rows, [ExactKLCallback(Grammar.from_name("v16-m4-s2-L3"))], rows["validation"])
    with pytest.raises(ValueError, match="token_ids"):
        trainer.evaluate()
