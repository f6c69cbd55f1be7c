"""The recipe of Zipf rules at a tiny size, and the exponents it reads off known curves."""

import numpy as np
import pytest
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar
from rhm_hf.inference import position_entropies


@pytest.fixture(scope="module")
def module():
    return recipe("zipf")


def row(module, data, seed, size, relative):
    run = {"run": f"{data}-{seed}-{size}", "variant": data, "data": data, "rules_seed": seed, "num_train": size}
    run["train_loss"] = 0.01
    return run | {"zipf": module.zipf_of(run), "relative_error": relative}


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(module, tmp_path):
    tables = dry_run(module, tmp_path, config=RECIPES / "zipf" / "cpu.yaml")
    zipf = {"uniform": 0, "zipf05": 0.5, "zipf05_long": 0.5, "zipf1": 1, "zipf2": 2}
    assert len(tables["runs"]) == len(zipf) * 2 * 2
    for found in tables["runs"]:
        assert found["step"] == 3  # the last evaluation
        assert found["relative_error"] == pytest.approx(2 * (1 - found["test_accuracy"]))
        assert found["zipf"] == zipf[found["variant"]]
    assert tables["exponents"] == []  # two sizes, of which no two lie between C P_2 and C P_(m/4)
    check_next_token(tables)


def check_next_token(tables):
    assert len(tables["next_token"]) == 2 * 2 * 2
    for found in tables["next_token"]:
        grammar = Grammar.from_name(found["data"], rules_seed=found["rules_seed"])
        below, known = (float(position_entropies(grammar, level)[-1]) for level in (2, 3))
        assert found["plateau_2"] == pytest.approx(below - known)
        assert found["plateau_0"] > found["plateau_1"] > found["plateau_2"] > 0
    assert tables["next_exponents"] == []  # nothing is learnt in three steps


def test_slopes_of_the_last_token_start_where_all_laws_have_learnt_something(module):
    rows = [
        {"data": data, "zipf": zipf, "rules_seed": seed, "num_train": size, "plateau_0": 2.0, "plateau_1": 1.0}
        | {"kl": min(2.0, start * size**-0.5)}
        for data, zipf, start in (("a", 0, 16), ("b", 1, 8))
        for seed in range(4)
        for size in (16, 64, 128, 256, 1024)
    ]
    for found in module.next_exponents(rows):
        assert (found["from_size"], found["to_size"], found["grammars"]) == (128, 1024, 4)
        assert found["exponent"] == pytest.approx(0.5)
    assert [found["zipf"] for found in module.next_exponents(rows)] == [0, 1]


def test_exponents_of_power_laws(module):
    sizes, names = [2**k for k in range(8, 16)], {1: "v32-m32-s2-L2-c2-zipf1.0@1", 2: "v32-m32-s2-L2-c2-zipf2.0@1"}
    rows = [
        row(module, data, seed, size, (1 + 0.05 * seed) * 8 * size ** -(a / (1 + a)))
        for a, data in names.items()
        for seed in range(4)
        for size in sizes
    ]
    for fit in module.exponents(rows):
        a = fit["zipf"]
        assert fit["predicted"] == a / (1 + a)
        assert fit["low"] <= fit["exponent"] + 1e-9
        assert fit["high"] >= fit["exponent"] - 1e-9
        assert fit["exponent"] == pytest.approx(a / (1 + a))
        learnt = fit["constant"] * module.rule_sizes(fit["data"])
        assert learnt[1] <= fit["from_size"] < 2 * learnt[1]
        assert min(learnt[7], sizes[-1]) / 2 < fit["to_size"] <= learnt[7]  # k = 8 = m / 4


def test_networks_that_are_not_trained_to_the_end_are_left_out_of_the_fits(module):
    data = "v32-m32-s2-L2-c2-zipf1.0@1"
    rows = [row(module, data, seed, 2**k, 8 * 2 ** (-k / 2)) for seed in range(4) for k in range(8, 16)]
    (expected,) = module.exponents(rows)
    last = expected["to_size"]
    for found in rows:
        if found["num_train"] == last:
            found |= {"relative_error": 1.0, "train_loss": 0.3}
    (fit,) = module.exponents(rows)
    assert (fit["to_size"], fit["exponent"]) == (last // 2, pytest.approx(0.5))


def test_the_constant_of_the_argument_is_read_off_its_own_curve(module):
    data, sizes = "v32-m32-s2-L2-c2-zipf1.0@1", [2**k for k in range(9, 15)]
    errors = module.rule_by_rule(data, np.array(sizes) / 0.5)
    assert module.constant(data, sizes, errors) == pytest.approx(0.5, rel=0.02)
    rows = [row(module, data, 0, size, error) for size, error in zip(sizes, errors, strict=True)]
    (fit,) = module.exponents(rows)
    assert fit["exponent"] == pytest.approx(fit["finite_m"], rel=0.02)


def test_a_rule_is_learnt_in_inverse_proportion_to_its_frequency(module):
    data, uniform = "v32-m32-s2-L2-c2-zipf1.0@1", "v32-m32-s2-L2-c2"
    learnt = module.rule_sizes(data)
    assert learnt / learnt[0] == pytest.approx(np.arange(1, 33) ** 2.0)
    assert module.rule_sizes(uniform) == pytest.approx(np.full(32, 2 * 32**2))  # all at n_c m^L
    # at P = 0 nothing is known; with equiprobable rules every tuple is unknown with the same probability
    assert module.rule_by_rule(data, [0]) == pytest.approx([1])
    assert module.rule_by_rule(uniform, [2048]) == pytest.approx([1 - (1 - np.exp(-1)) ** 2])


def test_the_curve_of_a_large_m_has_the_slope_of_theory(module, monkeypatch):
    rules = np.arange(1, 10**6 + 1) ** -2.0
    grammar = Grammar.from_name("v32-m32-s2-L2-c2-zipf1.0@1")
    monkeypatch.setattr(module, "rule_sizes", lambda data: 1 / rules * rules.sum())
    monkeypatch.setattr(type(grammar), "rule_probs_at", lambda self, level: (rules / rules.sum())[None])
    errors = module.rule_by_rule(grammar.name, [1e4, 1e6])
    assert np.log(errors[0] / errors[1]) / np.log(1e2) == pytest.approx(1 / 2, abs=0.02)


def test_a_curve_without_errors_has_no_exponent(module):
    data = "v32-m32-s2-L2-c2-zipf1.0@1"
    runs = [row(module, data, seed, size, 0.0) for seed in (0, 1) for size in (512, 1024)]
    assert module.exponents(runs) == []
