"""What a newcomer asks is answered by the README alone: one command for each question, and it leaves a picture."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from documented_page import ROOT, SMALL, Block, prepare
from matplotlib.image import imread
from recipe_scripts import drawn

from rhm_hf.cli import main


QUESTIONS = (
    "Show me what it is",
    "Plot my learning curve",
    "How far is my model from the truth",
    "How much context does my model use, and does yours use more",
)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command_below(heading: str) -> str:
    """The one command of the first block of a section."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    block = Block("bash", "", re.search(r"```bash\n(.*?)```", section, re.DOTALL)[1])
    (command,) = block.text.replace("\\\n", " ").strip().splitlines()
    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all of them are typed, one after the other; a text and the two models of characters are there."""
    return tmp_path_factory.mktemp("newcomer")


@pytest.mark.parametrize("question", QUESTIONS)  # in the README's order: the third asks of a model of the second
def test_a_question_is_one_command_with_a_picture(question, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if not (folder / "book.txt").exists():
        prepare("README.md")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    words = shlex.split(command_below(question))
    small = shlex.split(SMALL.get(" ".join(words[:2]), ""))
    capsys.readouterr()
    assert main([*words[1:], *small]) == 0
    found = [path for path in folder.rglob("*.png") if path.stat().st_mtime_ns != before.get(path)]
    assert found
    assert all(drawn(imread(path)) for path in found)
    printed = capsys.readouterr().out
    assert all(str(path.relative_to(folder)) in printed for path in found)  # the command says where it is


def test_the_pictures_are_made_by_these_commands(tmp_path, monkeypatch):
    """`make readme`, with fewer steps, sentences and characters."""
    spec = importlib.util.spec_from_file_location("readme_pictures", ROOT / "docs" / "_site" / "readme_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    typed = []

    def run(command):
        typed.append(command)
        words = shlex.split(command)
        assert main([*words[1:], *shlex.split(SMALL.get(" ".join(words[:2]), ""))]) == 0

    (tmp_path / "all.txt").write_text("To be, or not to be, that is the question. " * 100, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    small = {"run": run, "HELD_OUT": 900, "CHARACTERS": {"my-model": 300, "your-model": 1500}}
    for name, value in (small | {"PICTURES": tmp_path / "pictures"}).items():
        monkeypatch.setattr(module, name, value)
    module.make("all.txt")
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {"tree", "curve", "kl", "context"}
    assert all(drawn(imread(path)) for path in (tmp_path / "pictures").iterdir())
    asked = {re.sub(r" --out \S+", "", command_below(question)) for question in QUESTIONS}
    assert asked <= {re.sub(r" --out \S+", "", command) for command in typed}


def test_the_questions_stand_in_this_order():
    places = [README.index(f"\n## {question}\n") for question in QUESTIONS]
    assert places == sorted(places)
