"""A run that its step limit ended is marked in its table and its picture, and no fit uses it silently."""

import ast

import numpy as np
import pytest
from matplotlib.figure import Figure
from recipe_scripts import RECIPES, recipe

from rhm_hf.ensembles import ensemble, limited, num_limited, where
from rhm_hf.plots import curve
from rhm_hf.training.recipe import read_tables
from rhm_hf.training.results import read_csv


FIGURES = RECIPES.parent / "docs" / "figures"
TRAINED = {"step", "validation_loss", "train_loss", "test_loss"}  # columns that only runs have
ENDINGS = {"stopped_by", "steps_limit"}
# Here steps are the axis, or follow from it: a row is an evaluation on the way, not what a run came to.
ALONG_STEPS = {"diffusion_rhm_emergence", "diffusion_text_runs", "families_training", "memorisation_emergence"}
FITS = {"envelope_exponent", "local_exponents", "mean_half_way_points", "fit_collapse", "collapse_quality"}
# Functions of recipes that fit curves made elsewhere, by `ensemble` too; those whose rows are no runs.
GIVEN_CURVES = {("context_window", "collapses"), ("context_window", "best_y_exponent"), ("classification", "collapse")}


def rows(**last):
    return [{"P": size, "rules_seed": 0, "loss": 1 / size, "stopped_by": "patience"} for size in (1, 2)] + [
        {"P": 4, "rules_seed": 0, "loss": 0.5} | last
    ]


@pytest.mark.parametrize("ending", [{"stopped_by": "max_steps"}, {"stopped_by": "untrained"}, {"steps_limit": 1}])
def test_the_door_to_fits_refuses_them(ending):
    with pytest.raises(ValueError, match="1 of 3 runs were ended by their step limit"):
        ensemble(rows(**ending), "P", "loss")
    sizes, losses = ensemble(rows(**ending), "P", "loss", step_limited="keep")
    assert (sizes.tolist(), losses.tolist()) == ([1, 2, 4], [[1, 0.5, 0.5]])
    assert num_limited(rows(**ending)) == 1
    with pytest.raises(ValueError, match="step_limited='drop'"):
        ensemble(rows(), "P", "loss", step_limited="drop")
    assert len(ensemble(rows(stopped_by="converged"), "P", "loss")[0]) == 3


def test_a_classifier_that_has_its_training_set_by_heart_is_done():
    row = {"task": "classification", "stopped_by": "max_steps", "train_loss": 0.01}
    assert not limited(row)
    assert limited(row | {"train_loss": 0.2})
    assert limited(row | {"task": "last_token"})


def test_they_are_hollow():
    ax = Figure().subplots()
    curve(ax, rows(stopped_by="max_steps"), "P", "loss")
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata()[0] for line in hollow] == [4]


@pytest.mark.parametrize("path", sorted(FIGURES.rglob("*.csv")), ids=lambda path: path.stem)
def test_committed_tables_of_runs_say_what_ended_them(path):
    table = read_csv(path)
    if table and path.stem not in ALONG_STEPS and "step" in table[0] and TRAINED & set(table[0]) - {"step"}:
        if {"test_accuracy", "train_loss"} <= set(table[0]) and not ENDINGS & set(table[0]):
            return  # classifiers, trained for so many steps: their train loss tells (`unconverged`)
        told = ENDINGS & set(table[0])
        assert told, f"{path.name}: neither of {sorted(ENDINGS)}"
        assert all(row[next(iter(told))] != "" for row in table)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.py")), ids=lambda path: path.stem)
def test_fits_of_recipes_get_their_curves_through_the_door(path):
    """A function that calls a fit calls `ensemble`, or is one of those that are handed its curves."""
    for function in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]:
        called = {
            node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and hasattr(node.func, "id")
        }
        if called & FITS and (path.stem, function.name) not in GIVEN_CURVES:
            assert "ensemble" in called, f"{path.stem}.{function.name} fits {sorted(called & FITS)}"


@pytest.mark.parametrize("name", ["last_token", "zipf", "context_window"])
def test_concluded_tables_count_them(name):
    tables = read_tables(FIGURES, name)
    found = recipe(name).conclude(tables)
    if name == "last_token":
        assert sum(row["step_limited"] for row in found["half_way"]) > 0
        for row in found["half_way"]:
            assert row["step_limited"] == num_limited(where(tables["runs"], model=row["model"], data=row["data"]))
    elif name == "zipf":
        assert all(row["step_limited"] == 0 for row in found["next_exponents"])  # patience ended all of those
    else:
        for row in found["exponents"]:
            assert row["steps_limited"] == num_limited(where(tables["runs"], data=row["data"])) > 10


def test_fitted_numbers_change_where_they_would_be_left_out():
    """So it matters: without them the slope of the last four sizes is another."""
    runs = where(read_tables(FIGURES, "last_token")["runs"], model="gpt2", data="v16-m4-s2-L3")
    done = [row for row in runs if not limited(row)]
    assert 0 < len(done) < len(runs)
    with pytest.raises(ValueError, match="step limit"):
        ensemble(runs, "num_train", "loss")
    sizes, losses = ensemble(done, "num_train", "loss")
    assert np.isfinite(losses).all()
    assert max(sizes) < max(row["num_train"] for row in runs)
