"""The recipe which_law: oracles are nearest to themselves, evaluations are the ends of shorter runs, onsets."""

import pytest
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.ensembles import where
from rhm_hf.inference import position_entropies
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.tasks import LastToken


GRAMMAR = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
MODULE, CPU = recipe("which_law"), RECIPES / "which_law" / "cpu.yaml"


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_truncated_oracle_is_nearest_to_itself(level):
    """And the whole law is as far from it as their entropies differ: what an evaluation of a run says of its model."""
    task = LastToken(4, 8, GRAMMAR, "AutoModelForCausalLM", kl_sentences=2048)
    found = task.judge(RHMForCausalLM.from_grammar(GRAMMAR, context_level=level))
    assert MODULE.nearest([found]) == level
    assert found[f"kl_level_{level}"] == pytest.approx(0, abs=1e-9)
    entropies = [float(position_entropies(GRAMMAR, of)[-1]) for of in (level, 3)]
    assert found["kl_level_3"] == pytest.approx(entropies[0] - entropies[1], abs=1e-6)


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(tmp_path, monkeypatch):
    models, seen, measure = {}, [], MODULE.measure

    def noted(rows, values, **options):
        seen.extend(rows)
        models.update(
            {(r["task"], r["num_train"], r["step"], r["rules_seed"]): r for r in MODULE.kept_runs(rows, values)}
        )
        return measure(rows, values, **options)

    monkeypatch.setattr(MODULE, "measure", noted)
    tables = dry_run(MODULE, tmp_path, "--num_fitted", "256", config=CPU)
    laws, beliefs = tables["laws"], tables["beliefs"]
    maps = [row for row in seen if row["task"] == "last_token" and row["variant"] in ("last_token", "cnn")]
    assert len(laws) == len(maps) == 2 * 2 * 2 * 2  # models, grammars, sizes, evaluations: shorter runs add nothing
    for row, told in zip(laws, maps, strict=True):
        assert row["kl_law"] == min(row[f"kl_level_{level}"] for level in range(4)) == row[f"kl_level_{row['law']}"]
        assert (row["kl_level_3"], row["step"], row["chosen"]) == (told["kl"], told["step"], told["best"])
        assert row["stopped_by"] == told["stopped_by"] != ""
    assert sum(row["chosen"] for row in laws) == 2 * 2 * 2
    assert {row["model"] for row in beliefs} == {"gpt2"}
    grammar = Grammar.from_name("v8-m2-s2-L3")
    for task, own in {"last_token": {"positions": "last", "hide_last": True}, "next_token": {"nodes": "all"}}.items():
        found = belief_probe(models[task, 36, 3, 0].model(), grammar, num_train=256, **own)
        rows = where(beliefs, task=task, num_train=36, step=3, rules_seed=0, along="steps")
        assert [row["r2"] for row in rows] == [value for layer in found["r2"] for value in layer]

    # An evaluation is the end of a shorter run.
    for task in ("last_token", "next_token"):
        mine = where(seen, task=task, num_train=36, rules_seed=0)
        short = [row for row in mine if row["variant"].endswith("short") and row["step"] == 1]
        (there,) = [row for row in mine if row["variant"] == task and row["step"] == 1]
        assert {(row["validation_loss"], row["kl"]) for row in short} == {(there["validation_loss"], there["kl"])}


def test_other_tasks_are_refused(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    values = {"task": "masked", "model_type": "bert", "config_overrides": sizes, "num_train": 16, "max_steps": 1}
    (tmp_path / "masked.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError, match="task='masked'"):
        dry_run(MODULE, tmp_path, config=tmp_path / "masked.yaml")


def made(levels_of: dict) -> list[dict]:
    """Evaluations at step 100, which were chosen, and step 1; `levels_of`: the nearest level by grammar and P."""
    laws = []
    for seed, by_size in levels_of.items():
        for size, law in by_size.items():
            for step in (1, 100):
                keys = {"data": "v8-m2-s2-L3", "task": "last_token", "model": "gpt2", "num_train": size, "step": step}
                nearest = law if step == 100 else 0
                kls = {f"kl_level_{level}": 0.1 + abs(level - nearest) for level in range(4)}
                laws.append(keys | kls | {"rules_seed": seed, "chosen": int(step == 100), "stopped_by": "converged"})
    return laws


def test_onsets():
    """Of the chosen evaluations, of the mean over grammars with the range over single ones; a bound at the ends."""
    laws = made({0: {16: 0, 64: 1, 256: 1, 512: 3}, 1: {16: 0, 64: 1, 256: 3, 512: 3}})
    found = MODULE.conclude({"laws": laws, "beliefs": []})["onsets"]
    assert [16 < row["nearest_from"] < 64 for row in found] == [True, False, False]
    assert 16 < found[2]["nearest_from_low"] < 256
    assert 256 < found[2]["nearest_from_high"] < 512
    assert [row["theory"] for row in found] == pytest.approx([64 / 3, 256 / 3, 1024 / 3])
    assert all(1 < row["nearest_from_step"] < 100 for row in found)
    assert {row["stopped_by"] for row in found} == {"converged"}
    never = MODULE.conclude({"laws": made({0: {16: 0, 64: 1}}), "beliefs": []})["onsets"]
    assert [row["nearest_from_bound"] for row in never] == ["", "at least", "at least"]


def test_rises_of_beliefs():
    """The last hidden layer alone, half way between the smallest and the largest P."""
    beliefs = []
    for seed in (0, 1):
        for size, r2 in {16: 0.0, 64: 0.2, 256: 0.6, 512: 0.8}.items():
            keys = {
                "data": "v8-m2-s2-L3",
                "task": "last_token",
                "model": "gpt2",
                "num_train": size,
                "rules_seed": seed,
            }
            beliefs.append(keys | {"along": "P", "layer": "hidden_states[2]", "level": 1, "r2": r2, "step": 9})
            beliefs.append(keys | {"along": "P", "layer": "logits", "level": 1, "r2": 1.0, "step": 9})
        beliefs.append(keys | {"along": "steps", "layer": "hidden_states[2]", "level": 1, "r2": 0.1, "step": 1})
    (found,) = MODULE.conclude({"laws": [], "beliefs": beliefs})["rises"]
    assert 64 < found["r2_half"] < 256
    assert (found["rise"], found["rise_margin"]) == pytest.approx((0.8, 0))
    for row in beliefs:  # one grammar falls, the other rises: half way of what?
        row["r2"] += 0.9 * (row["num_train"] == 16) * (row["rules_seed"] == 0)
    (flat,) = MODULE.conclude({"laws": [], "beliefs": beliefs})["rises"]
    assert flat["rise"] == pytest.approx(0.35)
    assert flat["rise_margin"] > 1
    assert "r2_half" not in flat
    assert (found["r2"], found["r2_untrained"], found["grammars"]) == pytest.approx((0.8, 0.1, 2))
