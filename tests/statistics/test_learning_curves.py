"""Steps and exponents of learning curves, on curves whose answers are known."""

import numpy as np
import pytest

from rhm_hf import theory
from rhm_hf.grammar.layered.parameters import GrammarParameters
from rhm_hf.statistics import (
    LearningCurves,
    envelope_exponent,
    half_way_points,
    last_crossing,
    local_exponents,
    mean_half_way_points,
    num_steps,
    plateau_polygon,
    synonym_exponent,
)


SIZES = 2.0 ** np.arange(4, 21)
PLATEAUS = np.array([2.7, 1.4, 0.6, 0.3])
PARAMETERS = GrammarParameters.from_name("v16-m4-s2-L3")


def staircase(points, sizes=SIZES, plateaus=PLATEAUS):
    """Straight descents in log P, each as wide as a factor 4, half way at the points `(.., L)`."""
    position = (np.log(sizes) - np.log(np.asarray(points))[..., None]) / np.log(4)
    return plateaus[0] + (np.diff(plateaus)[:, None] * np.clip(position + 0.5, 0, 1)).sum(-2)


def test_half_way_points_of_a_staircase_are_its_steps():
    steps = np.array([[100.0, 3000.0, 2e5], [70.0, 4000.0, 1e5]])
    fine = 2.0 ** np.arange(4, 21, 0.125)
    found = half_way_points(fine, staircase(steps, fine), PLATEAUS)
    np.testing.assert_allclose(found, steps, rtol=1e-12)
    np.testing.assert_array_equal(half_way_points(fine, staircase(steps, fine)[1], PLATEAUS), found[1])


def test_every_curve_is_judged_by_its_own_plateaus():
    other = PLATEAUS * 1.1 + 0.02
    steps = np.array([128.0, 4096.0, 2.0**17])
    losses = np.stack([staircase(steps), staircase(steps, plateaus=other)])
    found = half_way_points(SIZES, losses, np.stack([PLATEAUS, other]))
    np.testing.assert_allclose(found, np.tile(steps, (2, 1)), rtol=1e-12)
    assert (half_way_points(SIZES, losses, PLATEAUS)[1] > steps * 1.01).any()


def test_crossings_are_interpolated_in_log_p_and_say_where_they_are_not_measured():
    assert last_crossing([10, 1000], [3.0, 1.0], 2.0) == pytest.approx(100)
    assert last_crossing([10, 1000], [3.0, 1.0], 0.5) == np.inf
    assert last_crossing([10, 1000], [3.0, 1.0], 3.5) == 0
    assert last_crossing([10, 1000], [3.0, 1.0], 1.0) == pytest.approx(1000)
    assert last_crossing([10, 1000], [-0.2, -0.8], -0.5) == pytest.approx(100)  # a rising curve, turned over


def test_a_dip_that_returns_is_no_step():
    sizes = [1, 10, 100, 1000, 10000]
    assert last_crossing(sizes, [3.0, 1.9, 2.1, 1.0, 1.5], 2.0) == pytest.approx(10 ** (2 + 0.1 / 1.1))
    assert last_crossing(sizes, [3.0, 1.9, 2.1, 1.0, 2.2], 2.0) == np.inf


