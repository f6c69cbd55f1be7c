"""The recipe phase_diagram, run small: its survival is the mean of exact ones, its thresholds those of theory."""

import numpy as np
import pytest
import recipe_scripts
import torch
from recipe_scripts import dry_run

from rhm_hf import Grammar, theory
from rhm_hf.diffusion import GaussianDiffusion, MaskedDiffusion, forward_backward
from rhm_hf.ensembles import where


@pytest.fixture(scope="module")
def module():
    threads = torch.get_num_threads()
    yield recipe_scripts.recipe("phase_diagram")
    torch.set_num_threads(threads)


def test_tables_and_figure(module, tmp_path):
    words = ["--vocab_sizes", "6", "--synonyms", "2", "3", "4", "--ensemble", "v6-m2-s2", "--depth", "2"]
    words += ["--num_times", "3", "--num_sentences", "32", "--num_levels", "4"]
    tables = dry_run(module, tmp_path, *words)
    survival, thresholds, noises = tables["survival"], tables["thresholds"], list(module.NOISES)
    assert len(survival) == len(noises) * 2 * 3 * 3  # noises, grammars, times, levels
    for name, process, t in (("masked", MaskedDiffusion(6), 0.27), ("gaussian", GaussianDiffusion(6), 0.13)):
        for seed in (0, 1):
            expected = forward_backward(Grammar.from_name("v6-m2-s2-L2", rules_seed=seed), process, t, 32)
            rows = where(survival, noise=name, rules_seed=seed, t=t)
            assert [row["survival"] for row in rows] == pytest.approx(expected.survival)
    # m = 4 is above v / 2: any noise spreads.
    kinds = [(row["num_synonyms"], row["noise"]) for row in thresholds]
    assert kinds == [(m, noise) for m in (2, 3) for noise in noises]
    parameters = Grammar.from_name("v6-m2-s2-L1").parameters
    expected = theory.recovery_threshold(parameters, "masked", num_sequences=2, population=16)
    (found,) = where(thresholds, num_synonyms=2, noise="masked")
    assert (found["threshold"], found["stderr"]) == (expected.noise, expected.stderr)
    (lost,) = where(thresholds, num_synonyms=3, noise="masked")
    assert (lost["threshold"], lost["fate"]) == ("", "lost")
    around = [factor * expected.noise for factor in module.AROUND if factor * expected.noise < 1]
    flow = theory.recovery_flow(parameters, "masked", around, 4, num_sequences=2, population=16)
    rows = where(tables["flow"], noise="masked")
    assert len(rows) == len(around) * 2 * 5  # sequences, levels
    for share, of_share in zip(around, flow, strict=True):
        mine = where(rows, t=round(share, 6))
        assert [row["survival"] for row in mine] == of_share.ravel().tolist()


def test_thresholds_beside_the_mean_field_one(module):
    """Of the ε-process alone, and only where it exists."""
    rows = module.threshold_rows(["epsilon", "uniform"], 2, [8], [2, 4], 4, 32)
    assert {row["mean_field"] for row in rows if row["noise"] == "uniform"} == {""}
    two, four = (where(rows, noise="epsilon", num_synonyms=m)[0] for m in (2, 4))
    assert two["mean_field"] == theory.denoising_transition(Grammar.from_name("v8-m2-s2-L1").parameters)[0]
    assert abs(two["threshold"] - two["mean_field"]) < 0.05
    assert four["mean_field"] > 0


def test_half_way_is_where_the_mean_over_grammars_crosses_one_half(module):
    rows = []
    for seed, shift in ((0, 0.0), (1, 0.1)):
        for t in np.linspace(0, 1, 11):
            keys = {"data": "d", "noise": "masked", "rules_seed": seed, "t": float(t)}
            rows.append(keys | {"level": 0, "survival": 1 - t + shift})
            rows.append(keys | {"level": 1, "survival": 0.2})
    found = module.conclude({"survival": rows})["half_way"]
    assert found[0]["half"] == pytest.approx(0.55)
    assert found[1]["half"] == ""  # it never crosses


def test_unknown_noise_is_refused(module):
    with pytest.raises(ValueError, match="noises=\\['pink'\\]"):
        module.measure("v8-m2-s2", 2, ["pink"], 1)
