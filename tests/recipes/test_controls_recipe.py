"""The recipe of controls at a tiny size, and the laws of decay it reads off exact correlations."""

import math

import numpy as np
import pytest
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe

from rhm_hf import Grammar, theory
from rhm_hf.statistics import exact_correlation
from rhm_hf.training.recipe import recipe_main
from rhm_hf.training.sweep import expand


CLASSIFIERS = ("tree", "uncorrelated", "tree_deep", "uncorrelated_deep", "uncorrelated_v12")


@pytest.fixture(scope="module")
def module():
    return recipe("controls")


def tiny(tmp_path):
    """The recipe as it stands, but for sizes."""
    values = yaml.safe_load((RECIPES / "controls" / "cpu.yaml").read_text())
    values |= {"rules_seed": [0, 1], "output_dir": str(tmp_path / "runs"), "num_validation": 16, "num_test": 16}
    values |= {"kl_sentences": 16, "batch_size": 16, "max_steps": 6, "num_evaluations": 2}
    values |= {"tree": "v8-m2-s2-L3", "chain": "hmm-v8-h4-m2-d8-p0.5"}
    values |= {"correlated_grammars": 2, "correlated_sentences": 4096}
    grammars = {"tree": "v4-m4-s2-L2", "uncorrelated": "v4-m4-s2-L2-uncorrelated"}
    grammars |= {"tree_deep": "v4-m4-s2-L3", "uncorrelated_deep": "v4-m4-s2-L3-uncorrelated"}
    grammars |= {"uncorrelated_v12": "v8-m8-s2-L2-uncorrelated"}
    for name, own in values["variants"].items():
        own |= {"grammar": grammars[name], "max_steps": 6, "num_evaluations": 2, "num_train": [128, 64]}
        own["config_overrides"] |= {"hidden_size": 8}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return ["--config", str(path), "--figures", str(tmp_path / "figures")]


def test_tables_and_figure(module, tmp_path, monkeypatch):
    parts = {"name": "controls", "measure": module.measure, "conclude": module.conclude, "draw": module.draw}
    parts |= {"options": module.OPTIONS}
    tables = recipe_main(tiny(tmp_path), **parts)
    runs = tables["classifiers"]
    assert {(row["variant"], row["num_train"], row["rules_seed"]) for row in runs} == {
        (variant, size, seed) for variant in CLASSIFIERS for size in (64, 128) for seed in (0, 1)
    }
    for row in runs:
        assert row["step"] == 6  # the last evaluation
        assert row["kind"] == ("uncorrelated" if "uncorrelated" in row["variant"] else "ordinary")
        classes = 8 if row["variant"] == "uncorrelated_v12" else 4
        assert row["score"] == pytest.approx(1 - (1 - row["test_accuracy"]) * classes / (classes - 1))
        assert row["scaled"] == row["num_train"] / classes ** (4 if "deep" in row["variant"] else 3)

    grammars = [Grammar.from_name("v8-m2-s2-L3", rules_seed=seed) for seed in (0, 1)]
    exact = np.sqrt(np.mean([exact_correlation(grammar) ** 2 for grammar in grammars], 0))
    mine = [row for row in tables["correlations"] if row["source"] == "tree"]
    assert [row["distance"] for row in mine] == list(range(1, 8))
    assert [row["exact"] for row in mine] == pytest.approx(exact.tolist())
    assert mine[0]["signal"] == pytest.approx(mine[0]["exact"] ** 2, rel=0.2)  # measured without noise: the law
    assert len(tables["correlations"]) == 2 * 7

    check_redraw(monkeypatch, tmp_path / "figures", parts)


def test_a_chain_decays_exponentially_and_a_tree_as_a_power(module):
    rows = []
    for source, name in (("tree", "v16-m4-s2-L5"), ("chain", "hmm-v16-h8-m4-d32-p0.5")):
        exact = exact_correlation(Grammar.from_name(name))
        rows += [{"source": source, "data": name, "distance": t, "exact": c} for t, c in enumerate(exact, 1)]
    found = {(row["source"], row["law"]): row for row in module.decays(rows)}
    chain = found["chain", "exponential"]
    assert chain["exponent"] == pytest.approx(math.log(2)) == chain["theory"]
    assert chain["residual"] < 1e-6
    assert found["chain", "power law"]["residual"] > 1
    tree = found["tree", "power law"]
    assert tree["residual"] < found["tree", "exponential"]["residual"]
    assert tree["theory"] == theory.correlation_exponent(Grammar.from_name("v16-m4-s2-L5").parameters)
    assert tree["exponent"] == pytest.approx(tree["theory"], rel=0.3)


def test_classifiers_have_the_settings_of_the_recipe_of_classification(module):
    ours, theirs = (yaml.safe_load((RECIPES / n / "cpu.yaml").read_text()) for n in ("controls", "classification"))
    for values in (ours, theirs):
        values.pop("num_workers")

    def settings(values, variant):
        runs = [r.to_dict() for r in expand(values) if f"/{variant}_rules" in r.training.output_dir]
        return {(r["rules_seed"], r["num_train"]): {k: v for k, v in r.items() if k != "output_dir"} for r in runs}

    published, control = settings(theirs, "cnn"), settings(ours, "uncorrelated")
    for key, own in settings(ours, "tree").items():
        assert own == published[key]
        assert control[key] == own | {"grammar": "v8-m8-s2-L2-uncorrelated"}
