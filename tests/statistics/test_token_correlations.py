"""C~(t), its noise, effective context and fits: against numpy, known laws, the theory's averages, sampled noise."""

import math
import pydoc_data.topics

import datasets
import numpy as np
import pytest
import torch

from rhm_hf import theory
from rhm_hf.grammar import Grammar
from rhm_hf.statistics import (
    PairCounts,
    TokenCorrelations,
    exact_correlation,
    prefix_contexts,
    token_correlations,
    tuple_ids,
)
from rhm_hf.statistics.pairs.decay import context_curve, last_above
from rhm_hf.statistics.pairs.pair_laws import PairLaw


def text() -> np.ndarray:
    """Python's own documentation as characters."""
    characters = "".join(pydoc_data.topics.topics[k] for k in sorted(pydoc_data.topics.topics))
    return np.unique(np.array(list(characters)), return_inverse=True)[1]


def plain(x, t, v):
    """J and C of one text."""
    joint = np.zeros((v, v))
    np.add.at(joint, (x[:-t], x[t:]), 1 / (len(x) - t))
    return joint, joint - np.outer(joint.sum(1), joint.sum(0))


@pytest.mark.parametrize("sparse", [False, True])
def test_correlations_of_text_are_numpys(sparse):
    x, distances = text()[:60_000], [1, 2, 7, 20]
    v = x.max() + 1
    c = token_correlations(x, distances, sparse=sparse)
    for k, t in enumerate(distances):
        joint, connected = plain(x, t, v)
        p, q = joint.sum(1), joint.sum(0)
        assert c.correlation[k] == pytest.approx(np.sqrt((connected**2).mean()), rel=1e-9)
        assert c.operator_norm[k] == pytest.approx(np.linalg.norm(connected, 2), rel=1e-6)
        assert c.num_pairs[k] == len(x) - t
        assert c.noise_floor[k] == pytest.approx(np.sqrt((1 - p @ p) * (1 - q @ q) / (len(x) - t)) / v, rel=1e-12)
        information = (joint[joint > 0] * np.log((joint / np.outer(p, q).clip(1e-300))[joint > 0])).sum()
        bias = ((joint > 0).sum() - (p > 0).sum() - (q > 0).sum() + 1) / 2 / (len(x) - t)
        assert c.mutual_information[k] == pytest.approx(information - bias, rel=1e-9)
        assert abs(c.signal[k] - (connected**2).mean()) < 6 * c.signal_stderr[k] + c.noise_floor[k] ** 2
    assert c.to_dict()["correlation"] == c.correlation.tolist()


def test_sparse_and_dense_give_the_same_everything():
    rows = text()[:48_000].reshape(-1, 12)
    for center in ("pooled", "position"):
        options = {"anchor": "all", "center": center}
        dense, sparse = (token_correlations(rows, (1, 2, 5, 9), **options, sparse=s) for s in (False, True))
        names = ["correlation", "noise_floor", "signal", "signal_stderr", "correlation_stderr"]
        for name in names:
            np.testing.assert_allclose(getattr(dense, name), getattr(sparse, name), rtol=1e-7, atol=1e-16)
        assert dense.fit(1, 9).exponent == pytest.approx(sparse.fit(1, 9).exponent, rel=1e-6)
        np.testing.assert_allclose(dense.operator_norm, sparse.operator_norm, rtol=1e-5)


def test_centred_by_position_against_plain_loops():
    rows, v, t = Grammar.from_name("v5-m3-s2-L2").sample(300, sampling="iid").astype(int), 5, 2
    connected = np.zeros((v, v))
    for i in range(rows.shape[1] - t):
        joint = np.zeros((v, v))
        np.add.at(joint, (rows[:, i], rows[:, i + t]), 1 / len(rows))
        connected += (joint - np.outer(joint.sum(1), joint.sum(0))) / (rows.shape[1] - t)
    for sparse in (False, True):
        c = token_correlations(rows, [t], v, anchor="all", center="position", sparse=sparse)
        assert c.correlation[0] == pytest.approx(np.sqrt((connected**2).mean()), rel=1e-9)


