"""What a newcomer asks is answered by the README alone: one command for each question, and it leaves a picture."""

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


def test_the_questions_stand_in_this_order():
    places = [README.index(f"\n## {question}\n") for question in QUESTIONS]
    assert places == sorted(places)
