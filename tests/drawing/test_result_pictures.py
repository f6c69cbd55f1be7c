"""Pictures of tables of results, and plain figures."""

import math

import pytest

from rhm_hf.drawing.figures import heat_map, lines, panels
from rhm_hf.drawing.result_pictures import _averaged, _grouped, best_rows, usual_pictures


def rows(**columns):
    length = len(next(iter(columns.values())))
    return [{name: values[i] for name, values in columns.items()} for i in range(length)]


def test_best_rows_are_those_that_runs_keep():
    table = rows(run=["a", "a", "b", "b"], step=[1, 2, 1, 2], best=[0, 1, 1, 0], kl=[3, 2, 1, 4])
    assert [(row["run"], row["kl"]) for row in best_rows(table)] == [("a", 2), ("b", 1)]
    assert [row["kl"] for row in best_rows(rows(run=["a", "a"], kl=[3, 2]))] == [2]  # the last where none is marked


def test_means_over_seeds_with_the_error_of_their_spread():
    table = rows(num_train=[8, 8, 16], kl=[1.0, 3.0, 0.5], kl_stderr=[0.1, 0.1, 0.2])
    found = _averaged(table, "kl")
    assert found["x"] == [8, 16]
    assert found["y"] == [2.0, 0.5]
    assert found["error"] == pytest.approx([1.0, 0.2])
    infinite = _averaged(rows(num_train=[8, 8], kl=[math.inf, 1.0]), "kl")
    assert infinite["y"] == [1.0]


def test_groups_are_told_apart_by_what_differs():
    table = rows(model=["gpt2", "llama"], data=["g", "g"], num_train=[8, 8], rules_seed=[0, 1], learning_rate=[1, 1])
    assert list(_grouped(table)) == ["gpt2", "llama"]
    same = rows(model=["gpt2"], data=["g"], num_train=[8])
    assert list(_grouped(same)) == ["g"]


def test_levels_have_a_picture_where_a_table_has_them(tmp_path):
    table = rows(
        run=["a", "b"], num_train=[8, 16], step=[1, 1], kl=[2.0, 1.0], kl_level_1=[0.5, 0.2], kl_level_2=[1.0, 0.1]
    )
    files = usual_pictures(table, tmp_path)
    assert [file.name for file in files] == ["results_sizes.png", "results_levels.png"]
    with pytest.raises(ValueError, match="no row"):
        usual_pictures([], tmp_path)


def test_figures_leave_out_what_has_no_place(tmp_path):
    lines(
        tmp_path / "a.png",
        {"one": {"x": [1, 2, 3], "y": [1.0, math.inf, 0.0], "error": [0.1, None, math.nan]}},
        yscale="log",
        levels={"limit": 0.5},
    )
    panels(tmp_path / "b.svg", [("left", {"a": {"x": [1, 10, 100], "y": [1, 2, None]}}, None)], xscale="log")
    heat_map(tmp_path / "c.png", [[0.1, None], [0.3, 0.9]], rows=["r", "s"], columns=["1", "2"], title="t")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("a.png", "b.svg", "c.png"))
