"""What all commands of `rhm` share: help, errors, JSON, imports."""

import contextlib
import io
import json
import shlex
import subprocess
import sys

import pytest
import torch
import yaml
from rich.console import Console

from rhm_hf._version import __version__
from rhm_hf.cli import main
from rhm_hf.cli.app import PANELS
from rhm_hf.cli.output import show_facts
from rhm_hf.cli.progress import Lines, counting, duration


COMMANDS = [command.__name__ for commands in PANELS.values() for command in commands]


def test_help_lists_every_command(rhm):
    for words in ([], ["--help"], ["-h"]):
        result = rhm(*words)
        assert result.exit_code == 0
        assert all(name in result.stdout for name in COMMANDS)
    assert rhm("--version").stdout.strip() == f"rhm_hf {__version__}"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("train", "sweep")])
def test_every_command_has_help(rhm, command):
    result = rhm(command, "--help")
    assert result.exit_code == 0
    assert "Usage: rhm" in result.stdout


HEAVY = ("torch", "transformers", "datasets", "evaluate", "numpy", "numba", "matplotlib", "accelerate", "pandas")


@pytest.mark.parametrize("words", [["--help"], ["kl", "--help"], ["--version"], ["infoo"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; from rhm_hf.cli import main; code = main(sys.argv[1:]); "
        f"print([m for m in {HEAVY} if m in sys.modules], len(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    heavy, count = done.stderr.splitlines()[-1].rsplit(" ", 1)
    assert heavy == "[]"
    assert int(count) < 600  # 500 with rich's Markdown; torch alone has more than a thousand


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["infoo"], "Did you mean 'info'?"),
        (["info", "v4-m2-s2-L2", "--jsn"], "--json"),
        (["info"], "Missing argument"),
        (["train", "--num_trian", "3"], "did you mean --num_train?"),
        (["train", "num_train=3"], "did you mean --num_train 3?"),
        (["train", "--num_train"], "--num_train: expected one argument"),
        (["sweep", "--num_workes", "3"], "did you mean --num_workers?"),
        (["kl", "oracle:v4-m2-s2-L2", "--set", "batch_siz=3"], "Did you mean 'batch_size'?"),
        (["kl", "v4-m2-s2-L2", "runs/train"], "its exact law is oracle:v4-m2-s2-L2"),
        (["context", "m", "t", "--per", "charachter"], "Did you mean 'character'?"),
    ],
)
def test_what_is_not_understood_is_one_line_with_a_hint(rhm, words, hint):
    result = rhm(*words)
    assert result.exit_code in (1, 2)
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ["info", "v4"],
        ["info", ""],
        ["train", "--num_train", "0"],
        ["sweep", "--num_train", "8", "8"],
        ["train", "--config", "nowhere.yaml"],
        ["status", "nowhere"],
        ["report", "nowhere"],
        ["plot", "nowhere"],
        ["kl", "./nowhere"],
        ["context", "oracle:v4-m2-s2-L2", "nowhere.txt"],
        ["context", "nowhere", "text:To be"],
    ],
)
def test_mistakes_are_a_line_not_a_traceback(words, capsys):
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"rhm {words[0]}: ")
    assert error.count("\n") == 1


