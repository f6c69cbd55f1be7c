"""Records side by side: paired differences, two halves of the members, what does not compare."""

import numpy as np
import pytest
from scipy.stats import t

from rhm_hf.bench import differences, halves, level_rows, task_rows
from rhm_hf.bench.records import KEYS
from rhm_hf.bench.tables import learning_rate


SEEDS = [0, 1, 2, 4]


def record(name, lefts, suite="s", sha="a", task="climb"):
    """A record whose members have so much left, at two sizes that are equal."""
    lines = {str(seed): {"names": ["level 1"], "values": [2.0, 0.0], "theory": {}, "exact": True} for seed in SEEDS}
    cells = [
        {"seed": seed, "num_train": size, "kl": 2 * value, "spread": False, "stopped_by": "patience", "seconds": 1.0}
        for seed, value in zip(SEEDS, lefts, strict=True)
        for size in (16, 32)
    ]
    level = {"level": "level 1", "members": 4}
    for kind in ("half_way", "onset"):
        level |= {kind: 32.0, f"{kind}_bound": "at least", f"{kind}_low": 20.0, f"{kind}_high": None}
    own = {
        "measure": "kl",
        "lines": lines,
        "cells": cells,
        "levels": [level],
        "left": float(np.mean(lefts)),
        "left_low": 0.1,
        "left_high": 0.9,
        "parameters": 7,
    }
    values = {key: {} for key in KEYS}
    return values | {"suite": suite, "suite_sha256": sha, "architecture": {"name": name}, "tasks": {task: own}}


HARD = np.array([0.1, 0.3, 0.2, 0.4])  # how hard the members are, for everybody


def test_differences_are_paired_over_members():
    one, other = HARD + np.array([0.11, 0.1, 0.09, 0.1]), HARD
    (row,) = differences([record("a", one), record("b", other)])
    reach = t.ppf(0.975, 3) * np.std(one - other, ddof=1) / 2
    assert (row["low"], row["high"]) == pytest.approx((0.1 - reach, 0.1 + reach))
    assert row["says"] == "b is lower"
    (row,) = differences([record("a", HARD + np.array([0.2, -0.1, 0.1, -0.1])), record("b", HARD)])
    assert row["says"] == "within noise"
    assert row["low"] < 0 < row["high"]


def test_two_halves_that_rank_alike_and_two_that_do_not():
    alike = [record(name, HARD + shift) for name, shift in (("a", 0.0), ("b", 0.1), ("c", 0.2))]
    (row,) = halves(alike)
    assert (row["tau"], row["agreed"], row["pairs"]) == (pytest.approx(1.0), 3, 3)
    turned = [record("a", [0.1, 0.3, 0.1, 0.3]), record("b", [0.2, 0.2, 0.2, 0.2]), record("c", [0.3, 0.1, 0.3, 0.1])]
    (row,) = halves(turned)  # the first half orders a < b < c, the second the other way round
    assert (row["tau"], row["agreed"]) == (pytest.approx(-1.0), 0)
    (row,) = halves(alike[:1])
    assert (row["tau"], row["pairs"]) == (None, 0)


def test_tasks_that_only_one_has_are_in_no_pair():
    assert differences([record("a", HARD), record("b", HARD, task="price")]) == []


def test_what_does_not_compare_is_refused():
    for other, message in (
        (record("b", HARD, suite="t"), "different suites"),
        (record("b", HARD, sha="b"), "different suites"),
        (record("a", HARD), "two records are called a"),
    ):
        for compare in (differences, halves, level_rows, task_rows):
            with pytest.raises(ValueError, match=message):
                compare([record("a", HARD), other])


def test_a_learning_rate_at_the_end_of_those_tried_is_marked():
    tried = [[1e-3, 2.0], [4e-3, 1.0], [1.6e-2, None]]
    assert learning_rate({"learning_rate": 4e-3, "tried": tried}) == "0.004"
    assert learning_rate({"learning_rate": 1e-3, "tried": tried}) == "0.001, the smallest"
    assert learning_rate({"learning_rate": 1.6e-2, "tried": tried}) == "0.016, the largest"
    assert learning_rate({}) == ""  # of learners that count


def test_rows_mark_what_is_only_a_bound():
    (row,) = level_rows([record("a", HARD)])
    assert (row["P half way"], row["95 %"]) == (">= 32", "20 to open")
    (row,) = task_rows([record("a", HARD)])
    assert row["value"] == pytest.approx(2 * HARD.mean())
    assert row["converged"] == "8 of 8"
    assert row["FLOPs"] is None
    assert row["seconds"] == 8.0
