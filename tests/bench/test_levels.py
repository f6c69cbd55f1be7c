"""From curves to the P at which a level is learnt, and what is left of the distance to the truth."""

import math

import numpy as np
import pytest
from scipy.stats import t

from rhm_hf.bench.levels import curves, learnt, left, left_row, mean_interval
from rhm_hf.statistics import mean_half_way_points


SIZES = [64, 256, 1024, 4096]
VALUES = {0: [1.2, 0.55, 0.2, 0.02], 1: [1.3, 0.7, 0.3, 0.04], 2: [1.1, 0.5, 0.25, 0.03], 4: [1.25, 0.6, 0.2, 0.05]}
LINES = {seed: {"names": ["level 1", "level 2"], "values": [1.5, 0.5 + 0.01 * seed, 0.0]} for seed in VALUES}


def cells(values=VALUES, sizes=SIZES):
    found = [
        {"seed": seed, "num_train": size, "kl": value, "spread": False}
        for seed, row in values.items()
        for size, value in zip(sizes, row, strict=True)
    ]
    return [*found[::-1], {"seed": 0, "num_train": 4096, "kl": 9.0, "spread": True}]


def test_half_way_points_are_those_of_the_statistics():
    members = curves(cells(), "kl")
    assert members[1] == (SIZES, VALUES[1])  # whatever the order, and without further seeds
    rows = learnt(members, LINES)
    wanted = mean_half_way_points(
        SIZES, np.array(list(VALUES.values())), np.array([line["values"] for line in LINES.values()])
    )
    for level, row in enumerate(rows):
        assert row["half_way"] == pytest.approx(wanted.mean[level])
        assert (row["half_way_low"], row["half_way_high"]) == pytest.approx(tuple(wanted.interval[level]))
        assert row["half_way_bound"] == ""
        assert row["members"] == 4
        assert row["onset"] <= row["half_way"]


def test_a_level_that_is_not_learnt_is_a_bound_on_both_sides_of_the_ladder():
    high = {seed: [1.49, 1.49, 1.48, 1.2] for seed in VALUES}
    first, second = learnt(curves(cells(high), "kl"), LINES)
    for row in (first, second):
        assert (row["half_way"], row["half_way_bound"], row["half_way_high"]) == (4096, "at least", None)
        assert row["half_way_points"] == [None] * 4
    assert first["onset_bound"] == ""  # 10 % of the step is taken between the last two sizes
    assert 1024 < first["onset"] < 4096
    known = {seed: [0.01] * 4 for seed in VALUES}
    for row in learnt(curves(cells(known), "kl"), LINES):
        assert (row["half_way"], row["half_way_bound"], row["half_way_low"]) == (64, "at most", 0.0)


def test_a_member_without_a_step_does_not_count_for_that_level():
    lines = LINES | {4: {"names": ["level 1"], "values": [1.5, 0.0]}}
    first, second = learnt(curves(cells(), "kl"), lines)
    assert (first["members"], second["members"]) == (4, 3)


def test_intervals_are_students():
    values = np.array([0.3, 0.5, 0.4, 0.8])
    reach = t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert mean_interval(values) == pytest.approx((0.5 - reach, 0.5 + reach))
    assert mean_interval(values[:2]) == (-math.inf, math.inf)


def test_what_is_left_is_one_without_learning_and_zero_at_the_truth():
    blind = {seed: [line["values"][0]] * 4 for seed, line in LINES.items()}
    assert left(curves(cells(blind), "kl"), LINES) == dict.fromkeys(LINES, 1.0)
    assert left(curves(cells({seed: [0.0] * 4 for seed in LINES}), "kl"), LINES) == dict.fromkeys(LINES, 0.0)
    row = left_row({0: 0.5, 1: 0.6})
    assert row == {"left": 0.55, "left_low": None, "left_high": None}
