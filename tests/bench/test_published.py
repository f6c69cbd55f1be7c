"""The rows that are published: whole benches of released suites, and a page that says no more than they do."""

from pathlib import Path

import pytest

from rhm_hf.bench import load_suite, read_record
from rhm_hf.bench.levels import curves, learnt, left, left_row
from rhm_hf.bench.records import is_record
from rhm_hf.bench.results_page import results_page
from rhm_hf.bench.suite import SHIPPED


FOLDER = Path(__file__).parents[2] / "docs" / "bench"
RECORDS = [path for path in sorted(FOLDER.glob("*.json")) if is_record(path)]


def test_the_page_is_made_of_the_records():
    assert RECORDS
    page = (FOLDER / "results.md").read_text(encoding="utf-8")
    assert page == results_page([read_record(path) for path in RECORDS], "results.png")
    assert (FOLDER / "results.png").exists()


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_row_is_a_whole_bench_of_a_released_suite(path):
    record = read_record(path)
    suites = {load_suite(name).name: load_suite(name) for name in SHIPPED}
    suite = suites[record["suite"]]
    assert record["suite_sha256"] == suite.sha256
    assert set(record["tasks"]) | set(record["left_out"]) <= {task.name for task in suite.tasks}
    if "--tasks" not in record["command"]:
        assert set(record["tasks"]) | set(record["left_out"]) == {task.name for task in suite.tasks}
    for task in suite.tasks:
        if task.name in record["tasks"]:
            cells = [cell for cell in record["tasks"][task.name]["cells"] if not cell["spread"]]
            found = sorted((cell["num_train"], cell["seed"]) for cell in cells)
            assert found == sorted((size, seed) for size in task.num_train for seed in task.seeds)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_what_a_row_says_follows_from_its_cells(path):
    for task in read_record(path)["tasks"].values():
        lines = {int(seed): own for seed, own in task["lines"].items()}
        members = curves(task["cells"], task["measure"])
        for row, again in zip(task["levels"], learnt(members, lines), strict=True):
            assert row == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in again.items()} | {
                name: again[name] for name in row if name.endswith("_points")
            }
        assert task["left"] == pytest.approx(left_row(left(members, lines))["left"])
