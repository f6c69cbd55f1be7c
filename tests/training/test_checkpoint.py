"""Checkpoints: complete or not there, damage noticed, bits kept."""

import json
import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf.training.run import checkpoint
from rhm_hf.training.run.checkpoint_files import remove_checkpoints


TENSORS = {"model": {"a": torch.randn(3, 2), "b": torch.randn(5).to(torch.bfloat16)}, "losses": {"s": torch.ones(1)}}
STATE = {"step": 7, "rows": [{"loss": math.pi, "best": 1}], "seconds": 0.1 + 0.2}


def test_round_trip_keeps_every_bit(tmp_path):
    checkpoint.save(tmp_path, 7, TENSORS, STATE)
    tensors, state = checkpoint.load(tmp_path, 7)
    assert state == STATE
    assert tensors.keys() == TENSORS.keys()
    for name, values in TENSORS.items():
        assert all(torch.equal(tensors[name][key], value) for key, value in values.items())


def test_the_newest_two_are_kept_and_nothing_partial(tmp_path):
    for step in (1, 20, 3, 100):
        checkpoint.save(tmp_path, step, TENSORS, STATE)
    assert checkpoint.steps(tmp_path) == [100, 20]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-20"]
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "losses.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damage_is_noticed(tmp_path, name, damage):
    checkpoint.save(tmp_path, 7, TENSORS, STATE)
    path = tmp_path / "checkpoint-7" / name
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[content.find(b"7") if name == "state.json" else -1] ^= 1  # the step 7 becomes a 6: valid JSON
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(ValueError, match="checkpoint-7 is damaged"):
        checkpoint.load(tmp_path, 7)


def test_a_state_that_is_json_but_no_state_is_damage(tmp_path):
    checkpoint.save(tmp_path, 7, TENSORS, STATE)
    (tmp_path / "checkpoint-7" / "state.json").write_text(json.dumps([1, 2]))
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.load(tmp_path, 7)


def test_a_killed_save_leaves_the_one_before_it(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, TENSORS, STATE)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 2, TENSORS, STATE)
    monkeypatch.undo()
    assert checkpoint.steps(tmp_path) == [1]
    checkpoint.save(tmp_path, 2, TENSORS, STATE)  # over the remains of the killed one
    assert checkpoint.load(tmp_path, 2)[1] == STATE


def test_tied_weights_are_stored_once_and_restored(tmp_path):
    config = GPT2Config(vocab_size=5, n_positions=4, n_embd=8, n_layer=1, n_head=1)
    model, other = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    tensors = checkpoint.model_tensors(model)
    assert "lm_head.weight" not in tensors
    checkpoint.save(tmp_path, 1, {"model": tensors}, {})
    checkpoint.restore_model(other, checkpoint.load(tmp_path, 1)[0]["model"])
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert other.lm_head.weight is other.transformer.wte.weight
    del tensors["transformer.ln_f.bias"]
    with pytest.raises(ValueError, match="another model"):
        checkpoint.restore_model(other, tensors)


def test_the_optimizer_goes_on_as_if_never_stopped(tmp_path):
    def make():
        parameters = [torch.nn.Parameter(torch.arange(4.0)), torch.nn.Parameter(torch.ones(2, 2))]
        return parameters, torch.optim.AdamW(parameters, lr=0.1)

    def step(parameters, optimizer):
        sum((p**2).sum() for p in parameters).backward()
        optimizer.step()
        optimizer.zero_grad()

    parameters, optimizer = make()
    for _ in range(3):
        step(parameters, optimizer)
    checkpoint.save(tmp_path, 3, {"optimizer": checkpoint.optimizer_tensors(optimizer)}, {})
    others, other = make()
    with torch.no_grad():
        for mine, theirs in zip(others, parameters, strict=True):
            mine.copy_(theirs)
    checkpoint.restore_optimizer(other, checkpoint.load(tmp_path, 3)[0]["optimizer"])
    step(parameters, optimizer)
    step(others, other)
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True))