def test_a_broken_yaml_is_a_line(rhm, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("grammar: [v4\nnum_train: 3")
    result = rhm("train", "--config", path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("rhm train: ")


def test_debug_shows_the_traceback_wherever_it_stands(capsys):
    for words in (["--debug", "info", "v4"], ["info", "v4", "--debug"], ["train", "--num_train", "0", "--debug"]):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert "Traceback" in error
        assert error.splitlines()[-1].startswith(("rhm info: ", "rhm train: "))


@pytest.mark.parametrize(
    ("model", "text", "hint"),
    [
        ("oracle:v4-m2-s2-L2", "text:To be", "give grammar:v4-m2-s2-L2 as TEXT"),
        ("oracle:v4-m2-s2-L2", "v4-m2-s2-L2", "write grammar:v4-m2-s2-L2"),
        ("oracle:pcfg-toy_english", "grammar:pcfg-toy_english", "rhm kl oracle:pcfg-toy_english pcfg-toy_english"),
    ],
)
def test_context_says_which_texts_it_takes(rhm, model, text, hint):
    result = rhm("context", model, text)
    assert result.exit_code == 1
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1


def test_why_a_context_is_not_measured_is_said_in_words(rhm):
    result = rhm("context", "oracle:v4-m2-s2-L2", "grammar:v4-m2-s2-L2", "--num_windows", 16)
    assert result.exit_code == 0
    assert "not measured: every n is judged at a place of its own in the sentence" in result.stdout


def test_every_status_of_a_saturation_has_its_words():
    from rhm_hf.cli.commands.texts import WHY
    from rhm_hf.metrics.context_loss.saturation import Saturation

    assert all(f'`"{status}"`' in Saturation.__doc__ for status in WHY)
    assert Saturation.__doc__.count('`"') == len(WHY)


def test_train_prints_the_run_that_it_keeps(rhm, tmp_path):
    from rhm_hf.training import best_row
    from rhm_hf.training.results import read_csv

    path = tmp_path / "run.yaml"
    values = {"config_overrides": {"n_embd": 8, "n_layer": 1, "n_head": 1}, "num_validation": 8, "num_test": 8}
    values |= {"grammar": "v4-m2-s2-L3", "num_train": 32, "batch_size": 8, "max_steps": 3, "num_evaluations": 2}
    path.write_text(yaml.safe_dump(values | {"output_dir": str(tmp_path / "one")}))
    result = rhm("train", "--config", path, "--num_threads", torch.get_num_threads())
    assert result.exit_code == 0
    row = best_row(read_csv(tmp_path / "one" / "results.csv"))
    assert f"best at step {row['step']}, validation loss {float(row['validation_loss']):.4f}" in result.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["info", "v4-m2-s2-L2"],
        ["theory", "v4-m2-s2-L2"],
        ["show", "v4-m2-s2-L2"],
        ["families"],
        ["metrics"],
        ["tasks"],
        ["kl", "oracle:v4-m2-s2-L2"],
        ["correlations", "text:abracadabra abracadabra", "--max_distance", "3"],
        ["generate", "oracle:v4-m2-s2-L2"],
    ],
)
def test_json_is_pure_json(rhm, words):
    result = rhm(*words, "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_lines_where_there_is_no_terminal():
    lines = Lines("judging", 400, "rows")
    assert lines.line(60) == "judging: 60 s, 0 of 400 rows"
    lines.advance(100)
    assert lines.line(60) == "judging: 60 s, 100 of 400 rows, about 3 min to go"
    unknown = Lines("reading", None, "rows")
    assert unknown.line(130) == "reading: 2 min"
    assert duration(7300) == "2 h 2 min"


def test_lines_are_written_while_work_goes_on_and_no_longer(monkeypatch, capsys):
    from rhm_hf.cli import progress as module

    monkeypatch.setattr(module, "SECONDS", 0.001)
    with module.progress("working", 2, "parts") as advance:
        advance(1)
        while "working" not in (said := capsys.readouterr().err):
            pass
    assert said.startswith("working: ")
    capsys.readouterr()
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_in_a_line(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("rhm_hf.cli.operands.read_grammar", interrupted)
    assert main(["info", "v4-m2-s2-L2"]) == 130
    assert capsys.readouterr().err == "rhm info: interrupted\n"


def test_a_pipe_that_is_closed_early_is_no_traceback():
    command = f"{shlex.quote(sys.executable)} -m rhm_hf.cli metrics --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "["
    assert done.stderr == ""


def test_nothing_is_cut_in_a_narrow_terminal():
    text = io.StringIO()
    name, fingerprint = "KL of oracle:v8-m2-s2-L3,level=2", "0123456789abcdef" * 4
    show_facts({name: fingerprint}, "", Console(file=text, width=40, highlight=False))
    shown = text.getvalue()
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert "\u2026" not in shown
    letters = [character for character in name + fingerprint if not character.isspace()]
    assert sorted("".join(shown.split())) == sorted(letters)


def test_rows_are_counted_up_to_the_total(monkeypatch):
    counted = []

    @contextlib.contextmanager
    def recording(label, total=None, unit=""):
        yield counted.append

    monkeypatch.setattr("rhm_hf.cli.progress.progress", recording)
    model = torch.nn.Linear(1, 1)
    with counting(model, "reading", 5):
        for rows in (3, 3, 3):
            model(torch.zeros(rows, 1))
    assert counted == [3, 2, 0]
