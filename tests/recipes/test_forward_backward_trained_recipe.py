"""The recipe that sends trained models back: tables and figure at a tiny size, and whose models it looks into."""

import pytest
import yaml
from recipe_scripts import RECIPES, recipe, runs_of

from rhm_hf import Grammar
from rhm_hf.diffusion import ExactDenoiser, MaskedDiffusion, UniformDiffusion, forward_backward
from rhm_hf.judging.loading import load_model
from rhm_hf.training.recipe import recipe_main


OPTIONS = {"num_sentences": 64, "num_times": 2, "steps": 6}


@pytest.fixture(scope="module")
def module():
    return recipe("forward_backward", "forward_backward_trained")


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_its_runs_are_some_of_those_of_diffusion_rhm(name):
    mine, theirs = runs_of("forward_backward", name), runs_of("diffusion_rhm", name)
    assert mine.items() <= theirs.items()
    assert len({run["grammar"] for run in mine.values()}) == 1


def test_tables_and_figure(module, tmp_path):
    values = yaml.safe_load((RECIPES / "forward_backward" / "cpu.yaml").read_text())
    sizes = {"hidden_size": 8, "filter_size": 2, "num_hidden_layers": 3}
    values |= {"grammar": "v4-m2-s2-L3", "rules_seed": [0, 1], "num_validation": 16, "num_test": 16, "batch_size": 16}
    values |= {"max_steps": 20, "num_evaluations": 2, "kl_sentences": 16, "num_workers": 1}
    values |= {"output_dir": str(tmp_path / "runs"), **OPTIONS}
    timed = {"config_overrides": sizes | {"time_embedding": True}, "process": "uniform", "diffusion_steps": 4}
    values["variants"] = {
        "masked": {"config_overrides": sizes, "num_train": [64, 16]},
        "uniform": timed | {"num_train": 64},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))  # runs are named in this order
    parts = {"name": "forward_backward_trained", "measure": module.measure, "draw": module.draw}
    parts |= {"options": module.OPTIONS, "conclude": module.conclude}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path)], **parts)

    expected = {("masked", name, size) for name, size in ((module.POSTERIOR, ""), (module.EXACT, ""))}
    expected |= {("uniform", name, size) for _, name, size in expected} | {("uniform", module.TRAINED, 64)}
    expected |= {("masked", module.TRAINED, 16), ("masked", module.TRAINED, 64)}
    found = {
        (row["process"], row["denoiser"], row["num_train"], row["rules_seed"], row["t"]): row
        for row in tables["curves"]
    }
    assert set(found) == {(*key, seed, t) for key in expected for seed in (0, 1) for t in (0.5, 1.0)}
    assert len(tables["curves"]) == len(found)

    grammar, sent = Grammar.from_name("v4-m2-s2-L3", rules_seed=1), {"num_sentences": 64, "steps": 6}
    masked, uniform = MaskedDiffusion(4), UniformDiffusion(4)
    for key, process, model in (
        (("masked", module.POSTERIOR, ""), masked, None),
        (("uniform", module.EXACT, ""), uniform, ExactDenoiser(grammar, uniform)),
        (("masked", module.TRAINED, 16), masked, "masked_rules_seed-1_num_train-16"),
        (("uniform", module.TRAINED, 64), uniform, "uniform_rules_seed-1"),
    ):
        if isinstance(model, str):
            model = load_model(str(tmp_path / "runs" / model / "model"))
        result, row = forward_backward(grammar, process, 0.5, model=model, **sent), found[*key, 1, 0.5]
        assert row["class_survival"] == row["survival_3"] == result.survival[3]
        assert (row["susceptibility"], row["grammatical"]) == (result.susceptibility, result.grammatical)
        assert [row[f"correlation_{level}"] for level in (1, 2, 3)] == result.correlations
    assert [(r["process"], r["denoiser"], r["num_train"]) for r in tables["peaks"]] == sorted(
        expected, key=rank(module)
    )


def rank(module):
    order = [module.POSTERIOR, module.EXACT, module.TRAINED]
    return lambda key: (key[0], order.index(key[1]), key[2] or 0)


def test_peaks_of_known_curves(module):
    keys = {"process": "masked", "data": "v4-m2-s2-L3", "denoiser": module.TRAINED, "num_train": 64}
    curves = [
        keys
        | {"rules_seed": seed, "t": t, "class_survival": survival + shift, "susceptibility": size + shift}
        | {"grammatical": valid}
        for seed, shift in ((0, -0.1), (1, 0.1))
        for t, survival, size, valid in ((0.2, 0.8, 1.5, 0.9), (0.4, 0.6, 3.0, 0.7), (0.6, 0.2, 2.0, 0.6))
    ]
    (row,) = module.peaks(curves)
    assert row["half"] == pytest.approx(0.45)  # a quarter of the way from 0.6 to 0.2
    assert (row["peak"], row["largest_susceptibility"], row["grammars"]) == (0.4, pytest.approx(3), 2)
    assert row["largest_susceptibility_stderr"] == pytest.approx(0.1)
    assert (row["grammatical_at_peak"], row["grammatical_from_noise"]) == (0.7, 0.6)
    (never,) = module.peaks([row | {"class_survival": 0.4} for row in curves])
    assert never["half"] == ""
