"""docs/families.md: its Python blocks run, and the tests that it names exist."""

import re
from collections import defaultdict
from pathlib import Path

import datasets


TESTS = Path(__file__).parent
DOC = (TESTS.parent / "docs" / "families.md").read_text(encoding="utf-8")


def test_the_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOC, flags=re.DOTALL)
    assert len(blocks) >= 6
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["kl"]["kl"] > 0.1
    assert names["kl"]["num_infinite"] == 0  # a filtered grammar excludes nothing that the grammar writes
    assert len(names["dataset"]["train"]) == 100


def test_the_named_tests_exist():
    files = defaultdict(str)
    for path in TESTS.rglob("*.py"):
        files[path.name] += path.read_text(encoding="utf-8")
    named = re.findall(r"`(?:tests/)?((?:test_\w+|conftest)\.py)(?:::(\w+))?`", DOC)
    assert len(named) > 15
    for file, function in named:
        assert file in files, file
        assert f"def {function}" in files[file], (file, function)


def test_every_row_names_its_tests():
    """Of the tables that have a column for them."""
    rows = re.findall(r"^\|(.+)\|$", DOC, flags=re.MULTILINE)
    in_table, found = False, 0
    for row in rows:
        cells = [cell.strip() for cell in row.split(" | ")]
        if set(row) <= set("-| "):
            continue
        if cells[0] in ("quantity", "what", "family"):  # a header
            in_table = cells[-1] == "test"
            continue
        if in_table:
            found += 1
            assert re.search(r"`test_\w+\.py", cells[-1]), row
    assert found > 30
