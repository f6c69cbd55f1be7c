"""The folder of a run: what is damaged is noticed, no link is followed, nothing is left, others can read it."""

import json
import os
from pathlib import Path

import pytest
import torch
from interrupted_runs import interrupted
from safetensors.torch import load_file, save_file

from rhm_hf.grammar import Grammar
from rhm_hf.training import results, train
from rhm_hf.training.run import checkpoint
from rhm_hf.training.run.loop import Run
from rhm_hf.training.sweep import UnfinishedRuns, sweep


SHORT = {"max_steps": 6, "num_evaluations": 2, "save_steps": 2}


def folder_of(arguments):
    return Path(arguments.training.output_dir)


@pytest.mark.parametrize("damage", ["cut", "changed", "deleted"])
def test_results_that_are_not_as_the_run_left_them_are_noticed(tiny, damage):
    a = tiny(**SHORT)
    rows = train(a)
    path = folder_of(a) / "results.csv"
    text = path.read_text()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_text(text[: text.index("\n", len(text) // 2)] if damage == "cut" else text.replace("gpt2", "gpt3"))
    with pytest.raises(
        ValueError, match=r"results\.csv of a finished run is missing|is not as the run left it.*put it back"
    ):
        train(a)
    path.write_text(text)
    assert train(a) == rows


def test_a_damaged_run_file_is_a_line(tiny):
    a = tiny(**SHORT)
    train(a)
    (folder_of(a) / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged .*delete it"):
        train(a)


def test_planted_links_are_not_followed(tiny, tmp_path):
    victim, folder = tmp_path / "victim", folder_of(tiny())
    (victim / "grammar").mkdir(parents=True)
    for name in ("model.safetensors", "text", "grammar/grammar.json"):
        (victim / name).write_text("precious")
    folder.mkdir()
    for name in (
        ".results.csv.partial",
        ".run.json.partial",
        "results.csv",
        "progress.json",
        ".progress.json.partial",
    ):
        (folder / name).symlink_to(victim / "text")
    for name in ("checkpoint-2", ".checkpoint-1.partial", ".model.partial"):
        (folder / name).symlink_to(victim)
    assert len(train(tiny(**SHORT))) == 2
    assert {path.read_text() for path in victim.rglob("*") if path.is_file()} == {"precious"}
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", ["model", "log.jsonl"])
def test_a_link_in_place_of_what_a_run_adds_to_is_refused(tiny, tmp_path, name):
    victim, folder = tmp_path / "victim", folder_of(tiny())
    victim.mkdir()
    folder.mkdir()
    (folder / name).symlink_to(victim if name == "model" else victim / "text")
    with pytest.raises((ValueError, OSError), match=r"is a symbolic link|symbolic links"):
        train(tiny(**SHORT))
    assert not list(victim.iterdir())


def test_what_killed_runs_have_left_is_removed(tiny, monkeypatch):
    a = tiny(**SHORT)
    folder = folder_of(a)
    interrupted(a, 5, monkeypatch)
    (folder / ".checkpoint-3.partial").mkdir()
    (folder / ".model.partial").mkdir()
    (folder / ".results.csv.partial").write_text("half")
    train(a)
    (folder / "checkpoint-6").mkdir()  # killed between the end and the cleaning
    (folder / ".checkpoint-6.partial").mkdir()
    train(a)
    names = {path.name for path in folder.iterdir()}
    assert names <= {"run.json", "results.csv", "log.jsonl", "model", ".lock"}


def test_others_can_read_what_is_written(tiny, monkeypatch):
    a = tiny(**SHORT)
    interrupted(a, 3, monkeypatch)
    modes = {path.stat().st_mode & 0o777 for path in folder_of(a).rglob("checkpoint-*/*")}
    train(a)
    mask = os.umask(0o022)
    os.umask(mask)
    modes |= {
        path.stat().st_mode & 0o777 for path in folder_of(a).rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert modes == {0o666 & ~mask}


@pytest.mark.parametrize("damage", ["name", "shape", "type", "optimizer", "state"])
def test_a_checkpoint_that_is_refused_has_loaded_nothing(tiny, tmp_path, monkeypatch, damage):
    """Whatever does not fit, the run is that of a folder without it, to the last bit."""
    whole = train(tiny(output_dir=str(tmp_path / "whole"), **SHORT))
    a = tiny(**SHORT)
    interrupted(a, 5, monkeypatch)
    for step in checkpoint.steps(folder_of(a)):
        tensors, state = checkpoint.load(folder_of(a), step)
        last = sorted(tensors["model"])[-1]
        if damage == "name":
            tensors["model"]["another"] = tensors["model"].pop(last)
        elif damage == "shape":
            tensors["model"][last] = torch.zeros(3)
        elif damage == "type":
            tensors["model"][last] = tensors["model"][last].half()
        elif damage == "optimizer":
            tensors["optimizer"]["99.exp_avg"] = torch.zeros(3)
        else:
            state["step"] = 10**6
        checkpoint.save(folder_of(a), step, tensors, state)
    rows = train(a)
    log = [json.loads(line) for line in (folder_of(a) / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["event"] == "start"] == [0, 0]
    assert [row["kl"] for row in rows] == [row["kl"] for row in whole]
    ours, theirs = (load_file(Path(f) / "model" / "model.safetensors") for f in (folder_of(a), tmp_path / "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_changed_text_or_grammar_is_never_answered_from_an_old_run(tiny, tmp_path):
    text, rules = tmp_path / "text.txt", tmp_path / "rules"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 80)
    Grammar.from_name("v4-m2-s2-L3").save_pretrained(rules)
    settings = {"num_train": 400, "num_validation": 4, "num_test": 4, "context_length": 8, "max_steps": 2}
    on_text = tiny(text=str(text), output_dir=str(tmp_path / "a"), **settings, num_evaluations=1, warmup_steps=0)
    on_rules = tiny(grammar=str(rules), output_dir=str(tmp_path / "b"), **SHORT)
    assert train(on_text) == train(on_text)
    assert train(on_rules) == train(on_rules)
    text.write_text("the quick brown fox jumps over the lazy cat. " * 80)  # as long as before
    Grammar.from_name("v4-m2-s2-L3", rules_seed=1).save_pretrained(rules)
    for name, run in (("text", on_text), ("grammar", on_rules)):
        with pytest.raises(ValueError, match=f"holds a run whose {name} had another content than now"):
            train(run)


def test_folders_that_cannot_be_written_are_a_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run", Path("/proc/rhm")):
        with pytest.raises(ValueError, match=r"output_dir='.*' cannot be (written|read): .*: "):
            train(tiny(output_dir=str(place), **SHORT))


def test_progress_is_told_while_a_run_goes_on(tiny, monkeypatch):
    told, train_step = [], Run.train_step

    def watched(self):
        train_step(self)
        path = folder_of(self.arguments) / "progress.json"
        told.append(json.loads(path.read_text())["step"] if path.exists() else 0)

    monkeypatch.setattr(Run, "train_step", watched)
    monkeypatch.setattr("rhm_hf.training.run.folder.PROGRESS_EVERY", 0.0)
    a = tiny(**SHORT)
    train(a)
    assert told == [0, 1, 2, 3, 4, 5]
    assert not (folder_of(a) / "progress.json").exists()


def test_the_table_of_a_sweep_grows_while_it_runs(tiny, tmp_path, monkeypatch):
    seen, path, train_step = [], tmp_path / "sweep" / "results.csv", Run.train_step

    def watched(self):
        if self.step == 0:
            seen.append(len({row["run"] for row in results.read_csv(path)}) if path.exists() else 0)
        train_step(self)

    monkeypatch.setattr(Run, "train_step", watched)
    sweep(tiny(output_dir=str(tmp_path / "sweep"), **SHORT).to_dict() | {"num_train": [64, 32, 16]})
    assert seen == [0, 1, 2]


def test_a_checkpoint_with_links_or_foreign_names_is_damage(tmp_path):
    checkpoint.save(tmp_path, 1, {"model": {"a": torch.ones(1)}}, {})
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    path = tmp_path / "checkpoint-1" / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    (tmp_path / "same.safetensors").write_bytes(content)
    path.symlink_to(tmp_path / "same.safetensors")
    with pytest.raises(ValueError, match="is a symbolic link"):
        checkpoint.load(tmp_path, 1)


def test_unfinished_runs_are_an_error_of_their_own():
    assert issubclass(UnfinishedRuns, RuntimeError)