def test_pooled_positions_have_a_false_plateau_that_centring_removes():
    # Independent tokens whose law depends on the position parity: no correlation at all, at any distance.
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(16) % 2, rng.integers(0, 2, (20_000, 16)), rng.integers(2, 4, (20_000, 16)))
    pooled = token_correlations(rows, [2, 4], anchor="all")
    centred = token_correlations(rows, [2, 4], anchor="all", center="position")
    assert (pooled.correlation > 0.05).all()
    assert (centred.correlation < 4 * centred.noise_floor).all()


@pytest.mark.parametrize("probs", [[0.25] * 4, [0.7, 0.2, 0.05, 0.05]])
def test_independent_symbols_lie_on_the_floor(probs):
    rng = np.random.default_rng(1)
    repeats = [token_correlations(rng.choice(4, (400, 2), p=probs), [1], 4, num_blocks=16) for _ in range(400)]
    floor2 = np.mean([c.noise_floor[0] ** 2 for c in repeats])
    squares = np.array([c.correlation[0] ** 2 for c in repeats])
    assert squares.mean() == pytest.approx(floor2, abs=4 * squares.std() / 20)
    signals = np.array([c.signal[0] for c in repeats])
    assert abs(signals.mean()) < 4 * signals.std() / 20  # two halves leave no noise
    stderrs = np.array([c.signal_stderr[0] for c in repeats])
    assert 0.9 < np.sqrt((stderrs**2).mean()) / signals.std() < 1.3
    information = [c.mutual_information[0] for c in repeats]
    if min(probs) > 0.1:  # the correction of the bias asks for some counts of every pair
        assert abs(np.mean(information)) < 4 * np.std(information) / 20


def test_noise_of_distinct_sentences_is_smaller():
    grammar = Grammar.from_name("v8-m4-s2-L2", rules_seed=3)
    population, num = grammar.num_sentences, grammar.num_sentences // 2
    exact = exact_correlation(grammar, [3])[0] ** 2
    excess, floors = [], []
    for seed in range(300):
        tokens = grammar.sample(num, seed=seed, sampling="unique")
        c = token_correlations(tokens, [3], 8, population=population, num_blocks=1)
        excess.append(c.correlation[0] ** 2 - exact)
        floors.append(c.noise_floor[0] ** 2)
    # J enters squared, p q^T does too: their noise adds a little beyond the leading order.
    assert np.mean(excess) == pytest.approx(np.mean(floors), rel=0.25)
    assert np.mean(floors) == pytest.approx(
        token_correlations(tokens, [3], 8, num_blocks=1).noise_floor[0] ** 2 * (1 - (num - 1) / (population - 1)),
        rel=0.02,
    )
    everything = token_correlations(np.array([grammar.sentence(i) for i in range(population)]), [1, 2, 3], 8)
    np.testing.assert_allclose(everything.correlation, exact_correlation(grammar, [1, 2, 3]), rtol=1e-10)


@pytest.mark.parametrize("name", ["v16-m4-s2-L3", "v6-m3-s3-L2"])
def test_samples_converge_to_the_exact_correlations(name):
    grammar = Grammar.from_name(name, rules_seed=2)
    tokens = grammar.sample(200_000, sampling="iid")
    d, v = grammar.sentence_length, grammar.vocab_size
    c = token_correlations(tokens, range(1, d), v)
    exact = exact_correlation(grammar)
    assert (np.abs(c.signal - exact**2) < 5 * c.signal_stderr).all()
    assert (np.abs(c.correlation**2 - c.noise_floor**2 - exact**2) < 5 * c.signal_stderr + c.noise_floor**2).all()
    for center in ("pooled", "position"):
        every = token_correlations(tokens, range(1, d), v, anchor="all", center=center)
        expected = exact_correlation(grammar, anchor="all", center=center)
        np.testing.assert_allclose(every.correlation**2 - every.noise_floor**2, expected**2, rtol=0.1, atol=1e-8)
    s = grammar.tuple_size_at(1)
    ids, rules = tuple_ids(grammar, tokens), grammar.rule_probs_at(1).size
    pairs = token_correlations(tokens, range(s, d, s), v, left=ids, num_left=rules)
    assert (np.abs(pairs.signal - exact_correlation(grammar, tuples=True) ** 2) < 5 * pairs.signal_stderr).all()


