"""Data collapse: its quality and the exponents that give it."""

import numpy as np
import pytest

from rhm_hf.statistics import collapse_quality, fit_collapse


SCALES = np.array([1.0, 2.0, 4.0, 8.0])


def family(x_exponent, y_exponent, scales=SCALES, num=40, noise=0.0, replicates=None, seed=0):
    """y = t^b F(x / t^a) with F(u) = u^-0.3 + 0.2 below u = 1e3, each curve at its own x."""
    rng, curves = np.random.default_rng(seed), []
    for t in scales:
        x = np.geomspace(1, 1e4, num) * t ** (x_exponent / 2)
        y = t**y_exponent * ((x / t**x_exponent) ** -0.3 + 0.2)
        shape = y.shape if replicates is None else (replicates, num)
        curves.append((x, y * np.exp(noise * rng.normal(size=shape))))
    return curves


def test_perfect_collapse_on_shared_points_is_zero_and_no_collapse_is_not():
    u = np.geomspace(1, 100, 20)
    curves = [(u * t**3, t**-0.5 / u) for t in SCALES]
    found = collapse_quality(curves, SCALES**3, SCALES**-0.5)
    assert found.residual < 1e-24
    assert found.num_compared == 4 * 3 * 20
    assert found.ratio < 1e-20
    same = collapse_quality(curves, np.ones(4))
    assert same.ratio == 1
    assert collapse_quality(curves, SCALES**2, SCALES**-0.5).residual > 0.1


def test_residual_by_hand():
    curves = [([1.0, 100.0], [1.0, 1.0]), ([10.0, 1000.0], [np.e, np.exp(3.0)])]
    found = collapse_quality(curves, [1.0, 1.0])
    # 10 against the first curve: 1; 100 against the second: half way between 1 and 3
    assert found.residual == pytest.approx((1**2 + 2**2) / 2)
    assert found.num_compared == 2
    assert found.residual_unscaled == found.residual


def test_interpolation_leaves_little_and_noise_its_variance():
    scales = (SCALES**2.5, SCALES**-0.7)
    assert collapse_quality(family(2.5, -0.7), *scales).ratio < 1e-4
    noisy = collapse_quality(family(2.5, -0.7, noise=0.05, num=400), *scales).residual
    assert noisy == pytest.approx(
        0.05**2 * (1 + 2 / 3), rel=0.1
    )  # a line between two points has 2/3 of their variance


def test_without_common_range_there_is_nothing_to_compare_with():
    curves = [([1.0, 10.0], [2.0, 1.0]), ([100.0, 1000.0], [2.0, 1.0])]
    found = collapse_quality(curves, [1.0, 100.0])
    assert found.residual < 1e-24
    assert (found.residual_unscaled, found.ratio) == (None, None)
    with pytest.raises(ValueError, match="no x in common"):
        collapse_quality(curves, [1.0, 1.0])


@pytest.mark.parametrize(("x_exponent", "y_exponent"), [(2.5, -0.7), (1.2, 0.3)])
def test_fit_finds_the_exponents(x_exponent, y_exponent):
    fit = fit_collapse(family(x_exponent, y_exponent), SCALES, (0.0, 5.0))
    assert fit.x_exponent == pytest.approx(x_exponent, abs=0.02)
    assert fit.y_exponent == pytest.approx(y_exponent, abs=0.02)
    assert fit.collapse.ratio < 1e-3
    assert fit.x_interval == (-np.inf, np.inf)
    known = fit_collapse(family(x_exponent, 0.0), SCALES, (0.0, 5.0), y_exponent=0.0)
    assert known.x_exponent == pytest.approx(x_exponent, abs=0.01)
    assert (known.y_exponent, known.y_interval) == (0.0, (0.0, 0.0))


def test_curves_pulled_apart_do_not_count_as_collapsed():
    fit = fit_collapse(family(1.0, 0.5, noise=0.1), SCALES, (-8.0, 8.0), y_exponent=0.5)
    assert fit.x_exponent == pytest.approx(1.0, abs=0.3)
    assert fit.collapse.num_compared > 200


def test_intervals_of_the_fit_cover_the_truth():
    covered, widths = np.zeros(2), []
    for seed in range(15):
        curves = family(2.0, -0.5, noise=0.1, replicates=8, num=12, seed=seed, scales=SCALES[:3])
        fit = fit_collapse(curves, SCALES[:3], (0.0, 4.0), resamples=30, confidence=0.9, seed=seed)
        truth = zip((2.0, -0.5), (fit.x_interval, fit.y_interval), strict=True)
        covered += [low <= value <= high for value, (low, high) in truth]
        widths.append(np.ptp(fit.x_interval))
    assert (covered >= 10).all()
    assert np.mean(widths) < 1.5


CURVE = ([1.0, 2.0], [2.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collapse_quality([CURVE], [1.0]), "two at least"),
        (lambda: collapse_quality([CURVE, CURVE], [1.0]), "x_scales="),
        (lambda: collapse_quality([CURVE, CURVE], [1.0, 0.0]), "x_scales="),
        (lambda: collapse_quality([CURVE, CURVE], [1.0, 1.0], [1.0, -1.0]), "y_scales="),
        (lambda: collapse_quality([CURVE, ([2.0, 1.0], [2.0, 1.0])], [1.0, 1.0]), "increasing"),
        (lambda: collapse_quality([CURVE, ([1.0, 2.0], [1.0, 0.0])], [1.0, 1.0]), "above 0"),
        (lambda: collapse_quality([CURVE, ([1.0, 2.0], [1.0, np.nan])], [1.0, 1.0]), "finite"),
        (lambda: collapse_quality([CURVE, ([1.0], [1.0])], [1.0, 1.0]), "two at least"),
        (lambda: fit_collapse([CURVE, CURVE], [2.0, 2.0], (0, 1)), "two values"),
        (lambda: fit_collapse([CURVE, CURVE], [1.0, 2.0], (1, 0)), "x_range="),
        (lambda: fit_collapse(family(2.0, 0.0), SCALES, (0.0, 1.0), y_exponent=0.0), "widen it"),
        (lambda: fit_collapse(family(2.0, 0.0), SCALES, (0.0, 1.0)), "widen it"),
        (lambda: fit_collapse([CURVE, ([1e6, 1e7], [2.0, 1.0])], [1.0, 2.0], (0.0, 1.0)), "share a rescaled x"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