def test_mean_over_grammars_is_geometric_and_bounds_are_counted():
    steps = np.array([[100.0, 3000.0, 2e5], [400.0, 3000.0, 2e5], [100.0, 3000.0, 1e9], [400.0, 3000.0, 2e5]])
    fine = 2.0 ** np.arange(4, 21, 0.125)
    found = mean_half_way_points(fine, staircase(steps, fine), PLATEAUS)
    np.testing.assert_allclose(found.mean[:2], [200.0, 3000.0])
    assert found.mean[2] == pytest.approx((2e5**3 * fine[-1]) ** 0.25)  # a lower bound: the end of the range counts
    np.testing.assert_array_equal(found.num_beyond, [0, 0, 1])
    np.testing.assert_array_equal(found.num_before, 0)
    reach = 3.1824463 * np.log(4) / np.sqrt(12)  # t of 3 degrees; log P is -ln 2, ln 2, -ln 2, ln 2 about its mean
    np.testing.assert_allclose(found.interval[0], [200 * np.exp(-reach), 200 * np.exp(reach)], rtol=1e-6)
    np.testing.assert_allclose(found.interval[1], 3000.0)
    assert found.bound == ["", "", ">="]
    rows = found.rows()
    assert [row["bound"] for row in rows] == found.bound
    assert rows[2] | {"half_way": 0, "low": 0} == {
        "level": 3,
        "half_way": 0,
        "bound": ">=",
        "low": 0,
        "high": np.inf,
        "grammars": 4,
        "num_before": 0,
        "num_beyond": 1,
        "num_step_limited": "",
    }
    assert np.isfinite(found.interval[2, 0])
    assert found.interval[2, 1] == np.inf
    few = mean_half_way_points(fine, staircase(steps[:2], fine), PLATEAUS)
    np.testing.assert_array_equal(few.interval, np.tile([0, np.inf], (3, 1)))
    late = mean_half_way_points(fine[60:], staircase(steps, fine[60:]), PLATEAUS)
    np.testing.assert_array_equal(late.num_before, [4, 0, 0])
    assert late.interval[0, 0] == 0
    assert late.bound == ["<=", "", ">="]


def test_intervals_of_half_way_points_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    fine, truth = 2.0 ** np.arange(4, 21, 0.25), np.array([200.0, 4000.0, 1e5])
    covered = []
    for _ in range(150):
        losses = staircase(truth * np.exp(0.3 * rng.normal(size=(12, 3))), fine)
        low, high = mean_half_way_points(fine, losses, PLATEAUS, confidence=0.9).interval.T
        covered.append((low <= truth) & (truth <= high))
    assert 0.86 < np.mean(covered) < 0.94


def ensembles(synonyms):
    return [GrammarParameters(vocab_size=16, num_synonyms=m, tuple_size=2, depth=3) for m in synonyms]


@pytest.mark.parametrize(("architecture", "exponent"), [("transformer", 5), ("cnn", 4)])
def test_exponent_of_m_is_that_of_the_theory_once_correlations_are_divided_out(architecture, exponent):
    chosen = ensembles([2, 4, 8])
    points = [[3 * theory.sample_complexity(p, 3, architecture=architecture)] * 2 for p in chosen]
    fit = synonym_exponent(chosen, points, divide_correlations=True)
    assert fit.exponent == pytest.approx(exponent, abs=1e-12)
    assert fit.amplitude == pytest.approx(3 * 16)
    np.testing.assert_allclose(fit.interval, exponent, atol=1e-9)
    assert synonym_exponent(chosen, [p[:1] for p in points]).statistical_interval == (-np.inf, np.inf)
    assert synonym_exponent(chosen, points).exponent > exponent + 0.1


def test_intervals_of_the_exponent_of_m_cover_the_truth():
    rng, chosen, covered = np.random.default_rng(1), ensembles([2, 4, 8]), 0
    for _ in range(200):
        points = [7.0 * p.num_synonyms**3 * np.exp(0.4 * rng.normal(size=10)) for p in chosen]
        low, high = synonym_exponent(chosen, points, confidence=0.9).interval
        covered += low <= 3 <= high
    assert 0.78 < covered / 200 < 0.95


def test_envelope_and_local_exponents_of_a_power_law_with_its_limit_given():
    limits = np.array([0.2, 0.3, 0.5, 0.7])
    losses = limits[:, None] + 5 * SIZES**-0.3
    fit = envelope_exponent(SIZES, losses, limits)
    assert fit.exponent == pytest.approx(0.3, abs=1e-12)
    assert fit.amplitude == pytest.approx(5)
    np.testing.assert_allclose(fit.interval, 0.3, atol=1e-12)
    assert envelope_exponent(SIZES, losses[0], 0.2).interval == (-np.inf, np.inf)
    assert abs(envelope_exponent(SIZES, losses[0], 0.1).exponent - 0.3) > 0.02  # another limit, another exponent
    for window in (2, 5):
        local = local_exponents(SIZES, losses, limits, window=window)
        np.testing.assert_allclose(local.exponents, 0.3, atol=1e-12)
        np.testing.assert_allclose(local.sizes, SIZES[: len(SIZES) - window + 1] * 2 ** ((window - 1) / 2))
        assert local.intervals.shape == (len(SIZES) - window + 1, 2)


