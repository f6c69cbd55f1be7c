"""What recipes share: rows, marks, explicit arguments, what is printed, and the example of CONTRIBUTING.md."""

import math
import re

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.image import imread
from recipe_scripts import RECIPES, drawn, recipe

from rhm_hf import Grammar
from rhm_hf.ensembles import averages, distinct, ensemble, group, marked, marked_mean, scale, unconverged, where
from rhm_hf.plots import GAP, bound_mark, curve, label_lines, sheet
from rhm_hf.training.arguments import parse_sweep
from rhm_hf.training.recipe import as_text, read_tables, recipe_main
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand
from rhm_hf.training.tiny import shrunk


def rows_of(values):
    return [
        {"rules_seed": seed, "model_seed": model_seed, "P": size, "loss": loss}
        for (seed, model_seed, size), loss in values.items()
    ]


def test_bars_are_over_grammars_whatever_a_row_is_of():
    rows = rows_of({(0, 0, 8): 1.0, (0, 1, 8): 3.0, (1, 0, 8): 4.0, (1, 1, 8): 4.0, (0, 0, 4): 5.0})
    assert averages(rows, "P", "loss") == ([4, 8], [5.0, 3.0], [0.0, 1.0])  # 2 and 4: four rows, two grammars
    without = [{"P": 8, "loss": loss} for loss in (1.0, 3.0)]
    assert averages(without, "P", "loss") == ([8], [2.0], [1.0])
    assert scale(rows) == "2 grammars, 2 model seeds"


def test_an_ensemble_has_the_sizes_that_all_grammars_have():
    rows = rows_of({(1, 0, 4): 3.0, (0, 0, 8): 1.0, (0, 0, 4): 2.0})
    sizes, losses = ensemble(rows, "P", "loss")
    assert (sizes.tolist(), losses.tolist()) == ([4], [[2.0], [3.0]])
    with pytest.raises(ValueError, match="2 curves have no P in common"):
        ensemble(rows[:2], "P", "loss")
    assert list(group(rows, "rules_seed")) == distinct(rows, "rules_seed") == [1, 0]
    assert list(group(rows, "rules_seed", "missing")) == [(1, ""), (0, "")]
    assert where(rows, rules_seed=0, P=4) == [rows[2]]


@pytest.mark.parametrize(
    ("point", "expected"),
    [(0.0, (4.0, "at most")), (math.inf, (64.0, "at least")), (9.5, (9.5, "")), (math.nan, ("", ""))],
)
def test_what_lies_outside_the_range_is_a_bound(point, expected):
    assert tuple(marked(point, [4, 16, 64]).values()) == expected


def test_means_with_some_grammars_outside_are_bounds():
    found = [marked_mean(5.0, before, beyond)["half_way_bound"] for before, beyond in ((0, 0), (1, 0), (0, 2), (1, 1))]
    assert found == ["", "at most", "at least", "unknown"]


def test_committed_half_way_points_at_the_largest_size_are_marked():
    runs = read_csv(RECIPES.parent / "docs" / "figures" / "last_token_runs.csv")
    ends = {key: max(distinct(mine, "num_train")) for key, mine in group(runs, "model", "data").items()}
    points = read_csv(RECIPES.parent / "docs" / "figures" / "last_token_half_way.csv")
    outside = [row for row in points if (row["model"], row["data"]) in ends]
    beyond = [row for row in outside if row["half_way"] > 0.999 * ends[row["model"], row["data"]]]
    assert len(beyond) > 5
    assert all(row["half_way_bound"] == "at least" and row["num_beyond"] > 0 for row in beyond)


