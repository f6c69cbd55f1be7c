"""U_t and D_t without bias for independent rows and for distinct ones, and errors of the size of their spread."""

import itertools

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets, load_dataset

from rhm_hf import Grammar, load_metric
from rhm_hf.metrics.effective_context import effective_context
from rhm_hf.statistics import compare_correlations, exact_correlation, token_correlations
from rhm_hf.statistics.intervals import student
from rhm_hf.statistics.pairs.agreement import _scale_of_distinct_rows
from rhm_hf.statistics.pairs.decay import context_interval, last_above, power_law
from rhm_hf.statistics.pairs.pair_laws import PairLaw
from rhm_hf.statistics.pairs.products import LawStack, Products, ProductSum, distinct_rows_square


TINY = Grammar.from_name("v4-m2-s2-L3")
DISTANCES = range(1, 8)
SEEDS = 200


def law_of(rows):
    counts = np.zeros((3, 2))
    np.add.at(counts, tuple(rows.T), 1)
    return PairLaw.of(counts / len(rows), float(len(rows)))


@pytest.mark.parametrize("drawn", [4, 5, 7])
def test_the_mean_over_all_samples_of_a_population_is_its_own_square(drawn):
    rng = np.random.default_rng(0)
    population = np.stack([rng.integers(0, 3, 7), rng.integers(0, 2, 7)], 1)
    whole = law_of(population)
    samples = (population[list(chosen)] for chosen in itertools.combinations(range(7), drawn))
    estimates = [distinct_rows_square(law_of(rows), 7) for rows in samples]
    assert np.mean(estimates) == pytest.approx(whole.inner(whole), abs=1e-14)
    if drawn == 7:
        assert estimates[0] == pytest.approx(whole.inner(whole), abs=1e-14)


def test_of_an_endless_population_it_is_the_square_of_the_law():
    rng = np.random.default_rng(1)
    population = np.stack([rng.integers(0, 3, 5), rng.integers(0, 2, 5)], 1)
    whole = law_of(population)
    draws = (population[list(chosen)] for chosen in itertools.product(range(5), repeat=4))
    assert np.mean([distinct_rows_square(law_of(rows), np.inf) for rows in draws]) == pytest.approx(
        whole.inner(whole), abs=1e-14
    )


@pytest.mark.parametrize(("sampling", "num"), [("iid", 12), ("iid", 64), ("unique", 64), ("unique", 400)])
def test_signals_of_a_tiny_grammar_have_no_bias(sampling, num):
    exact = exact_correlation(TINY, DISTANCES) ** 2
    population = TINY.num_sentences if sampling == "unique" else None
    found = [
        token_correlations(TINY.sample(num, seed=seed, sampling=sampling), DISTANCES, 4, population=population)
        for seed in range(SEEDS)
    ]
    signals = np.array([c.signal for c in found])
    assert (np.abs(signals.mean(0) - exact) < 3.5 * signals.std(0) / np.sqrt(SEEDS)).all()
    ratio = np.sqrt(np.mean([c.signal_stderr**2 for c in found], 0)) / signals.std(0)
    if num >= 64:
        assert (ratio > 0.7).all()
        assert (ratio < 1.55).all()


def test_all_sentences_of_a_grammar_have_its_correlations_and_no_error():
    tokens = TINY.sample(TINY.num_sentences, seed=3, sampling="unique")
    found = token_correlations(tokens, DISTANCES, 4, population=TINY.num_sentences)
    np.testing.assert_allclose(found.signal, exact_correlation(TINY, DISTANCES) ** 2, rtol=1e-9)
    assert found.effective_context == 7
    assert found.effective_context_interval() == (7, np.inf)
    np.testing.assert_array_equal(found.signal_interval(), np.stack([found.signal] * 2, 1))
    assert (found.signal_stderr == 0).all()
    assert (found.correlation_stderr == 0).all()


def test_a_dataset_of_distinct_sentences_says_what_it_was_drawn_from(tmp_path):
    sizes = {"validation_size": 0, "test_size": 0, "cache_dir": tmp_path}
    whole = load_dataset("rhm", "v4-m2-s2-L3", train_size=512, **sizes)["train"]
    exact = exact_correlation(TINY, DISTANCES) ** 2
    np.testing.assert_allclose(token_correlations(whole, DISTANCES, 4).signal, exact, rtol=1e-9)
    assert load_metric("token_correlations").compute(data=whole)["effective_context"] == 7
    assert effective_context(whole, whole)["corpus"]["effective_context"] == 7
    part = whole.shuffle(seed=0).select(range(200))
    rows = np.array(part["input_ids"])
    given = token_correlations(rows, DISTANCES, 4, population=512)
    assert np.array_equal(token_correlations(part, DISTANCES, 4).signal, given.signal)
    # Neither of these is a sample without replacement.
    for other in (
        concatenate_datasets([part, part]),
        load_dataset("rhm", "v4-m2-s2-L3", train_size=200, sampling="iid", **sizes)["train"],
        Dataset.from_dict({"input_ids": rows}),
    ):
        assert token_correlations(other, DISTANCES, 4).population is None
    assert token_correlations(part, DISTANCES, 4, anchor="all").population is None


