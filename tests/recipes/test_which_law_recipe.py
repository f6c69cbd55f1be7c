"""The recipe which_law: oracles are nearest to themselves, short runs are the beginnings of long ones, onsets."""

import pytest
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.ensembles import where
from rhm_hf.inference import plateau, position_entropies
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.training.recipe import recipe_main


GRAMMAR = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
MODULE = recipe("which_law")
PARTS = {"name": "which_law", "measure": MODULE.measure, "conclude": MODULE.conclude, "draw": MODULE.draw}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_truncated_oracle_is_nearest_to_itself(level, last):
    """And the whole law is as far from it as their entropies differ."""
    found = MODULE.nearest_law(RHMForCausalLM.from_grammar(GRAMMAR, context_level=level), GRAMMAR, last)
    assert found["law"] == level
    assert found["kl_law"] == pytest.approx(0, abs=1e-9)

    def entropy(of):
        return float(position_entropies(GRAMMAR, of)[-1]) if last else plateau(GRAMMAR, of)

    assert found["kl_level_3"] == pytest.approx(entropy(level) - entropy(3), abs=1e-6)
    assert found["entropy"] == pytest.approx(entropy(3), abs=1e-9)


def tiny(tmp_path, **changed):
    values = yaml.safe_load((RECIPES / "which_law" / "cpu.yaml").read_text())
    values |= {"grammar": "v4-m2-s2-L3", "num_train": [64, 16], "num_validation": 16, "num_test": 16}
    values |= {"batch_size": 16, "max_steps": [8, 4], "kl_sentences": 16, "output_dir": str(tmp_path / "runs")}
    values["config_overrides"] = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values | changed))
    return ["--config", str(path), "--figures", str(tmp_path / "figures")]


def test_tables_and_figure(tmp_path, monkeypatch):
    models = {}

    def noted(rows, values):
        from rhm_hf.training.recipe import kept_runs

        models.update({(run["task"], run["num_train"], run["step"]): run.model() for run in kept_runs(rows, values)})
        return MODULE.measure(rows, values)

    tables = recipe_main(tiny(tmp_path), **PARTS | {"measure": noted})
    laws, beliefs = tables["laws"], tables["beliefs"]
    assert {(row["task"], row["num_train"], row["step"]) for row in laws} == set(models)
    assert len(laws) == 2 * 2 * 2
    for row in laws:
        assert row["kl_law"] == min(row[f"kl_level_{level}"] for level in range(4)) == row[f"kl_level_{row['law']}"]
    grammar = Grammar.from_name("v4-m2-s2-L3")
    options = {"last_token": {"positions": "last"}, "next_token": {}}
    for task, own in options.items():
        found = belief_probe(models[task, 64, 8], grammar, hide_last=True, **own)
        rows = where(beliefs, task=task, num_train=64, step=8)
        assert [row["r2"] for row in rows] == [value for layer in found["r2"] for value in layer]
    check_redraw(monkeypatch, tmp_path / "figures", PARTS)


def test_a_short_run_is_the_beginning_of_a_long_one(tmp_path):
    argv = tiny(tmp_path, num_evaluations=4, num_train=[64])
    seen = []
    recipe_main(argv, **PARTS | {"measure": lambda rows, values: seen.extend(rows) or MODULE.measure(rows, values)})
    for task in ("last_token", "next_token"):
        short, long = (
            [row for row in seen if row["task"] == task and f"max_steps-{steps}" in row["run"]] for steps in (4, 8)
        )
        (there,) = where(long, step=4)
        assert short[-1]["step"] == 4
        assert (short[-1]["validation_loss"], short[-1]["kl"]) == (there["validation_loss"], there["kl"])


def test_runs_that_keep_another_model_are_refused(tmp_path):
    with pytest.raises(ValueError, match="keep='best'"):
        recipe_main(tiny(tmp_path, keep="best", max_steps=[4], num_train=[16]), **PARTS)


def test_onsets():
    """The longest runs alone; a bound where nothing changes."""
    laws, beliefs = [], []
    for step in (1, 100):
        for size, law in ((16, 0), (64, 1), (256, 1), (512, 3)):
            keys = {"data": "v8-m2-s2-L3", "task": "last_token", "num_train": size, "step": step, "rules_seed": 0}
            kls = {f"kl_level_{level}": 0.1 + abs(level - (law if step == 100 else 3)) for level in range(4)}
            laws.append(keys | kls | {"stopped_by": "converged"})
            for level in (1, 2, 3):
                r2 = {16: 0.0, 64: 0.2, 256: 0.6, 512: 0.8}[size] if level == 1 else 0.3
                beliefs.append(keys | {"layer": "hidden_states[2]", "level": level, "r2": r2})
                beliefs.append(keys | {"layer": "logits", "level": level, "r2": 1.0})
    found = MODULE.conclude({"laws": laws, "beliefs": beliefs})["onsets"]
    assert [16 < row["nearest_from"] < 64 for row in found] == [True, False, False]
    assert [256 < row["nearest_from"] < 512 for row in found] == [False, True, True]
    assert 64 < found[0]["r2_half"] < 256
    assert found[0]["r2_half_bound"] == ""
    assert [row["theory"] for row in found] == pytest.approx([64 / 3, 256 / 3, 1024 / 3])
    assert {row["stopped_by"] for row in found} == {"converged"}
