"""The recipe of representations at a tiny size, and that it looks into the very models of the recipe last_token."""

import pytest
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe, runs_of

from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.representation_probe import representation_probe
from rhm_hf.training.recipe import recipe_main


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_its_runs_are_some_of_those_of_last_token(name):
    mine, theirs = runs_of("representations", name), runs_of("last_token", name)
    assert mine.items() <= theirs.items()
    assert len({run["grammar"] for run in mine.values()}) == 1


def test_tables_and_figure(tmp_path, monkeypatch):
    module = recipe("representations")
    values = yaml.safe_load((RECIPES / "representations" / "cpu.yaml").read_text())
    values |= {"rules_seed": [1], "num_validation": 16, "num_test": 16, "batch_size": 32, "max_steps": 40}
    values |= {"num_evaluations": 3, "kl_sentences": 16, "num_workers": 1, "output_dir": str(tmp_path / "runs")}
    values["variants"] = {name: values["variants"][name] for name in ("gpt2", "cnn")}
    for own in values["variants"].values():
        own |= {"grammar": "v4-m2-s2-L3", "num_train": [128, 32]}
    values["variants"]["gpt2"]["config_overrides"] = {"n_embd": 8, "n_layer": 1, "n_head": 1}
    values["variants"]["cnn"]["config_overrides"] |= {"hidden_size": 8}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    parts = {"name": "representations", "measure": module.measure, "conclude": module.conclude, "draw": module.draw}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path / "figures")], **parts)

    ratios, probes = tables["ratios"], tables["probes"]
    for rows in (ratios, probes):
        assert {row["level"] for row in rows} == {1, 2}
        assert {(row["model"], row["num_train"]) for row in rows} == {
            (model, size) for model in ("gpt2", "hierarchical_cnn") for size in (32, 128)
        }
    for row in ratios:
        replaced, redrawn = row["similarity_replaced"], row["similarity_redrawn"]
        assert row["ratio"] == pytest.approx((1 - redrawn) / (1 - replaced))
    # What GPT-2's last position holds at the start is its own token, which no change touches.
    assert {row["layer"] for row in ratios if row["model"] == "gpt2"} == {"hidden_states[1]", "logits"}
    model = load_model(str(tmp_path / "runs" / "cnn_rules_seed-1_num_train-128" / "model"))
    grammar = module.Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    found = representation_probe(model, grammar)
    (row,) = [
        row
        for row in ratios
        if (row["model"], row["num_train"]) == ("hierarchical_cnn", 128)
        and (row["layer"], row["level"]) == ("hidden_states[2]", 1)
    ]
    assert row["ratio"] == found["ratio"][2][0]
    assert all(0.05 < row["chance"] <= row["accuracy"] + 5 * row["stderr"] for row in probes)

    check_redraw(monkeypatch, tmp_path / "figures", parts)


def test_thresholds_beside_theory():
    module = recipe("representations")
    common = {"data": "v16-m4-s2-L3", "layer": "logits", "rules_seed": 0}
    falling = {100: 1.0, 1000: 0.75, 10_000: 0.25}
    ratios = [
        common | {"model": model, "level": level, "num_train": size, "ratio": value}
        for model in ("gpt2", "hierarchical_cnn")
        for level in (1, 2)
        for size, value in falling.items()
    ]
    rows = module.thresholds(ratios)
    assert all(row["half"] == pytest.approx(10**3.5) and row["lowest"] == 0.25 for row in rows)
    # v m^(2l+1) / (1-f) and v m^(l+2) / (1-f) with f = 1/4
    assert [row["theory"] for row in rows] == pytest.approx([16 * 4**k / 0.75 for k in (3, 5, 3, 4)])