def test_a_law_of_distinct_rows_is_scaled_to_have_no_bias():
    """The mean over all sets of four of six rows, as a part and scaled, is C of the six."""
    rows = np.array([(0, 0), (0, 1), (1, 1), (2, 0), (2, 2), (1, 2)])

    def law(chosen):
        values = np.zeros((3, 3))
        np.add.at(values, tuple(rows[list(chosen)].T), 1 / len(chosen))
        return PairLaw.of(values, len(chosen))

    parts = [law(chosen) for chosen in itertools.combinations(range(6), 4)]
    scale = _scale_of_distinct_rows(np.array([4.0]), 6)[0] * parts[0].unbiased
    np.testing.assert_allclose(scale * np.mean([part.connected for part in parts], 0), law(range(6)).connected)


def test_differences_of_distinct_sentences_have_no_bias_where_it_was_seen():
    """Half of all sentences: the product of two texts was .2 % too large, six errors of this many seeds at t = 1."""
    grammar, found = Grammar.from_name("v8-m2-s2-L3"), []
    for seed in range(200):
        rows = [grammar.sample(512, seed=2 * seed + k, sampling="unique") for k in range(2)]
        found.append(compare_correlations(*(token_correlations(x, (1,), 8, population=1024) for x in rows)))
    differences = np.array([f.difference[0] for f in found])
    assert abs(differences.mean()) < 3.5 * differences.std() / np.sqrt(len(found))
    low, high = np.array([f.difference_interval[0] for f in found]).T
    assert ((low <= 0) & (high >= 0)).mean() >= 0.91  # with -/+ t errors .895


