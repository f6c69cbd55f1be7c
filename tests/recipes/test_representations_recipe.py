"""The recipe of representations at a tiny size, and that it looks into the very models of the recipe last_token."""

import pytest
from recipe_scripts import RECIPES, dry_run, recipe, runs_of

from rhm_hf.ensembles import where
from rhm_hf.judging.loading import load_model
from rhm_hf.metrics.representation_probe import representation_probe


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_its_runs_are_some_of_those_of_last_token(name):
    mine, theirs = runs_of("representations", name), runs_of("last_token", name)
    assert mine.items() <= theirs.items()
    assert len({run["grammar"] for run in mine.values()}) == 1


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(tmp_path):
    module = recipe("representations")
    tables = dry_run(module, tmp_path, config=RECIPES / "representations" / "cpu.yaml")
    ratios, probes = tables["ratios"], tables["probes"]
    trained = [("gpt2", 16), ("gpt2", 56)] + [("hierarchical_cnn", size) for size in (16, 56, 60, 64)]
    for rows in (ratios, probes):
        assert {row["level"] for row in rows} == {1, 2}
        assert {(row["model"], row["num_train"]) for row in rows} == set(trained)
    for row in ratios:
        replaced, redrawn = row["similarity_replaced"], row["similarity_redrawn"]
        assert row["ratio"] == pytest.approx((1 - redrawn) / (1 - replaced))
    # What GPT-2's last position holds at the start is its own token, which no change touches.
    layers = {row["layer"] for row in ratios if row["model"] == "gpt2"}
    assert layers == {"hidden_states[1]", "hidden_states[2]", "logits"}
    model = load_model(str(tmp_path / "runs" / "cnn_rules_seed-3_num_train-56" / "model"))
    found = representation_probe(model, module.Grammar.from_name("v8-m2-s2-L3", rules_seed=3))
    mine = where(ratios, model="hierarchical_cnn", num_train=56, rules_seed=3, layer="hidden_states[2]")
    assert [row["ratio"] for row in mine] == found["ratio"][2]
    assert all(0.05 < row["chance"] <= row["accuracy"] + 5 * row["stderr"] for row in probes)


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