def test_range_and_local_exponents_tell_two_regimes_apart():
    losses = np.where(SIZES <= 1024, SIZES**-0.1, 1024**0.4 * SIZES**-0.5)
    assert envelope_exponent(SIZES, losses, 0, max_size=1024).exponent == pytest.approx(0.1)
    assert envelope_exponent(SIZES, losses, 0, min_size=1024).exponent == pytest.approx(0.5)
    local = local_exponents(SIZES, losses, 0)
    np.testing.assert_allclose(local.exponents, np.where(local.sizes < 1024, 0.1, 0.5))


def test_intervals_of_the_envelope_cover_the_truth_and_are_open_where_resamples_reach_the_limit():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(150):
        noise = 0.2 * rng.normal(size=(12, 1)) * np.linspace(-1, 1, len(SIZES)) + 0.1 * rng.normal(size=(12, 1))
        low, high = envelope_exponent(SIZES, 0.4 + SIZES**-0.3 * (1 + noise), 0.4, confidence=0.9).interval
        covered += low <= 0.3 <= high
    assert 0.75 < covered / 150 < 0.95
    near = np.array([[1.0, 0.5, -0.1], [1.0, 0.5, -0.1], [1.0, 0.5, -0.1], [1.0, 0.5, 0.4]])
    low, high = envelope_exponent([1, 2, 4], near, 0).interval
    assert np.isfinite(low)
    assert high == np.inf


def test_plateau_polygon_has_the_slopes_of_the_theory():
    deep = GrammarParameters.from_name("v32-m8-s2-L6")
    plateaus = [theory.plateau(deep, level) for level in range(7)]
    polygon = plateau_polygon(deep, plateaus, theory.limiting_loss(deep))
    np.testing.assert_array_equal(polygon.levels, range(1, 7))
    np.testing.assert_allclose(polygon.sizes, [32 * 8 ** (2 * level - 1) / 0.75 for level in range(1, 7)])
    expected = [theory.learning_exponent(deep, level=level) for level in range(1, 6)]
    np.testing.assert_allclose(polygon.exponents, expected)
    before = plateau_polygon(deep, plateaus, theory.limiting_loss(deep), corner="before")
    np.testing.assert_allclose(before.exponents, [theory.learning_exponent(deep, level=level) for level in range(5)])
    cnn = plateau_polygon(deep, plateaus, theory.limiting_loss(deep), architecture="cnn")
    np.testing.assert_allclose(cnn.exponents[1:], 2 * polygon.exponents[1:])


def test_the_exact_last_plateau_as_limit_leaves_its_vertex_out():
    after = plateau_polygon(PARAMETERS, PLATEAUS, 0.3)
    np.testing.assert_array_equal(after.levels, [1, 2])
    np.testing.assert_allclose(after.excess, [1.1, 0.3])
    half = plateau_polygon(PARAMETERS, PLATEAUS, 0.3, corner="half_way")
    np.testing.assert_allclose(half.excess, [1.75, 0.7, 0.15])
    np.testing.assert_array_equal(half.level_at([10, half.sizes[0], 5000, 1e9]), [0, 1, 2, 3])
    between = np.geomspace(half.sizes[0], half.sizes[1], 5)
    np.testing.assert_allclose(half.excess_at(half.sizes), half.excess)
    assert envelope_exponent(between, half.excess_at(between), 0).exponent == pytest.approx(half.exponents[0])


