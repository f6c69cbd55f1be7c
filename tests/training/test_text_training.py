"""Training on the characters of a text: windows, splits, the model and tokenizer that come out."""

import pydoc_data.topics
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import rhm_hf
from rhm_hf.cli import main
from rhm_hf.data import char_corpus
from rhm_hf.training import DataArguments, best_row, train
from rhm_hf.training.batches import Batches, Windows
from rhm_hf.training.data import load_data
from rhm_hf.training.run import saving
from rhm_hf.training.run.loop import Run


TEXT = "".join(pydoc_data.topics.topics.values())[:60_000]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return str(path)


def arguments(text_file, **overrides):
    values = {"context_length": 9, "num_train": 4000, "num_validation": 40, "num_test": 50}
    return DataArguments(text=text_file, **values | overrides)


def test_windows_are_rows_of_the_text_and_batches_take_them():
    ids = torch.arange(100, dtype=torch.uint8)
    windows = Windows(ids, torch.tensor([0, 7, 20, 95]), 5)
    assert windows[torch.tensor([1, 3])].tolist() == [[7, 8, 9, 10, 11], [95, 96, 97, 98, 99]]
    every = windows[torch.arange(4)]
    for step in range(6):
        assert torch.equal(Batches(windows, 2, seed=1)(step)[0], Batches(every, 2, seed=1)(step)[0])
    assert windows.nbytes == 100 + 4 * 8


def test_training_windows_come_from_the_first_characters_and_held_out_ones_from_the_rest(text_file):
    data = load_data(arguments(text_file, train_characters=30_000, stride=3))
    corpus = char_corpus(text_file=text_file, train_characters=30_000)
    first = corpus.splits["train"].ids[:4000]
    train_rows = data.splits["train"][torch.arange(len(data.splits["train"]))].numpy()
    assert train_rows.shape == (1 + (4000 - 10) // 3, 10)
    assert np.array_equal(train_rows, np.lib.stride_tricks.sliding_window_view(first, 10)[::3])
    rest = corpus.splits["test"].ids
    rest = {row.tobytes(): i for i, row in enumerate(rest[: len(rest) // 10 * 10].reshape(-1, 10).astype(np.uint8))}
    held = [data.splits[name].numpy() for name in ("validation", "test")]
    assert [len(rows) for rows in held] == [40, 50]
    places = [[rest[row.tobytes()] for row in rows] for rows in held]
    assert all(len(rest) * 0.9 < max(p) - min(p) for p in places)  # from all over the text
    assert data.num_symbols == corpus.num_symbols
    assert data.grammar is None


def test_larger_training_sets_begin_with_smaller_ones_and_the_test_set_stays(text_file):
    small, large = (load_data(arguments(text_file, num_train=n)) for n in (2000, 8000))
    assert torch.equal(small.splits["train"].ids, large.splits["train"].ids[:2000])
    assert torch.equal(small.splits["test"], large.splits["test"])


def test_own_validation_split_of_a_corpus_is_used(text_file, monkeypatch):
    files = dict.fromkeys(("train", "validation", "test"), text_file)
    corpus = char_corpus(text_file=files)
    monkeypatch.setattr("rhm_hf.training.data.load_text", lambda arguments: corpus)
    data = load_data(arguments(text_file))
    assert torch.equal(data.splits["validation"][0], data.splits["test"][0])  # the same file here


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"num_train": 30_001}, r"num_train=30001: the training part .* has 30000 characters"),
        ({"num_test": 5000}, r"num_test=5000: .* has 1500 windows of 10 characters"),
        ({"num_train": 9}, r"context_length=9: no document of the first num_train=9 characters has 10"),
        ({"text": "missing.txt"}, r"missing.txt"),
        ({"context_length": 0}, r"context_length=0 is out of range: it must be an integer >= 1"),
    ],
)
def test_impossible_texts_are_refused(text_file, overrides, match):
    with pytest.raises(ValueError, match=match):
        load_data(arguments(overrides.pop("text", text_file), **overrides))


def test_train_characters_need_a_text():
    with pytest.raises(ValueError, match=r"train_characters=5 .* left out without text"):
        DataArguments(train_characters=5)


def test_a_run_on_text_learns_and_its_model_is_judged_by_the_metrics(tiny, text_file, tmp_path, capsys):
    settings = {"text": text_file, "num_train": 20_000, "context_length": 16, "max_steps": 60, "learning_rate": 1e-2}
    run = tiny(**settings)
    rows = train(run)
    assert "kl" not in rows[0]
    v = char_corpus(text_file=text_file).num_symbols
    assert rows[0]["validation_loss"] == pytest.approx(np.log(v + 3), abs=0.3)
    assert best_row(rows)["test_loss"] < 3.3
    folder = Path(run.training.output_dir) / "model"
    assert not (folder / "grammar").exists()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == v + 3 == len(tokenizer)
    assert tokenizer.decode(tokenizer(TEXT[:500])["input_ids"]) == TEXT[:500]
    result = rhm_hf.load_metric("context_loss").compute(texts=TEXT[30_000:], model=str(folder), num_windows=200)
    assert result["context_lengths"][-1] == 16
    assert 0 < result["loss"][-1] < result["loss"][0]
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(run.to_dict()))
    assert main(["train", "--config", str(config)]) == 0
    assert f"test loss {best_row(rows)['test_loss']:.4f}" in capsys.readouterr().out


def test_a_killed_run_on_text_goes_on_to_the_last_bit(tiny, text_file, tmp_path):
    whole = train(tiny(text=text_file, context_length=8, save_steps=5))
    killed = Run(tiny(text=text_file, context_length=8, save_steps=5, output_dir=str(tmp_path / "killed")))
    killed.folder.mkdir()
    killed._begin()
    for _ in range(5):
        killed.train_step()
    saving.save(killed)
    resumed = train(killed.arguments)
    assert [row["validation_loss"] for row in resumed[-1:]] == [whole[-1]["validation_loss"]]
