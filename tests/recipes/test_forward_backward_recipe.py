"""The forward-backward recipe, run small; the mean-field map it draws."""

import numpy as np
import pytest
import recipe_scripts
import torch
from recipe_scripts import dry_run

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import MaskedDiffusion, forward_backward
from rhm_hf.training.recipe import recipe_main


@pytest.fixture(scope="module")
def recipe():
    return recipe_scripts.recipe("forward_backward")


def parts_of(recipe) -> dict:
    parts = {"name": "forward_backward", "measure": recipe.measure, "draw": recipe.draw, "options": recipe.OPTIONS}
    return parts | {"trains": False}


def test_tables_and_figure(recipe, tmp_path):
    sizes = {"--depths": [2, 3], "--num_grammars": [2], "--num_sentences": [32], "--num_times": [4]}
    argv = [str(part) for name, values in sizes.items() for part in (name, *values)]
    tables = dry_run(recipe, tmp_path, "--processes", "masked", "epsilon", *argv)
    assert torch.get_num_threads() == 1
    rows, transitions = tables["curves"], tables["transitions"]
    assert len(rows) == 2 * 2 * 4
    (row,) = (r for r in rows if (r["process"], r["depth"], r["t"]) == ("masked", 3, 0.52))
    shallow, deep = recipe.nested_grammar("v8-m2-s2-L3", 1, 2), Grammar.from_name("v8-m2-s2-L3", 1)
    assert all(np.array_equal(shallow.rules_at(level), deep.rules_at(level)) for level in (1, 2))
    found = [forward_backward(Grammar.from_name("v8-m2-s2-L3", k), MaskedDiffusion(8), 0.52, 32) for k in (0, 1)]
    assert row["class_survival"] == pytest.approx(np.mean([result.survival[-1] for result in found]))
    total, trace = (sum(f(result.covariance).item() for result in found) for f in (torch.sum, torch.trace))
    assert row["susceptibility"] == pytest.approx(total / trace)
    assert [(r["process"], r["shallow"], r["deep"]) for r in transitions] == [("masked", 2, 3), ("epsilon", 2, 3)]


def test_the_map_of_many_levels_is_a_step_at_its_transition(recipe):
    parameters = Grammar.from_name("v32-m8-s2-L3").parameters
    threshold = theory.denoising_transition(parameters)[0]
    below, above = recipe.predicted_survival(parameters, threshold + np.array([-0.02, 0.02]), 40)
    assert below > 0.9
    assert above < 0.05


def test_one_depth_has_no_crossing(recipe):
    with pytest.raises(ValueError, match=r"depths=\[3\] must be two or more"):
        recipe_main(["--depths", "3"], **parts_of(recipe))


def test_transitions_carry_the_spread_over_grammars(recipe):
    times = np.linspace(0, 1, 11)
    curves = {
        depth: [
            {"t": t, "by_grammar": [0.5 + depth * (c - t) for c in (0.4, 0.5, 0.6)], "susceptibility": t}
            for t in times
        ]
        for depth in (1, 2)
    }
    found = recipe.transition(curves, 1, 2)
    assert found["crossing"] == pytest.approx(0.5)
    assert found["half"] == pytest.approx(0.5)
    assert found["crossing_stderr"] == pytest.approx(np.std([0.4, 0.5, 0.6], ddof=1) / np.sqrt(3))
    assert (found["peak"], found["largest_susceptibility"]) == (1.0, 1.0)