def test_a_staircase_at_the_steps_of_the_theory_passes_through_the_half_way_polygon():
    polygon = plateau_polygon(PARAMETERS, PLATEAUS, PLATEAUS[-1], corner="half_way")
    curve = staircase(polygon.sizes, polygon.sizes)
    np.testing.assert_allclose(local_exponents(polygon.sizes, curve, PLATEAUS[-1]).exponents, polygon.exponents)


def test_four_grammars_are_covered_as_often_as_is_said():
    """A percentile bootstrap of four covers about 80 % at 95 %."""
    rng, truth, covered = np.random.default_rng(5), np.array([200.0, 4000.0, 1e5]), []
    fine = 2.0 ** np.arange(4, 21, 0.25)
    for _ in range(400):
        losses = staircase(truth * np.exp(0.3 * rng.normal(size=(4, 3))), fine)
        low, high = mean_half_way_points(fine, losses, PLATEAUS).interval.T
        covered.append((low <= truth) & (truth <= high))
    assert 0.93 < np.mean(covered) < 0.97


def test_the_envelope_holds_the_choices_of_range_and_of_limit():
    losses = np.where(SIZES <= 1024, SIZES**-0.1, 1024**0.4 * SIZES**-0.5)
    fit = envelope_exponent(SIZES, losses, 0)
    low, high = fit.range_exponents
    assert low < 0.2 < fit.exponent < 0.45 < high
    assert fit.interval == (-np.inf, np.inf)
    same = envelope_exponent(SIZES, np.stack([losses] * 3), 0)
    assert same.interval == pytest.approx((low, high))
    text = envelope_exponent(SIZES, 0.4 + SIZES**-0.3, 0.4, limit_range=(0.3, 0.4))
    assert text.range_exponents[0] < 0.2
    assert text.range_exponents[1] == pytest.approx(0.3)


def test_curves_of_rows_say_what_ended_each_run():
    rows = [
        {"rules_seed": seed, "num_train": size, "test_loss": loss, "stopped_by": ending}
        for seed in range(3)
        for size, loss, ending in ((64, 2.0, "patience"), (16, 2.5, "converged"), (256, 1.0 + seed, "max_steps"))
    ]
    curves = LearningCurves.from_rows(rows)
    np.testing.assert_array_equal(curves.sizes, [16, 64, 256])
    np.testing.assert_array_equal(curves.losses, [[2.5, 2.0, 1.0], [2.5, 2.0, 2.0], [2.5, 2.0, 3.0]])
    assert curves.stopped_by[0].tolist() == ["converged", "patience", "max_steps"]
    assert curves.members == [0, 1, 2]
    options = {"stopped_by": curves.stopped_by}
    calls = (
        lambda **more: envelope_exponent(curves.sizes, curves.losses, 0.5, **options, **more),
        lambda **more: local_exponents(curves.sizes, curves.losses, 0.5, **options, **more),
        lambda **more: mean_half_way_points(curves.sizes, curves.losses, [3.0, 2.0], **options, **more),
    )
    for call in calls:
        with pytest.raises(ValueError, match="3 of 9 runs were ended by their step limit"):
            call()
        assert call(step_limited="keep").num_step_limited == 3
    assert envelope_exponent(curves.sizes, curves.losses, 0.5).num_step_limited is None
    for change, message in (
        (lambda row: row.pop("stopped_by"), "no column stopped_by"),
        (lambda row: row.update(num_train=64), "second run at num_train=64"),
        (lambda row: row.update(num_train=17), "not all curves"),
    ):
        broken = [dict(row) for row in rows]
        change(broken[1])
        with pytest.raises(ValueError, match=message):
            LearningCurves.from_rows(broken)
    with pytest.raises(ValueError, match="rows is empty"):
        LearningCurves.from_rows([])


