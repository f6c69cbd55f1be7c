"""The `rhm` command."""

import math

import pytest
import torch
import yaml

from rhm_hf import Grammar
from rhm_hf.cli import COMMANDS, main
from rhm_hf.inference import plateau, position_entropies
from rhm_hf.training import best_row
from rhm_hf.training.results import read_csv


def test_help_and_unknown_commands(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert main(["dance"]) == 2
    assert "no command 'dance'" in capsys.readouterr().err


def test_info_prints_exact_numbers(capsys):
    assert main(["info", "v4-m2-s2-L3", "--rules_seed", "3"]) == 0
    printed = capsys.readouterr().out
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=3)
    assert f"10^{math.log10(512):.3f}" in printed
    assert f"{grammar.entropy / 8:.6f} per token" in printed
    for level in range(4):
        row = [str(level), str(2**level), f"{plateau(grammar, level):.6f}"]
        row.append(f"{float(position_entropies(grammar, level)[-1]):.6f}")
        assert row in [line.split() for line in printed.splitlines()]


def test_info_of_a_folder(capsys, tmp_path):
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    assert "v4-m2-s2-L2" in capsys.readouterr().out


def test_info_of_a_grammar_with_more_sentences_and_contexts_than_can_be_counted(capsys, monkeypatch):
    def too_many(*_):
        raise ValueError("too many contexts to enumerate")  # after some seconds, where it is real

    monkeypatch.setattr("rhm_hf.inference.position_entropies", too_many)
    assert main(["info", "v8-m4-s2-L10"]) == 0
    printed = capsys.readouterr().out
    assert f"10^{math.log10(8) + 1023 * math.log10(4):.3f}" in printed
    assert [line.split()[-1] for line in printed.splitlines()[-11:]] == ["-"] * 11


def test_train_and_sweep(capsys, tmp_path):
    values = {
        "grammar": "v4-m2-s2-L3",
        "config_overrides": {"n_embd": 8, "n_layer": 1, "n_head": 1},
        "num_validation": 8,
        "num_test": 8,
        "batch_size": 8,
        "max_steps": 3,
        "num_evaluations": 2,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values | {"num_train": 32, "output_dir": str(tmp_path / "one")}))
    assert main(["train", "--config", str(path), "--num_threads", str(torch.get_num_threads())]) == 0
    row = best_row(read_csv(tmp_path / "one" / "results.csv"))
    assert (
        f"best at step {row['step']}, validation loss {float(row['validation_loss']):.4f}" in capsys.readouterr().out
    )
    assert main(["sweep", "--config", str(path), "--num_train", "16", "24", "--output_dir", str(tmp_path / "s")]) == 0
    assert "2 runs, 4 evaluations" in capsys.readouterr().out
    assert (tmp_path / "s" / "num_train-24" / "results.csv").exists()


def test_export_writes_parquet(capsys, tmp_path):
    folder = tmp_path / "data"
    assert main(["export", "v4-m2-s2-L3", str(folder), "--train_size", "64", "--validation_size", "0"]) == 1
    assert "do not fit" in capsys.readouterr().err  # the default test split is too large for this grammar
    assert (
        main(
            ["export", "v4-m2-s2-L3", str(folder), "--train_size", "64", "--test_size", "8", "--validation_size", "0"]
        )
        == 0
    )
    assert str(folder) in capsys.readouterr().out
    assert list(folder.rglob("*.parquet"))
    assert Grammar.from_pretrained(folder).name == "v4-m2-s2-L3"


@pytest.mark.parametrize("argv", [["info", "v4"], ["train", "--num_train", "0"], ["sweep", "--num_train", "8", "8"]])
def test_mistakes_are_a_line_not_a_traceback(argv, capsys):
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"rhm {argv[0]}: ")
    assert error.count("\n") == 1