def test_differences_have_no_bias_and_errors_of_their_own_spread():
    for sampling in ("iid", "unique"):
        found = []
        for seed in range(SEEDS // 2):
            texts = [TINY.sample(128, seed=2 * seed + k, sampling=sampling) for k in range(2)]
            population = 512 if sampling == "unique" else None
            found.append(
                compare_correlations(*(token_correlations(x, [1, 2, 4], 4, population=population) for x in texts))
            )
        differences = np.array([f.difference for f in found])
        errors = np.array([f.difference_stderr for f in found])
        assert (np.abs(differences.mean(0)) < 3.5 * differences.std(0) / np.sqrt(len(found))).all()
        ratio = np.sqrt((errors**2).mean(0)) / differences.std(0)
        assert (ratio > 0.85).all()
        assert (ratio < 1.5).all()
        assert (differences > 2 * errors).mean() < 0.05


def random_laws(rng, sparse, num=3):
    laws = []
    for _ in range(num):
        counts = rng.integers(0, 9, (4, 5)).astype(float)
        values, size = counts / counts.sum(), float(counts.sum())
        if sparse:
            pattern = np.divmod(np.arange(20), 5)
            laws.append(PairLaw.of(values.ravel(), size, pattern=pattern, shape=(4, 5)))
        else:
            laws.append(PairLaw.of(values, size))
    return laws


@pytest.mark.parametrize("sparse", [False, True])
def test_stacks_multiply_like_single_laws(sparse, monkeypatch):
    monkeypatch.setattr("rhm_hf.statistics.pairs.products.CHUNK_ENTRIES", 7)
    rng = np.random.default_rng(2)
    one, other = (random_laws(rng, sparse) for _ in range(2))
    found = LawStack(one).products_with(LawStack(other))
    expected = [[a.inner(b) * a.unbiased * b.unbiased for b in other] for a in one]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_terms_of_the_variance_against_known_noise():
    """C_i = truth + mean of independent noise: linear and bilinear terms are known."""
    rng, blocks, size = np.random.default_rng(3), 16, 12
    truth, sigma = np.full(size, 0.3), 0.5
    linear, bilinear, values = [], [], []

    def law(vector):
        return PairLaw(vector.reshape(3, 4), np.zeros((1, 3)), np.zeros((1, 4)))

    for _ in range(400):
        noise = truth + sigma * rng.normal(size=(2, blocks, size))
        left_out = [[law((part.sum(0) - part[b]) / (blocks - 1)) for b in range(blocks)] for part in noise]
        found = Products([law(part.mean(0)) for part in noise], left_out).sum(np.ones((2, 2)))
        linear.append(found.linear.sum())
        bilinear.append(found.bilinear[0, 1])
        values.append(found.value)
    assert np.mean(linear) == pytest.approx(2 * truth @ truth * sigma**2 / blocks, rel=0.1)
    assert np.mean(bilinear) == pytest.approx(size * sigma**4 / blocks**2, rel=0.1)
    assert np.var(values) == pytest.approx(np.mean(linear) + np.mean(bilinear), rel=0.25)


def test_interval_of_the_context_by_hand():
    distances, signal = np.array([1, 2, 4, 8]), np.array([8.0, 4.0, 2.0, 0.1])

    def around(reach):
        return np.stack([signal - reach, signal + reach], 1)

    low, high = context_interval(distances, signal, around(1e-9), np.ones(4))
    assert low == pytest.approx(high, rel=1e-6)
    assert 4 < low < 8
    low, high = context_interval(distances, signal, around(np.array([0.2, 0.2, 4.0, 4.0])), np.ones(4))
    assert 2 < low < 4
    assert high == np.inf
    assert context_interval(distances, signal, np.tile([0, np.inf], (4, 1)), np.ones(4)) == (0, np.inf)
    falling = np.array([8.0, 4.0, 2.0, -3.0])  # an interval is cut off at 0, and yet holds the estimate
    low, _ = context_interval(distances, falling, np.stack([np.clip(falling, 0, None), falling + 1], 1), np.ones(4))
    assert low == last_above(distances, falling, np.ones(4))[0]


def test_a_score_interval_by_hand():
    """The ends are the u that are `quantile` errors away, with the variance that they would have at u."""
    linear, bilinear = np.array([0.3, 0.1]), np.array([[0.0, 0.5], [0.5, 0.0]])
    sums = ProductSum(2.0, linear, bilinear, [])
    value, noise, quantile, directions = 2.0, 1.5, 2.1, 36
    weight = value**2 / (value**2 + 4 * 0.5)
    slope = weight * (0.3 + 0.1) / value + (1 - weight) * 0.5 / noise
    for u in sums.square_interval(value, noise, directions, quantile):
        assert abs(value - u) == pytest.approx(quantile * np.sqrt(0.5 + slope * u))
    low, high = sums.square_interval(-0.4, noise, directions, quantile)
    assert low == 0
    assert (-0.4 - high) ** 2 == pytest.approx(quantile**2 * (0.5 + 0.5 / noise * high))
    assert sums.square_interval(-9.0, noise, directions, quantile) == (0, 0)
    nearly_all = sums.square_interval(value, 1e-9 * noise, directions, quantile, unseen=1e-9, kept=0.5)
    assert nearly_all == pytest.approx((value, value), abs=1e-3)
    # Noise in two directions has a bilinear term of 4 noise^2 / 2 at least: of few blocks it may come out smaller.
    low, high = sums.square_interval(0.0, noise, 2, quantile)
    assert high**2 == pytest.approx(quantile**2 * (4.5 + 4.5 / noise * high))


def test_intervals_of_a_signal_cover_it_where_it_is_about_the_noise():
    """The plain one, value -/+ t errors, misses twice as often as it says: its error is small where the value is."""
    grammar, distances = Grammar.from_name("v8-m2-s2-L3"), [4, 5, 6, 7]
    exact = exact_correlation(grammar, distances) ** 2
    covered, plain = [], []
    for seed in range(150):
        tokens = grammar.sample(512, seed=seed, sampling="unique")
        found = token_correlations(tokens, distances, 8, population=grammar.num_sentences)
        low, high = found.signal_interval().T
        covered.append((low <= exact) & (exact <= high))
        plain.append(np.abs(found.signal - exact) < student(0.95, 30) * found.signal_stderr)
    assert 0.93 < np.mean(covered) < 0.985
    assert np.mean(plain) < 0.9


def test_intervals_of_signals_that_are_clear_of_the_noise_are_the_usual_ones():
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, 3, 30_000)
    tokens[1::2] = np.where(rng.random(15_000) < 0.8, tokens[::2], tokens[1::2])
    found = token_correlations(tokens.reshape(-1, 2), [1], 3)
    reach = student(0.95, 30) * found.signal_stderr
    np.testing.assert_allclose(
        found.signal_interval()[0], [found.signal[0] - reach[0], found.signal[0] + reach[0]], 0.02
    )
    assert found.signal_interval(0.5)[0, 0] > found.signal_interval()[0, 0]
    few = token_correlations(tokens.reshape(-1, 2), [1], 3, num_blocks=2)
    assert few.signal_interval().tolist() == [[0, np.inf]]


def test_the_interval_of_an_exponent_holds_the_choice_of_range():
    distances = np.arange(1, 16)
    bent = 1e-3 * np.where(distances < 6, distances**-2.0, 6**1.4 * distances**-3.4)  # β = 1, then 1.7
    fit = power_law(distances, bent, 0.01 * bent, [], 1, 15, 0.95)
    assert fit.statistical_interval == (-np.inf, np.inf)
    jackknife = [bent * (1 + 1e-4 * np.random.default_rng(k).normal(size=(16, 15))) for k in range(2)]
    fit = power_law(distances, bent, 0.01 * bent, jackknife, 1, 15, 0.95)
    assert fit.statistical_interval[1] - fit.statistical_interval[0] < 0.02
    low, high = fit.range_exponents
    assert low < fit.exponent - 0.05
    assert high > fit.exponent + 0.15
    assert fit.interval == (low, high)
    straight = power_law(distances, distances**-2.8, 0.01 * distances**-2.8, [], 1, 15, 0.95)
    np.testing.assert_allclose(straight.range_exponents, 1.4, rtol=1e-9)