def test_hollow_marks_are_bounds_and_runs_ended_by_their_steps():
    figure, (ax,) = sheet(1)
    rows = [
        {"P": 2.0**k, "loss": 1.0, "stopped_by": "max_steps" if k == 1 else "", "train_loss": k / 20} for k in range(4)
    ]
    curve(ax, rows, "P", "loss", hollow=unconverged)
    hollow = [line.get_xdata()[0] for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [2.0, 8.0]  # ended by steps; train loss of .15 nats
    bound_mark(ax, 1, 1, "at least", "o", "black")
    assert ax.lines[-1].get_markerfacecolor() == "white"
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 7


def test_names_of_lines_do_not_overlap_and_stay_beside_the_panel():
    _, (ax,) = sheet(1)
    for i in range(9):
        ax.plot([0, 1], [0, 1e-3 * i], label=str(i))
    ax.set_ylim(0, 1)
    label_lines(ax)
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert np.diff(heights).min() == pytest.approx(GAP)
    assert heights[0] >= 0
    assert heights[-1] <= 0.97
    assert [text.get_text() for text in sorted(ax.texts, key=lambda t: t.xyann[1])] == [str(i) for i in range(9)]


def test_explicit_arguments_win_in_every_variant(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("num_train: 8\nvariants: {a: {num_train: [32, 16]}, b: {learning_rate: 0.1, text: null}}\n")
    runs = expand(
        parse_sweep(["--config", str(path), "--num_train", "64", "--text", "my.txt"], extra=["variants"]),
    )
    assert [run.data.num_train for run in runs] == [64, 64]
    assert [run.data.text for run in runs] == ["my.txt", None]  # b says that it has none


def test_print_says_what_is_left_and_measures_nothing(tmp_path, capsys):
    argv = ["--config", str(RECIPES / "last_token" / "cpu.yaml"), "--tiny", "--output_dir", str(tmp_path / "runs")]
    assert recipe("last_token").main([*argv, "--executor", "print"]) == {}
    printed = capsys.readouterr()
    assert len([line for line in printed.out.splitlines() if " train --config " in line]) == 36
    assert "0 of 36 runs are finished: run these commands, then this one again" in printed.err
    assert not list(tmp_path.glob("runs/*.png"))


def test_toy_sizes_keep_what_tells_runs_apart():
    values = yaml.safe_load((RECIPES / "last_token" / "paper.yaml").read_text())
    small = shrunk(values)
    assert small["output_dir"] == f"{values['output_dir']}_tiny"
    runs = expand({name: value for name, value in small.items() if name != "num_workers"})
    assert len(runs) == 3 * 2 * 2 * 2  # models, m, grammars, sizes
    assert {run.model.model_type for run in runs} == {"attention_only", "gpt2", "hierarchical_cnn"}
    assert len({Grammar.from_name(run.data.grammar).parameters.num_synonyms for run in runs}) == 2
    assert all(run.training.max_steps == 3 and run.data.num_train < 100 for run in runs)
    kept = shrunk(values, keep=["max_steps"])["variants"].values()
    assert {own["max_steps"] for own in kept} == {60000}


def test_tables_on_the_screen():
    text = as_text([{"level": 1, "half_way": 634.7763, "commit": "abc"}, {"level": 2, "half_way": None}])
    assert text.splitlines() == ["level  half_way", "    1     634.8", "    2          "]


def test_the_example_of_contributing(tmp_path):
    text = (RECIPES.parent / "CONTRIBUTING.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    space: dict = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), space)
    config = {"grammar": "v16-m4-s2-L3", "num_train": [256, 64], "rules_seed": [0, 1], "task": "last_token"}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(config | {"model_type": "hierarchical_cnn"}))
    argv = ["--config", str(tmp_path / "my.yaml"), "--config_overrides", "{filter_size: 2, num_hidden_layers: 3}"]
    tables = space["main"]([*argv, "--tiny", "--output_dir", str(tmp_path / "runs")])
    assert len(tables["runs"]) == 4
    assert drawn(imread(tmp_path / "runs" / "my_figure.png"))


def test_what_is_concluded_and_drawn_is_what_the_files_hold(tmp_path):
    """So that a picture drawn again from its tables is the same: types, missing values and all."""
    seen = []
    rows = [
        {"run": "1e3", "text": "1\n2", "P": 8, "loss": 0.1 + 0.2, "is_bound": True},
        {"run": "b", "text": "", "P": 9, "is_bound": False},
    ]
    parts = {"name": "example", "trains": False, "measure": lambda: {"runs": rows, "none": []}}
    parts["conclude"] = lambda tables: seen.append(tables) or {"counts": [{"rows": len(tables["runs"]), "fit": None}]}
    parts["draw"] = lambda tables, path: seen.append(tables)
    tables = recipe_main(["--figures", str(tmp_path)], **parts)
    assert tables["runs"] == [rows[0], rows[1] | {"loss": ""}]
    assert tables | {"none": [], "counts": [{"rows": 2, "fit": ""}]} == tables == read_tables(tmp_path, "example")
    assert recipe_main(["--draw", str(tmp_path)], **parts) == tables
    assert recipe_main(["--conclude", str(tmp_path)], **parts) == tables
    assert seen == [tables] * 5


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--num_trian", "3"], 2, "there is no argument --num_trian: did you mean --num_train?"),
        (["--config", "nowhere.yaml"], 1, "nowhere.yaml cannot be read"),
        (["--draw", "nowhere"], 1, "--draw nowhere: there is no example_*.csv"),
    ],
)
def test_a_script_ends_in_a_line_and_shows_the_traceback_where_asked(argv, status, said, monkeypatch, capsys):
    for words in (argv, ["--debug", *argv]):
        monkeypatch.setattr("sys.argv", ["example.py", *words])
        with pytest.raises(SystemExit) as ended:
            recipe_main(None, name="example", measure=None, draw=None)
        assert ended.value.code == status
        *before, line = capsys.readouterr().err.splitlines()
        assert line.startswith(f"example.py: {said}")
        assert bool(before) == ("--debug" in words)
    with pytest.raises(ValueError, match=re.escape(said)):  # for who calls it from Python, it is no command
        recipe_main(argv, name="example", measure=None, draw=None)


def test_help_names_the_options_of_recipes_too(capsys):
    with pytest.raises(SystemExit):
        recipe_main(["--help"], name="example", measure=None, draw=None)
    shown = capsys.readouterr().out
    assert "--tiny" in shown
    assert "--num_train" in shown
