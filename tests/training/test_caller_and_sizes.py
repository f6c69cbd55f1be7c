"""What `train` leaves as it found it, the size of its model, and sizes that cannot be."""

import math
import os

import numpy as np
import palindromes  # noqa: F401  registers the family
import pytest
import torch
from accelerate.state import AcceleratorState
from forked import exit_code

from rhm_hf.grammar import Grammar
from rhm_hf.training import Arguments, results, train
from rhm_hf.training.commands import sweep_command, train_command
from rhm_hf.training.data import seen_share
from rhm_hf.training.run import loop
from rhm_hf.training.run.loop import Run
from rhm_hf.training.strict_yaml import dump_yaml


SHORT = {"max_steps": 6, "num_evaluations": 2}
COMPARED = ("train_loss", "validation_loss", "test_loss", "kl")


def compared(rows):
    return [[row[name] for name in COMPARED] for row in rows]


def test_the_caller_s_state_is_left_and_does_not_matter(tiny, tmp_path):
    plain = train(tiny(output_dir=str(tmp_path / "plain"), **SHORT))
    torch.manual_seed(7)
    torch.rand(3)
    state, environment = torch.get_rng_state(), dict(os.environ)
    threads, shared = torch.get_num_threads(), dict(AcceleratorState._shared_state)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            rows = train(tiny(output_dir=str(tmp_path / "other"), num_threads=2, **SHORT))
            assert torch.is_inference_mode_enabled()
        with torch.no_grad():
            train(tiny(output_dir=str(tmp_path / "third"), mixed_precision="bf16", **SHORT))
            assert not torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert dict(os.environ) == environment
    assert AcceleratorState._shared_state.keys() == shared.keys()
    np.testing.assert_allclose(compared(rows), compared(plain), rtol=1e-5)  # two threads add in another order


def alone(values):
    os.environ["ACCELERATE_USE_CPU"] = "true"
    train(Arguments.from_dict(values))


def test_runs_of_one_process_are_those_of_processes_of_their_own(tiny, tmp_path):
    """One after the other in this process, the second is what it is alone."""
    a = tiny(output_dir=str(tmp_path / "first"), **SHORT)
    b = tiny(output_dir=str(tmp_path / "second"), mixed_precision="bf16", num_train=64, **SHORT)
    train(a)
    rows = train(b)
    assert exit_code(alone, b.to_dict() | {"output_dir": str(tmp_path / "alone")}) == 0
    assert compared(results.read_csv(tmp_path / "alone" / "results.csv")) == compared(rows)


@pytest.mark.parametrize(
    ("grammar", "most"), [("v4-m2-s2-L3", 200_000), ("v16-m4-s2-L3", 800_000), ("v8-m8-s2-L4", 300_000)]
)
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gpt_neox"])
def test_the_default_model_suits_the_grammar(tiny, tmp_path, grammar, most, model_type):
    a = tiny(grammar=grammar, num_train=8, config_overrides=None, model_type=model_type, **SHORT)
    model = Run(a).bare_model
    assert 10_000 < model.num_parameters() < most
    assert model.config.num_hidden_layers == max(2, Grammar.from_name(grammar).depth)