LOSSES = staircase([100.0, 3000.0, 1e5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: half_way_points(SIZES[::-1], LOSSES, PLATEAUS), "increasing"),
        (lambda: half_way_points([0, 1], [2.0, 1.0], PLATEAUS), "positive"),
        (lambda: half_way_points([1], [2.0], PLATEAUS), "two values of P"),
        (lambda: half_way_points(SIZES, LOSSES[1:], PLATEAUS), "losses of shape"),
        (lambda: half_way_points(SIZES, np.where(SIZES > 100, LOSSES, np.nan), PLATEAUS), "finite"),
        (lambda: half_way_points(SIZES, LOSSES, PLATEAUS[::-1]), "must be finite and fall"),
        (lambda: half_way_points(SIZES, LOSSES, [2.0, np.nan]), "must be finite and fall"),
        (lambda: half_way_points(SIZES, LOSSES, [2.0]), "plateaus"),
        (lambda: half_way_points(SIZES, LOSSES, 2.0), "plateaus"),
        (lambda: half_way_points(SIZES, np.stack([LOSSES] * 3), np.stack([PLATEAUS] * 2)), "plateaus"),
        (lambda: half_way_points(SIZES, LOSSES, np.stack([PLATEAUS] * 2)), "plateaus"),
        (lambda: last_crossing(SIZES, [LOSSES], 1.0), r"one curve|values\[0\]"),
        (lambda: last_crossing(SIZES, LOSSES, np.nan), "threshold"),
        (lambda: mean_half_way_points(SIZES, LOSSES, PLATEAUS), "half_way_points takes one"),
        (lambda: mean_half_way_points(SIZES, [LOSSES], PLATEAUS, confidence=95), "confidence=95"),
        (lambda: mean_half_way_points(SIZES, [LOSSES], PLATEAUS, stopped_by=[["converged"]] * 3), "does not fit"),
        (lambda: mean_half_way_points(SIZES, [LOSSES], PLATEAUS, stopped_by="max_steps"), "ended by their step limit"),
        (lambda: mean_half_way_points(SIZES, [LOSSES], PLATEAUS, step_limited="drop"), "step_limited='drop'"),
        (lambda: synonym_exponent(ensembles([2, 2]), [[1.0], [2.0]]), "two values of m"),
        (lambda: synonym_exponent([PARAMETERS, *ensembles([2])], [[1.0]]), "points of 1 ensembles"),
        (lambda: synonym_exponent(ensembles([2, 4]), [[1.0], [np.inf]]), "leave steps outside"),
        (lambda: synonym_exponent(ensembles([2, 16]), [[1.0], [2.0]], divide_correlations=True), "f = 1"),
        (lambda: envelope_exponent(SIZES, LOSSES, 0.35), "not above limit"),
        (lambda: envelope_exponent(SIZES, LOSSES, 0.1, min_size=900, max_size=1100), "1 sizes lie there"),
        (lambda: envelope_exponent(SIZES, LOSSES, [0.1, 0.2]), "limit="),
        (lambda: envelope_exponent(SIZES, LOSSES, np.nan), "limit="),
        (lambda: local_exponents(SIZES, LOSSES, 0.1, window=1), "window=1"),
        (lambda: plateau_polygon(PARAMETERS, PLATEAUS[:-1], 0.1), "L_3"),
        (lambda: plateau_polygon(PARAMETERS, PLATEAUS, 2.0), "limit=2.0"),
        (lambda: plateau_polygon(PARAMETERS, PLATEAUS, 0.1, corner="middle"), "corner='middle'"),
        (lambda: plateau_polygon(ensembles([16])[0], PLATEAUS, 0.1), "increasing steps"),
        (lambda: plateau_polygon(PARAMETERS, PLATEAUS, 0.3).excess_at([1.0]), "must lie between"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_steps_end_at_the_first_level_that_tells_nothing_new_in_some_grammar():
    assert num_steps([[3.0, 2.0, 1.0], [3.0, 2.5, 0.5]]) == 2
    assert num_steps([[3.0, 2.0, 1.0, 0.5], [3.0, 2.5, 2.5, 0.5]]) == 1
    assert num_steps([[3.0, 3.0]]) == 0