def test_ensemble_averages_against_theory():
    # Measured <C^2> / theory at (16,4,2), L = 4 falls with the level: 1.15, 1.00, .83, .60.
    grammars = [Grammar.from_name("v16-m4-s2-L4", rules_seed=seed) for seed in range(60)]
    squares = np.mean([exact_correlation(g, [1, 2, 4, 8]) ** 2 for g in grammars], axis=0)
    expected = [theory.token_correlation(grammars[0].parameters, level) ** 2 for level in (1, 2, 3, 4)]
    np.testing.assert_allclose(squares / expected, [1.15, 1.0, 0.83, 0.6], rtol=0.2)
    tuples = np.mean([exact_correlation(g, [2, 4, 8], tuples=True) ** 2 for g in grammars], axis=0)
    expected = [theory.tuple_correlation(grammars[0].parameters, level) ** 2 for level in (2, 3, 4)]
    np.testing.assert_allclose(tuples / expected, 1, rtol=0.45)


def markov(length, stay, seed=0, v=4):
    """A chain that keeps its symbol with probability `stay`, else draws a uniform one: C~ ~ stay^t exactly."""
    rng = np.random.default_rng(seed)
    fresh = rng.random(length) >= stay
    fresh[0] = True
    return rng.integers(0, v, length)[np.maximum.accumulate(np.where(fresh, np.arange(length), 0))]


def test_a_chain_has_its_closed_form_and_context():
    x, v, stay, distances = markov(300_000, 0.6), 4, 0.6, np.arange(1, 25)
    c = token_correlations(x, distances, v)
    expected = stay ** (2.0 * distances) * (1 - 1 / v) / v**3  # C = stay^t (diag(1/v) - 1/v^2)
    assert (np.abs(c.signal - expected) < 5 * c.signal_stderr).all()
    assert np.mean(np.abs(c.signal - expected) / c.signal_stderr) == pytest.approx(0.8, abs=0.5)
    crossing = math.log((1 - 1 / v) / v**3 / c.noise_floor[0] ** 2) / (-2 * math.log(stay))
    assert c.effective_context == pytest.approx(crossing, abs=1)
    assert not c.effective_context_is_bound
    curve = c.effective_context_curve([1e3, 1e4, 1e5])
    np.testing.assert_allclose(np.diff(curve.contexts), math.log(10) / (-2 * math.log(stay)), rtol=0.15)
    prefixes = prefix_contexts(x, [3000, 30_000, 300_000], distances, v)
    whole = c.effective_context_curve([3000, 30_000, 300_000]).contexts
    assert (np.abs(prefixes.contexts - whole) < [3, 2, 1]).all()
    assert prefixes.contexts[-1] == token_correlations(x, distances, v, num_blocks=4).effective_context
    short = token_correlations(x, [1, 2, 3], v)
    assert (short.effective_context, short.effective_context_is_bound) == (3.0, True)


def test_error_bars_cover_repeated_experiments():
    # Correlated text: the multinomial variance would be wrong here.
    repeats = [token_correlations(markov(8000, 0.8, seed), [1, 3], 4) for seed in range(150)]
    for k in range(2):
        for value, stderr in (("signal", "signal_stderr"), ("correlation", "correlation_stderr")):
            spread = np.std([getattr(c, value)[k] for c in repeats])
            assert np.mean([getattr(c, stderr)[k] for c in repeats]) == pytest.approx(spread, rel=0.25)


def test_last_above_interpolates_in_log_t():
    distances = np.array([1, 2, 4, 8])
    assert last_above(distances, np.array([4.0, 3, -1, 5]), np.ones(4)) == (pytest.approx(2 * 2**0.5), False)
    assert last_above(distances, np.array([1.0, 3, 2, 5]), np.ones(4)) == (0.0, False)
    assert last_above(distances, np.array([4.0, 3, 2, 5]), np.ones(4)) == (8.0, True)


def test_the_curve_of_a_power_law_has_z_twice_beta():
    distances = np.arange(1, 400)
    sizes = np.geomspace(1e6, 1e9, 7)
    curve = context_curve(distances, 1e-3 * distances**-2.8, sizes, np.ones((7, 399)) / sizes[:, None])
    assert curve.dynamic_exponent == pytest.approx(2.8, rel=0.01)
    assert not curve.is_bound.any()
    bounded = context_curve(distances[:5], 1e-3 * distances[:5] ** -2.8, sizes, np.ones((7, 5)) / sizes[:, None])
    assert bounded.is_bound.all()
    assert bounded.dynamic_exponent == math.inf


