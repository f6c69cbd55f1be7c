"""How often the intervals that the package reports hold the truth: `python -m benchmarks.coverage [--repeats 200]`.

Those of statistics and curves are studied here, those of metrics and diffusion in `coverage_of_models.py`. A test
(`tests/test_coverage_study.py`) finds every name with `stderr` or `interval` in the results of public functions and
asks for its row. Every study draws data whose truth is known, asks for the interval and counts. Where a result has a
standard error only, the interval is mean -/+ t errors, with the degrees of freedom that its documentation gives.
Intervals that hold the choice of range, or answer with one of few places, are to cover at least what they say.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch

from benchmarks import coverage_of_models
from rhm_hf import Grammar, GrammarParameters
from rhm_hf.bench.levels import mean_interval
from rhm_hf.metrics.context_loss import fit_decay, saturation
from rhm_hf.statistics import (
    Accumulator,
    Agreement,
    TokenCorrelations,
    compare_correlations,
    envelope_exponent,
    exact_correlation,
    fit_collapse,
    joint_law,
    local_exponents,
    mean_half_way_points,
    prefix_contexts,
    synonym_exponent,
    token_correlations,
)
from rhm_hf.statistics.intervals import student
from rhm_hf.statistics.pairs.decay import last_above


GRAMMAR = "v8-m2-s2-L3"
DISTANCES = range(1, 8)
LENGTHS = np.array([0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64])
SIZES = 2.0 ** np.arange(4, 21)
Found = Iterator[tuple[str, float | np.ndarray, float | np.ndarray, float | np.ndarray]]  # name, low, truth, high


def means(seed: int) -> Found:
    """Means per item of rows with unequal numbers of items."""
    rng = np.random.default_rng(seed)
    for rows in (16, 256):
        counts = rng.integers(1, 9, rows)
        sums = counts * (1 + 0.5 * rng.standard_exponential(rows)) + np.sqrt(counts) * rng.normal(size=rows)
        accumulator = Accumulator()
        accumulator.add(torch.from_numpy(sums), torch.from_numpy(counts.astype(float)))
        reach = student(0.95, rows - 1) * float(accumulator.stderr)
        mean = float(accumulator.mean)
        yield f"`Accumulator.stderr` (metrics, KL), {rows} rows", mean - reach, 1.5, mean + reach
    for members in (4, 8):
        low, high = mean_interval(0.4 + 0.1 * rng.standard_gamma(4, members))
        yield f"`mean_interval` of the bench, {members} members", low, 0.8, high


def markov(length: int, stay: float, rng: np.random.Generator, v: int = 4) -> np.ndarray:
    """A chain that keeps its symbol with probability `stay`, else draws a uniform one: C~ ~ stay^t exactly."""
    fresh = rng.random(length) >= stay
    fresh[0] = True
    return rng.integers(0, v, length)[np.maximum.accumulate(np.where(fresh, np.arange(length), 0))]


def signals(seed: int) -> Found:
    """U_t, C~, t* and beta of rows and of a text whose tokens depend on each other."""
    grammar = Grammar.from_name(GRAMMAR)
    for sampling, num in (("iid", 2000), ("unique", 512)):
        population = grammar.num_sentences if sampling == "unique" else None
        found = token_correlations(
            grammar.sample(num, seed=seed, sampling=sampling), DISTANCES, 8, population=population
        )
        exact = exact_correlation(grammar, DISTANCES) ** 2
        which = f"{num} sentences, {sampling}"
        yield from _of_signals(found, exact, which)
        reach = student(0.95, 30) * found.correlation_stderr
        low, high = found.correlation - reach, found.correlation + reach
        yield f"`correlation_stderr`, {which}", low, _mean_correlation(num, sampling), high
        if sampling == "iid":
            sizes = np.array([500, 4000])
            low, high = found.effective_context_curve(sizes).intervals.T
            noise = found.noise_floor**2 * num / sizes[:, None]
            truth = np.array([last_above(found.distances, exact, row)[0] for row in noise])
            yield "`effective_context_curve().intervals` (at least)", low, truth, high
            fit = found.fit(1, 2)
            beta = -math.log(exact[1] / exact[0]) / (2 * math.log(2))
            yield f"`fit().statistical_interval`, {num} sentences", *_around(fit.statistical_interval, beta)
            yield "`fit().interval` (at least)", *_around(fit.interval, beta)
    distances = np.arange(1, 13)
    text = token_correlations(markov(20_000, 0.7, np.random.default_rng(seed)), distances, 4)
    exact = 0.7 ** (2.0 * distances) * 0.75 / 64
    yield from _of_signals(text, exact, "text of 20 000")
    tokens = markov(20_000, 0.7, np.random.default_rng(seed))
    parts = prefix_contexts(tokens, [5000, 20_000], distances, 4)
    floors = [token_correlations(tokens[:size], distances, 4, num_blocks=4).noise_floor for size in (5000, 20_000)]
    truth = np.array([last_above(distances, exact, floor**2)[0] for floor in floors])
    yield "`prefix_contexts().intervals` (at least)", parts.intervals[:, 0], truth, parts.intervals[:, 1]


def _of_signals(found: TokenCorrelations, exact: np.ndarray, which: str) -> Found:
    low, high = found.signal_interval().T
    yield f"`signal_interval`, {which}", low, exact, high
    reach = student(0.95, 30) * found.signal_stderr
    yield f"`signal` -/+ t `signal_stderr` (no interval), {which}", found.signal - reach, exact, found.signal + reach
    truth = last_above(found.distances, exact, found.noise_floor**2)[0]
    yield f"`effective_context_interval` (at least), {which}", *_around(found.effective_context_interval(), truth)


@cache
def _mean_correlation(num: int, sampling: str) -> np.ndarray:
    """What C~, noise included, is a measurement of: its own mean."""
    grammar, options = Grammar.from_name(GRAMMAR), {"population": None if sampling == "iid" else 1024, "num_blocks": 4}
    seeds = range(10**6, 10**6 + coverage_of_models.MANY // 100)
    rows = (grammar.sample(num, seed=seed, sampling=sampling) for seed in seeds)
    return np.mean([token_correlations(x, DISTANCES, 8, **options).correlation for x in rows], 0)


def agreements(seed: int) -> Found:
    """D_t of one law, of two, and how far two chains agree."""
    grammars = [Grammar.from_name(GRAMMAR, rules_seed=k) for k in range(2)]
    for name, other in (("one law", 0), ("two laws", 1)):
        texts = [
            token_correlations(g.sample(1000, seed=2 * seed + k, sampling="iid"), (1, 2, 4), 8)
            for k, g in enumerate((grammars[0], grammars[other]))
        ]
        laws = [[joint_law(g, 7 - t, 7) for t in (1, 2, 4)] for g in (grammars[0], grammars[other])]
        truth = np.array([((_centred(a) - _centred(b)) ** 2).sum() / 64 for a, b in zip(*laws, strict=True)])
        yield from _of_differences(compare_correlations(*texts), truth, name)
    rows = [grammars[0].sample(512, seed=2 * seed + k, sampling="unique") for k in range(2)]
    found = compare_correlations(*(token_correlations(x, (1, 2, 4), 8, population=1024) for x in rows))
    yield from _of_differences(found, np.zeros(3), "one law, unique")
    rng = np.random.default_rng(seed)
    corpus, generated = (token_correlations(markov(40_000, s, rng), range(1, 9), 4) for s in (0.6, 0.55))
    found = compare_correlations(generated, corpus)
    relative = (1 - (0.55 / 0.6) ** np.arange(1, 9)) ** 2
    truth = min(int(np.argmax(relative > 0.1)), found.t_res)
    yield "`t_agree_interval` (at least), two chains", found.t_agree_interval[0], truth, found.t_agree_interval[1]


def _of_differences(found: Agreement, truth: np.ndarray, which: str) -> Found:
    low, high = found.difference_interval.T
    yield f"`difference_interval`, {which}", low, truth, high
    low, high = (found.difference + sign * student(0.95, 60) * found.difference_stderr for sign in (-1, 1))
    yield f"`difference` -/+ t `difference_stderr` (no interval), {which}", low, truth, high


def _centred(law: np.ndarray) -> np.ndarray:
    return law - np.outer(law.sum(1), law.sum(0))


def _around(interval: tuple[float, float], truth: float) -> tuple[float, float, float]:
    return interval[0], truth, interval[1]


def contexts(seed: int) -> Found:
    """n_sat and gamma of losses with noise that grows with the difference of lengths."""
    for rows, noise in ((8, 0.05), (64, 0.2)):
        rng = np.random.default_rng(seed)
        steps = noise * rng.normal(size=(rows, len(LENGTHS)))[:, ::-1].cumsum(1)[:, ::-1]
        sums = torch.from_numpy(1 + 2 * np.exp(-LENGTHS / 3.2) + steps + rng.normal(size=(rows, 1)))
        counts = torch.ones(rows, dtype=torch.float64)
        for name, relative, tolerance, truth in (("n_sat", False, 0.01, 23), ("n_sat_relative", True, 0.05, 11)):
            found = saturation(LENGTHS, sums, counts, rows, tolerance, relative, seed)
            yield f"`{name}_interval`, {rows} documents", *_around(found.interval, truth)
    for rows in (16, 64):
        rng = np.random.default_rng(seed)
        counts = rng.integers(1, 9, rows).astype(float)
        losses = 1.2 + 0.8 * LENGTHS[1:] ** -0.7 + rng.normal(size=(rows, 1))
        losses = losses + 0.05 * rng.normal(size=losses.shape)
        found = fit_decay(LENGTHS[1:], torch.from_numpy(losses * counts[:, None]), torch.from_numpy(counts))
        yield f"`gamma_statistical_interval`, {rows} documents", *_around(found["gamma_statistical_interval"], 0.7)
        yield f"`gamma_interval` (at least), {rows} documents", *_around(found["gamma_interval"], 0.7)
        yield f"`loss_inf_interval` (at least), {rows} documents", *_around(found["loss_inf_interval"], 1.2)


def curves(seed: int) -> Found:
    """What is read off learning curves of few grammars."""
    rng, plateaus, truth = np.random.default_rng(seed), np.array([2.7, 1.4, 0.6, 0.3]), np.array([200.0, 4000.0, 1e5])
    fine = 2.0 ** np.arange(4, 21, 0.25)
    for grammars in (3, 4, 8):
        points = truth * np.exp(0.3 * rng.normal(size=(grammars, 3)))
        places = (np.log(fine) - np.log(points)[..., None]) / np.log(4)
        losses = plateaus[0] + (np.diff(plateaus)[:, None] * np.clip(places + 0.5, 0, 1)).sum(-2)
        low, high = mean_half_way_points(fine, losses, plateaus).interval.T
        yield f"half-way points, {grammars} grammars", low, truth, high
    for grammars in (4, 8):
        noise = 0.2 * rng.normal(size=(grammars, 1)) * np.linspace(-1, 1, len(SIZES))
        losses = 0.4 + SIZES**-0.3 * (1 + noise + 0.1 * rng.normal(size=(grammars, len(SIZES))))
        fit = envelope_exponent(SIZES, losses, 0.4)
        yield f"`envelope_exponent`, statistical, {grammars} grammars", *_around(fit.statistical_interval, 0.3)
        yield f"`envelope_exponent().interval` (at least), {grammars} grammars", *_around(fit.interval, 0.3)
        low, high = local_exponents(SIZES, losses, 0.4, window=4).intervals.T
        yield f"`local_exponents`, {grammars} grammars", low, np.full(len(low), 0.3), high
    chosen = [GrammarParameters(16, m, 2, 3) for m in (2, 4, 8)]
    scattered = [7.0 * p.num_synonyms**3 * np.exp(0.4 * rng.normal(size=4)) for p in chosen]
    fit = synonym_exponent(chosen, scattered)
    yield "`synonym_exponent`, statistical, 3 x 4 grammars", *_around(fit.statistical_interval, 3.0)
    yield "`synonym_exponent().interval` (at least)", *_around(fit.interval, 3.0)


def collapses(seed: int) -> Found:
    """z and its amplitude of three curves with 4 or 8 replicates each."""
    rng, scales = np.random.default_rng(seed), np.array([1.0, 2.0, 4.0])
    for replicates in (4, 8):
        drawn = []
        for t in scales:
            x = np.geomspace(1, 1e4, 14) * t
            y = t**-0.5 * ((x / t**2) ** -0.3 + 0.2)
            drawn.append((x, y * np.exp(0.05 * rng.normal(size=(replicates, 14)))))
        fit = fit_collapse(drawn, scales, (-2.0, 6.0), grid=33)
        yield f"`fit_collapse().x_interval` (at least), {replicates} replicates", *_around(fit.x_interval, 2.0)
        yield f"`fit_collapse().y_interval` (at least), {replicates} replicates", *_around(fit.y_interval, -0.5)


STUDIES: dict[str, tuple[Callable[[int], Found], float]] = coverage_of_models.STUDIES | {  # and its share of repeats
    "means": (means, 10),
    "curves": (curves, 2),
    "contexts": (contexts, 1),
    "signals": (signals, 1),
    "agreements": (agreements, 0.5),
    "collapses": (collapses, 0.3),
}


def study(name: str, repeats: int) -> dict[str, tuple[int, int]]:
    """How often each interval of a study covers, and how often it was asked."""
    found: dict[str, list[int]] = {}
    draw, share = STUDIES[name]
    for seed in range(max(1, round(share * repeats))):
        for label, low, truth, high in draw(seed):
            known = np.isfinite(truth)
            covered = (np.asarray(low) <= truth) & (truth <= np.asarray(high)) & known
            tally = found.setdefault(label, [0, 0])
            tally[0] += int(np.sum(covered))
            tally[1] += int(np.sum(known))
    return {label: (covered, asked) for label, (covered, asked) in found.items() if asked}


def main(argv: list[str] | None = None) -> None:
    """Prints nominal and measured coverage as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print("| interval | nominal | measured | asked |\n|---|---|---|---|")
    for name in args.studies:
        for label, (covered, asked) in study(name, args.repeats).items():
            print(f"| {label} | 95 % | {100 * covered / asked:.1f} % | {asked} |", flush=True)


if __name__ == "__main__":
    main()
