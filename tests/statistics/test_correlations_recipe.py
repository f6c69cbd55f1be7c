"""The recipe `recipes/correlations` at a size of a second."""

import csv
import pydoc_data.topics
import sys
from pathlib import Path

import pytest


FOLDER = Path(__file__).parents[2] / "recipes" / "correlations"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    sys.modules.pop("correlations", None)
    import correlations

    return correlations


def read(path: Path) -> list[dict]:
    with open(path) as file:
        return list(csv.DictReader(file))


def test_grammars(recipe, tmp_path, capsys):
    recipe.main(
        ["rhm", "--grammar", "v8-m2-s2-L3", "--num_grammars", "2", "--max_log2", "12", "--output_dir", str(tmp_path)]
    )
    rows = read(tmp_path / "correlations_rhm.csv")
    assert {int(row["size"]) for row in rows} == {64, 256, 1024, 4096}
    largest = [row for row in rows if row["size"] == "4096"]
    assert [int(row["distance"]) for row in largest] == list(range(1, 8))
    for row in largest:  # the noise-free signal is the exact law's
        assert float(row["signal"]) == pytest.approx(float(row["exact"]) ** 2, rel=0.25, abs=2e-5)
    contexts = [row for row in read(tmp_path / "correlations_rhm_contexts.csv") if row["definition"] == "whole"]
    values = [float(row["context"]) for row in contexts]
    assert values == sorted(values)
    assert "theory" in capsys.readouterr().out
    assert (tmp_path / "correlations_rhm.png").stat().st_size > 10_000


def test_text(recipe, tmp_path, capsys):
    text = tmp_path / "topics.txt"
    text.write_text("\n".join(pydoc_data.topics.topics.values())[:60_000])
    arguments = ["--max_distance", "40", "--name", "topics", "--output_dir", str(tmp_path)]
    recipe.main(["text", "--text_file", str(text), *arguments])
    rows = read(tmp_path / "correlations_topics.csv")
    whole = [float(row["correlation"]) for row in rows if row["size"] == max((r["size"] for r in rows), key=int)]
    assert len(whole) == 40
    assert whole[0] > 3 * whole[-1]
    assert "beta = " in capsys.readouterr().out
    assert (tmp_path / "correlations_topics.png").stat().st_size > 10_000


def test_too_little_text_is_refused(recipe, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("To be, or not to be. " * 20)
    with pytest.raises(ValueError, match="the text has 420 characters: it needs 4000 or more"):
        recipe.main(["text", "--text_file", str(text), "--output_dir", str(tmp_path)])