def test_exponents_of_grammars_and_their_intervals():
    # Across levels C~ ~ t^-β with β = ln m / ln s, up to the finite-size factors of the ensemble.
    grammar = Grammar.from_name("v16-m4-s2-L4", rules_seed=1)
    exact = exact_correlation(grammar, [1, 2, 4, 8])
    expected = -np.diff(np.log(exact[:2]))[0] / math.log(2)
    inside = 0
    for seed in range(40):
        c = token_correlations(grammar.sample(20_000, seed, sampling="iid"), [1, 2, 4], 16)
        fit = c.fit(1, 2)
        assert fit.distances.tolist() == [1, 2]
        inside += fit.interval[0] < expected < fit.interval[1]
    assert inside >= 33  # of 40, at 95 %
    assert fit.interval == c.fit(1, 2).interval  # the same seed, the same interval
    assert c.fit(1, 4).exponent == pytest.approx(-np.polyfit(np.log([1, 2, 4]), np.log(exact[:3]), 1)[0], rel=0.2)


def test_the_fit_range_is_chosen_by_the_effective_context():
    c = token_correlations(markov(50_000, 0.5), range(1, 30), 4)
    fit = c.fit()
    assert (fit.t_min, fit.t_max) == (1, int(c.effective_context))
    assert fit.interval[0] <= fit.exponent <= fit.interval[1]


def test_few_blocks_have_no_error_bars_but_a_signal():
    for blocks in (1, 3):
        c = token_correlations(markov(5000, 0.5), [1, 2], 4, num_blocks=blocks)
        assert np.isinf(c.signal_stderr).all()
        assert np.isinf(c.correlation_stderr).all()
        assert (c.signal > 0).all()
        assert c.fit(1, 2).interval == (-math.inf, math.inf)


def test_every_kind_of_input_gives_the_same(tmp_path):
    grammar = Grammar.from_name("v8-m2-s2-L3")
    rows = grammar.sample(640, sampling="iid")
    expected = token_correlations(rows, [1, 3], 8).correlation
    for tokens in (
        rows.tolist(),
        torch.as_tensor(rows),
        list(rows),
        rows.astype(np.int64),
        list(torch.as_tensor(rows)),
    ):
        np.testing.assert_array_equal(token_correlations(tokens, [1, 3]).correlation, expected)
    fixed = datasets.Features({"input_ids": datasets.List(datasets.Value("uint8"), length=8)})
    table = {"input_ids": rows.tolist()}
    for dataset in (datasets.Dataset.from_dict(table), datasets.Dataset.from_dict(table, features=fixed)):
        np.testing.assert_array_equal(token_correlations(dataset, [1, 3]).correlation, expected)
        streamed = token_correlations(dataset.to_iterable_dataset(), [1, 3], 8, anchor="last")
        np.testing.assert_allclose(streamed.correlation, expected, rtol=1e-12)
    documents = [row[: 3 + k % 5] for k, row in enumerate(rows)]
    ragged = token_correlations(documents, [1, 3], 8).correlation
    table = {"input_ids": [document.tolist() for document in documents]}
    for tokens in (iter(documents), datasets.Dataset.from_dict(table), tuple(documents)):
        np.testing.assert_allclose(token_correlations(tokens, [1, 3], 8).correlation, ragged, rtol=1e-12)


def test_shards_counted_apart_give_the_correlations_of_the_whole():
    rows, distances = Grammar.from_name("v8-m4-s2-L3").sample(3200, sampling="iid"), (1, 2, 5)
    settings = {"anchor": "last", "block_length": 800}
    shards = [
        PairCounts(distances, 8, start=8 * at, **settings).add(rows[at : at + 800]) for at in range(0, 3200, 800)
    ]
    merged = TokenCorrelations(shards[2] + shards[0] + shards[3] + shards[1])
    assert merged.to_dict() == token_correlations(rows, distances, 8).to_dict()