def test_who_gives_a_size_gives_them_all(tiny):
    config = Run(tiny(config_overrides={"n_embd": 96}, **SHORT)).bare_model.config
    assert (config.n_embd, config.n_layer, config.n_head) == (96, 12, 12)  # the model type's own


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 10**9}, r"batch_size=1000000000: a micro-batch .* need at least .* GB, and this machine has"),
        (
            {"num_train": 10**12},
            r"num_train=1000000000000 is out of range: .* >= 1 and < 4294967297",
        ),
        ({"num_train": 2**32}, r"num_train=4294967296: .* need at least"),
        ({"kl_sentences": 2**32}, r"kl_sentences=4294967296: .* need at least"),
        ({"config_overrides": {"n_embd": 10**6, "n_head": 10}}, r"parameters need at least .* GB"),
        (
            {"config_overrides": {"n_layer": 10**9}},
            r"config_overrides: n_layer=1000000000 is out of range: .* < 65536",
        ),
        ({"config_overrides": {"n_embd": 10, "n_head": 3}}, "divisible|cannot be built|makes no model"),
        ({"config_overrides": {"activation_function": "nonsense"}}, "nonsense"),
        ({"config_overrides": {"n_embd": "wide"}}, "n_embd='wide' is not an integer"),
        ({"config_overrides": {"n_layer": True}}, "n_layer=True is out of range: it must be an integer"),
        (
            {"config_overrides": {"attn_pdrop": 2.0}},
            r"attn_pdrop=2\.0 is out of range: .* >= 0 and < 1",
        ),
        (
            {"config_overrides": {"layer_norm_epsilon": float("nan")}},
            "layer_norm_epsilon=nan is out of range",
        ),
        ({"config_overrides": {"use_cache": "no"}}, "use_cache='no' is no flag: it must be True or False"),
        ({"config_overrides": {"n_layer": -1}}, "n_layer=-1 is out of range: it must be an integer >= 1"),
        ({"config_overrides": {"vocab_size": 3}}, "cannot be trained|vocab"),
        ({"config_overrides": {"n_positions": 2}}, "cannot be trained|n_positions"),
        ({"config_overrides": {"initializer_range": -1.0}}, "makes no model|cannot be built|refused"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type='reduce_lr_on_plateau' cannot be used"),
        ({"lr_scheduler_type": "wavy"}, "lr_scheduler_type='wavy' cannot be used"),
        ({"report_to": "nobody"}, "report_to='nobody' is out of range: it must be none"),
        ({"report_to": "aim"}, "report_to='aim' is not installed: pip install aim"),
        ({"model_type": "gpt22"}, r"model_type='gpt22' is not known to transformers .*did you mean gpt2"),
        ({"grammar": "v4-m9-s2-L3"}, "v4-m9|num_synonyms"),
        ({"disjoint": True, "sampling": "unique"}, "disjoint=True is out of range: it must be left out with unique"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_before_anything_is_written(tiny, tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as found:
        train(tiny(**change))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_causal_head_on_attention_both_ways_is_refused(tiny):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    with pytest.raises(ValueError, match="reads the answer"):
        train(tiny(model_type="bert", config_overrides=sizes, **SHORT))


def test_disjoint_splits_and_the_share_of_test_sentences_seen(tiny, tmp_path):
    name = "v4-m3-s2-L2-zipf1.0@1"
    shares = {}
    for disjoint in (False, True):
        a = tiny(grammar=name, disjoint=disjoint, output_dir=str(tmp_path / str(disjoint)), **SHORT)
        rows = train(a)
        shares[disjoint] = rows[-1]["test_seen"]
        assert results.read_csv(tmp_path / str(disjoint) / "results.csv") == rows
    grammar = Grammar.from_name(name)
    train_rows, test_rows = grammar.sample(96), grammar.sample(32, split="test")
    known = {tuple(row) for row in train_rows.tolist()}
    assert (
        shares[False] == seen_share(train_rows, test_rows) == np.mean([tuple(r) in known for r in test_rows.tolist()])
    )
    assert shares[False] > 0.3
    assert shares[True] == 0
    assert train(tiny(output_dir=str(tmp_path / "unique"), **SHORT))[0]["test_seen"] == 0


def test_rows_say_what_ended_the_run(tiny, tmp_path):
    early = train(tiny(learning_rate=0.05, num_train=16, max_steps=500, num_evaluations=30, patience=2))
    assert {row["stopped_by"] for row in early} == {"patience"}
    rows = train(tiny(output_dir=str(tmp_path / "short"), max_steps=20, num_evaluations=4))
    assert {row["stopped_by"] for row in rows} == {"max_steps"}
    assert results.read_csv(tmp_path / "short" / "results.csv") == rows
    flat = evaluations((10, 1.0), (50, 0.5), (100, 0.4951))
    assert results.stopped_by(flat, False, 100) == "converged"
    assert results.stopped_by([*flat[:2], *evaluations((100, 0.49))], False, 100) == "max_steps"


def evaluations(*losses, **more):
    return [{"step": step, "train_loss": loss, "validation_loss": loss} | more for step, loss in losses]


def test_a_run_that_learnt_nothing_is_not_done(tiny):
    """The plateau of a blind guess is as flat as the end: runs at 2.04 of ln 8 were once taken for converged."""
    flat = evaluations((1, 2.09), (50, 2.05), (100, 2.04))
    for early in (False, True):
        assert results.stopped_by(flat, early, 100) == "untrained"
        by_heart = [*flat[:2], flat[2] | {"train_loss": 1.0}]  # nothing that generalises, all the same it trained
        assert results.stopped_by(by_heart, early, 100) == ("patience" if early else "converged")
        assert results.stopped_by(evaluations((1, 2.09), (50, 2.04), kl=0.01), early, 100) != "untrained"
    # weights drawn so wide that a blind guess is an improvement
    assert results.stopped_by(evaluations((1, 3.0), (40, 2.08), (100, 2.08)), False, 100) == "converged"
    assert results.stopped_by(evaluations((1, 3.0), (40, 2.08), (100, 2.08)), False, 100, math.log(8)) == "untrained"
    assert results.stopped_by(evaluations((1, 2.09), (100, 2.05)), False, 100) == "max_steps"  # it still falls
    rows = train(tiny(learning_rate=1e-9, max_steps=20, num_evaluations=8))
    assert {row["stopped_by"] for row in rows} == {"untrained"}


def test_sentences_of_different_lengths(tiny, tmp_path):
    """A family from outside, of palindromes: padded rows, END predicted, the exact KL falls; resumed to the bit."""
    a = tiny(grammar="palindromes-v3-h3", max_steps=60, num_evaluations=3, learning_rate=1e-2)
    run = Run(a)
    rows = run.data.splits["train"]
    assert rows.shape == (96, 6)
    assert run.data.length == 6
    tokens, lengths = Grammar.from_name("palindromes-v3-h3").sample(96, return_lengths=True)
    assert (rows.numpy() != 4).sum(1).tolist() == lengths.tolist()
    np.testing.assert_array_equal(rows.numpy()[:, : tokens.shape[1]], tokens)
    found = train(a)
    assert found[-1]["kl"] < 0.5 * found[0]["kl"]
    assert found[-1]["validation_loss"] < found[0]["validation_loss"]
    assert 0 < found[0]["test_seen"] <= 1
    again = train(tiny(grammar="palindromes-v3-h3", max_steps=60, num_evaluations=3, learning_rate=1e-2,
                       batch_size=16, gradient_accumulation_steps=2, output_dir=str(tmp_path / "again")))  # fmt: skip
    np.testing.assert_allclose(compared(again), compared(found), rtol=1e-4)


def test_interrupted_commands_say_how_to_go_on(tiny, tmp_path, monkeypatch, capsys):
    def interrupted(arguments, announce=None):
        raise KeyboardInterrupt

    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(tiny(**SHORT).to_dict()))
    monkeypatch.setattr(loop, "train", interrupted)
    assert train_command(["--config", str(path)]) == 130
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2
    assert "interrupted" in said[0]
    assert str(tmp_path / "run") in said[0]
    assert "the same command again goes on" in said[1]
    assert sweep_command(["--config", str(path)]) == 130
    assert "1 of 1 runs are not finished; the same command again goes on with them" in capsys.readouterr().err


def test_commands_say_in_a_line_what_is_wrong_and_what_they_train(tiny, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    for command in (train_command, sweep_command):
        assert command(["--config", str(path)]) == 1
        assert capsys.readouterr().err.strip().splitlines()[0].endswith("cannot be read: No such file or directory")
        path.write_text("a: [1")
        assert command(["--config", str(path)]) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
        path.unlink()
    path.write_text(dump_yaml(tiny(**SHORT).to_dict()))
    assert train_command(["--config", str(path)]) == 0
    said = capsys.readouterr()
    parameters = Run(Arguments.from_dict(tiny(**SHORT).to_dict())).bare_model.num_parameters()
    assert f"gpt2 with {parameters:,} parameters" in said.err
    assert said.err.startswith(str(tmp_path / "run"))
    assert "best at step 6" in said.out
