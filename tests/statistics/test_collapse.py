"""Data collapse: its quality and the exponents that give it."""

import numpy as np
import pytest

from rhm_hf.statistics import collapse_quality, fit_collapse
from rhm_hf.statistics.curves.collapse_fit import _Fitter


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
    for seed in range(20):
        curves = family(2.0, -0.5, noise=0.1, replicates=8, num=12, seed=seed, scales=SCALES[:3])
        fit = fit_collapse(curves, SCALES[:3], (-2.0, 6.0), confidence=0.9, grid=33, paired=bool(seed % 2))
        truth = zip((2.0, -0.5), (fit.x_interval, fit.y_interval), strict=True)
        covered += [low <= value <= high for value, (low, high) in truth]
        widths.append(np.ptp(fit.x_interval))
        assert fit.x_interval[0] <= fit.x_exponent <= fit.x_interval[1]
    assert (covered >= 15).all()
    assert np.isfinite(np.median(widths))


def test_the_cost_has_no_steps_where_points_enter_and_no_dips_where_grids_coincide():
    """Flat curves with unrelated noise on grids of factors of 4: nothing to be found at ratios of the grid's logs."""
    scales, minima = np.array([1.0, 7.0]), []
    resonances = np.log(4) / np.log(7) * np.arange(1, 6)  # shifts by whole steps of the grid
    for seed in range(8):
        rng = np.random.default_rng(seed)
        curves = [(4.0 ** np.arange(1, 9), np.exp(0.2 * rng.normal(size=8))) for _ in scales]
        fine = np.linspace(0.05, 4.0, 791)
        fitter = _Fitter(fine, 0.0, 0.5, 0.0)
        scan = fitter.fit([(x, y[None]) for x, y in curves], np.log(scales)).scan
        assert np.abs(np.diff(scan.residuals)).max() < 0.05 * np.ptp(scan.residuals)
        minima.append(fine[int(np.argmin(np.where(scan.overlaps >= 0.5, scan.residuals, np.inf)))])
    nearest = np.abs(np.subtract.outer(minima, resonances)).min(1)
    assert (nearest > 0.02).mean() > 0.6
    assert len(set(np.round(minima, 2))) > 4


def test_a_fit_at_the_cut_off_of_overlap_says_that_it_is_pinned():
    """z = 6 pulls curves of four decades apart so far that little overlap is left: the fit ends where that counts."""
    x = np.geomspace(1, 1e4, 40)
    replicates = np.exp(0.01 * np.random.default_rng(3).normal(size=(3, 4, 40)))
    curves = [(x, noise / (1 + np.log(1 + 1e3 * x / t**6))) for t, noise in zip(SCALES[:3], replicates, strict=True)]
    fit = fit_collapse(curves, SCALES[:3], (0.0, 10.0), y_exponent=0.0)
    assert fit.pinned
    assert 2 < fit.x_exponent < 5
    assert fit.x_interval[1] == np.inf
    last = np.flatnonzero(fit.scan.overlaps >= 0.5)[-1]
    assert fit.x_exponent == pytest.approx(fit.scan.exponents[last])
    assert fit.scan.residuals[last + 1] < fit.scan.residuals[last]
    free = fit_collapse(curves, SCALES[:3], (0.0, 10.0), y_exponent=0.0, min_overlap=0.05)
    assert not free.pinned
    assert free.x_exponent == pytest.approx(6, abs=0.1)


def test_the_choice_of_curves_is_in_the_interval():
    """One curve with another exponent: the others alone collapse elsewhere."""
    curves = family(2.0, 0.0, replicates=5, noise=0.01)
    x, y = curves[3]
    curves[3] = x * 4, y
    fit = fit_collapse(curves, SCALES, (0.0, 6.0), y_exponent=0.0)
    assert fit.leave_one_out.shape == (4, 2)
    assert fit.leave_one_out[3, 0] == pytest.approx(2.0, abs=0.05)
    low, high = fit.x_interval
    assert (low <= fit.leave_one_out[:, 0]).all()
    assert (fit.leave_one_out[:, 0] <= high).all()