def test_a_large_vocabulary_in_a_second():
    rng = np.random.default_rng(0)
    tokens = np.minimum(rng.zipf(1.5, 8000), 50_257) - 1
    tokens[1::2] = tokens[::2]  # every pair of places repeats itself
    c = token_correlations(tokens, [1, 2], 50_257)
    assert c.counts.is_sparse
    small = np.unique(tokens, return_inverse=True)[1]
    _, connected = plain(small, 1, small.max() + 1)
    assert c.correlation[0] == pytest.approx(np.linalg.norm(connected) / 50_257, rel=1e-9)
    assert c.operator_norm[0] == pytest.approx(np.linalg.norm(connected, 2), rel=1e-6)
    assert c.effective_context < 2


def test_lanczos_agrees_with_the_singular_values():
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.full(700 * 600, 0.01)).reshape(700, 600)
    dense = PairLaw.of(joint)
    sparse = PairLaw.of(joint[np.nonzero(joint)], pattern=np.nonzero(joint), shape=joint.shape)
    expected = np.linalg.norm(dense.connected, 2)
    assert dense.operator_norm() == pytest.approx(expected, rel=1e-6)
    assert sparse.operator_norm() == pytest.approx(expected, rel=1e-6)
    independent = PairLaw.of(np.full((600, 600), 1 / 600**2))
    assert independent.operator_norm() < 1e-15


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: token_correlations([], [1]), "the text is empty"),
        (lambda: token_correlations(np.zeros((0, 4), int), [1]), "the text is empty"),
        (lambda: token_correlations(np.zeros((3, 0), int), [1]), "the text is empty"),
        (lambda: token_correlations([[], [], []], [1]), "the text is empty"),
        (lambda: token_correlations([[], [1]], [1]), "longest document has 1 tokens"),
        (lambda: token_correlations(iter([]), [1], 4), "the text is empty"),
        (lambda: token_correlations(iter([[1, 2]]), [1]), "vocab_size=None"),
        (
            lambda: token_correlations([0, 1, 0], [1, 3]),
            r"distances=\[1, 3\] reach beyond the text: rows have 3 tokens",
        ),
        (lambda: token_correlations([[0, 1], [1, 0, 1]], [3]), "distance=3 has no pairs: the longest document has 3"),
        (lambda: token_correlations([2] * 50, [1]), "one distinct id"),
        (lambda: token_correlations([[2, 1], [2, 0]], [1]), "one distinct id"),
        (lambda: token_correlations([0, 1] * 9, [1], vocab_size=1), "tokens holds 1"),
        (lambda: token_correlations([0.5, 1.0], [1]), "dtype float64"),
        (lambda: token_correlations([0, 1] * 9, [1], num_left=3), "num_left=3 without left"),
        (lambda: token_correlations([[0, 1], [1]], [1], left=[[0, 1], [1]]), "left ids need arrays"),
        (lambda: token_correlations([[0, 1], [1, 0]], [1], left=[[-1, 0], [-1, 0]]), "left holds -1 wherever"),
        (lambda: token_correlations([[0, 1], [1, 0]], [1], population=1), "population=1 is out of range"),
        (lambda: token_correlations([0, 1] * 9, [1], population=99), "needs anchor='last'"),
        (lambda: token_correlations([0, 1, 1] * 9, [1, 2]).fit(1, 1), "t_min=1, t_max=1"),
        (lambda: token_correlations([0, 1, 1] * 90, [1, 2]).fit(1, 2, confidence=1), "confidence=1"),
        (lambda: token_correlations([0, 1, 1] * 9, [1]).effective_context_curve([]), r"sizes=\[\]"),
        (lambda: token_correlations([0, 1, 1] * 9, [1]).effective_context_curve([0]), r"sizes=\[0.0\]"),
        (lambda: prefix_contexts(np.array([0, 1, 1]), [4], [1]), "sizes=4 is out of range"),
        (
            lambda: token_correlations(datasets.Dataset.from_dict({"text": ["a"]}), [1]),
            "column='input_ids' is missing: the dataset has text",
        ),
    ],
)
def test_bad_input_of_correlations_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_nothing_is_nan():
    for tokens in ([0, 1, 0], [0, 1, 0, 0, 1], [0, 1, 1] * 40, [[0, 1], [1, 0]], [[0, 1], [1, 0, 1], []]):
        c = token_correlations(tokens, [1])
        arrays = [*c.to_dict().values(), c.operator_norm.tolist(), c.mutual_information.tolist()]
        assert not np.isnan(np.array(arrays, dtype=float)).any()
        assert not math.isnan(c.effective_context)
        assert isinstance(c, TokenCorrelations)
