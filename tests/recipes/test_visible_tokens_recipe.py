"""The recipe of few visible tokens: exponents and half-way points that it reads off known curves."""

import math

import pytest
from recipe_scripts import recipe

from rhm_hf import Grammar, theory


DATA = ("v16-m2-s2-L4", "v16-m3-s2-L4", "v16-m4-s2-L4")
PLATEAUS = (3.0, 2.0, 1.0, 0.5, 0.2)


def tables(step, sizes):
    """Four grammars whose curves fall from plateau to plateau, linear in ln P within a factor of two of each step."""
    found = {"runs": [], "plateaus": []}
    for data in DATA:
        parameters = Grammar.from_name(data).parameters
        for seed in range(4):
            keys = {"data": data, "rules_seed": seed}
            found["plateaus"] += [keys | {"level": level, "loss": loss} for level, loss in enumerate(PLATEAUS)]
            for t, levels in ((1, 1), (3, 2), (15, 4)):
                for size in sizes:
                    loss = PLATEAUS[0]
                    for level in range(1, levels + 1):
                        share = 0.5 + math.log(size / step(parameters, level, t)) / math.log(4)
                        loss += min(1.0, max(0.0, share)) * (PLATEAUS[level] - PLATEAUS[level - 1])
                    row = {"model": "cnn", "t": t, "num_train": size, "loss": loss, "stopped_by": "patience"}
                    found["runs"].append(keys | row)
    return found


def test_exponents_are_those_of_the_steps_and_grow_where_tokens_distract():
    module = recipe("visible_tokens")

    def step(parameters, level, t):
        """1.7 v m^k / (1-f), k = 1, 3, 4, 5, and one more at level 1 where 15 tokens are seen."""
        power = 1 + (t == 15) if level == 1 else level + 1
        f = theory.grammatical_fraction(parameters)
        return 1.7 * parameters.vocab_size * parameters.num_synonyms**power / (1 - f)

    found = module.conclude(tables(step, [2**k for k in range(2, 22)]))
    assert len(found["half_way"]) == 3 * (1 + 2 + 4)
    for point in found["half_way"]:
        expected = step(Grammar.from_name(point["data"]).parameters, point["level"], point["t"])
        assert point["half_way"] == pytest.approx(expected, rel=0.06)
        assert point["bound"] == ""
    exponents = {(row["t"], row["level"]): row for row in found["exponents"]}
    assert set(exponents) == {(1, 1), (3, 1), (3, 2), (15, 1), (15, 2), (15, 3), (15, 4)}
    for (t, level), row in exponents.items():
        assert row["theory"] == (1 if level == 1 else level + 1)
        assert row["exponent"] == pytest.approx(row["theory"] + (t == 15 and level == 1), abs=0.1)
        assert row["low"] <= row["exponent"] <= row["high"]


def test_a_step_outside_of_the_sizes_is_a_bound_and_has_no_exponent():
    module = recipe("visible_tokens")

    def step(parameters, level, t):
        return 100 if level == 1 else 1e9

    found = module.conclude(tables(step, [16, 64, 256, 1024]))
    assert {row["bound"] for row in found["half_way"] if row["level"] == 1} == {""}
    assert {row["bound"] for row in found["half_way"] if row["level"] > 1} == {">="}
    assert {row["level"] for row in found["exponents"]} == {1}


def test_z_of_curves_that_collapse():
    module = recipe("visible_tokens")
    runs = []
    for seed in range(4):
        for t in (1, 3, 7, 15):
            for size in [2**k for k in range(3, 20)]:
                loss = t**-0.8 * (1 + (size / t**2) ** -0.5) * (1 + 0.01 * seed)
                row = {"model": "cnn", "data": DATA[0], "rules_seed": seed, "t": t, "num_train": size, "loss": loss}
                runs.append(row | {"stopped_by": "patience"})
    found = {row["scale"]: row for row in module.collapses(runs)}
    assert found["t"]["z"] == pytest.approx(2, abs=0.05)
    assert (found["t"]["pinned"], found["t"]["num_step_limited"]) == (0, 0)
    assert found["t"]["ratio"] < 0.01
    assert found["t"]["theory"] == pytest.approx(2)  # m = 2, s = 2