def test_a_shifted_collapse_finds_gamma_and_beta_of_a_text():
    """(L_n - H_inf) n^γ as a function of P / n^(2β), with γ = .3, β = .9, H_inf = 1.2."""
    lengths = np.array([1.0, 2, 4, 8, 16])
    sizes = 2.0 ** np.arange(6, 20)
    curves = [(sizes, 1.2 + n**-0.3 * ((sizes / n**1.8) ** -0.4 + 0.3)) for n in lengths]
    fit = fit_collapse(curves, lengths, (0.0, 5.0), limit=1.2)
    assert fit.x_exponent == pytest.approx(1.8, abs=0.03)
    assert fit.y_exponent == pytest.approx(-0.3, abs=0.01)
    assert collapse_quality(curves, lengths**1.8, lengths**-0.3, limit=1.2).ratio < 1e-3
    plain = fit_collapse(curves, lengths, (0.0, 5.0))
    assert abs(plain.x_exponent - 1.8) > 0.1 or plain.collapse.residual > 10 * fit.collapse.residual


def test_runs_ended_by_their_step_limit_are_refused_or_counted():
    curves = family(2.0, 0.0)
    endings = [["converged"] * 40] * 3 + [["converged"] * 38 + ["max_steps"] * 2]
    for call in (
        lambda **kwargs: collapse_quality(curves, SCALES**2, stopped_by=endings, **kwargs),
        lambda **kwargs: fit_collapse(curves, SCALES, (0.0, 5.0), stopped_by=endings, **kwargs).collapse,
    ):
        with pytest.raises(ValueError, match="2 of 40 runs were ended by their step limit"):
            call()
        assert call(step_limited="keep").num_step_limited == 2
    assert collapse_quality(curves, SCALES**2).num_step_limited is None


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
        (lambda: fit_collapse([CURVE, CURVE], [1.0, 2.0], (0, 1), grid=2), "grid=2"),
        (lambda: fit_collapse([CURVE, CURVE], [1.0, 2.0], (0, 1), limit=np.nan), "limit=nan"),
        (lambda: fit_collapse([CURVE, CURVE], [1.0, 2.0], (0, 1), limit=1.5), "above 1.5"),
        (lambda: collapse_quality([CURVE, CURVE], [1.0, 2.0], stopped_by=[["converged"] * 2]), "of 1 curves"),
        (lambda: collapse_quality([CURVE, CURVE], [1.0, 2.0], stopped_by=[["bored"] * 2] * 2), "'bored'"),
        (lambda: fit_collapse(family(2.0, 0.0), SCALES, (0.0, 1.0), y_exponent=0.0), "widen it"),
        (lambda: fit_collapse(family(2.0, 0.0), SCALES, (0.0, 1.0)), "widen it"),
        (lambda: fit_collapse([CURVE, ([1e6, 1e7], [2.0, 1.0])], [1.0, 2.0], (0.0, 1.0)), "share a rescaled x"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_limit_that_a_replicate_left_out_comes_down_to_is_refused():
    """The jackknife needs logarithms of means without one replicate."""
    curves = family(2.0, -0.5, replicates=4, noise=0.1)
    lowest = min(range(4), key=lambda k: curves[k][1].mean(0).min())
    mean, rest = curves[lowest][1].mean(0), (curves[lowest][1].sum(0) - curves[lowest][1]) / 3
    limit = (mean.min() + rest[:, mean.argmin()].min()) / 2  # below the mean, not below all that one leaves out
    with pytest.raises(
        ValueError, match=rf"curves\[{lowest}\] comes down to it at x=.* without one of its replicates"
    ):
        fit_collapse(curves, SCALES, (0.5, 4.0), limit=limit)
