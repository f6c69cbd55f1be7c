"""Which ensembles the closed forms are of: the root's own numbers, others refused, levels of any size."""

import math
from itertools import pairwise

import numpy as np
import pytest

from rhm_hf import theory
from rhm_hf.diffusion import EpsilonProcess, GaussianDiffusion, MaskedDiffusion, UniformDiffusion, forward_backward
from rhm_hf.grammar import Grammar, GrammarParameters, LayeredParameters
from rhm_hf.grammar.registry import parameters_from_name


LARGE = GrammarParameters.from_name("v32-m8-s2-L3")
SMALL = GrammarParameters.from_name("v16-m4-s2-L4")


def test_local_slopes_reach_their_asymptote_without_cancellation():
    slopes = [theory.learning_exponent(LARGE, level=level) for level in (26, 60, 10**3, 10**30)]
    assert slopes == pytest.approx([1 / 3] * 4, rel=3e-2)
    assert all(a <= b + 1e-15 for a, b in pairwise(slopes))
    factor = 31 * 8 / 1023  # of N_l - N_inf from level to level: just below f
    assert slopes[-1] == pytest.approx(-math.log(factor) / (2 * math.log(8)))
    for level in range(6):  # against differences of the plateaus, where these have digits left
        excess = [theory.plateau(LARGE, level + k) - theory.limiting_loss(LARGE) for k in range(2)]
        assert theory.learning_exponent(LARGE, level=level) == pytest.approx(
            math.log(excess[0] / excess[1]) / (2 * math.log(8)), rel=1e-9
        )
    assert theory.learning_exponent(GrammarParameters.from_name("v4-m4-s2-L3"), level=2) == 0


def test_plateaus_of_any_level_are_answered_at_once():
    assert theory.plateau(LARGE, 10**30) == theory.limiting_loss(LARGE)
    candidates = 32.0
    for level in range(1, 9):
        candidates = 1 + 31 * (8 * candidates - 1) / 1023
        assert theory.plateau(LARGE, level) == pytest.approx(math.log(candidates), rel=1e-14)


@pytest.mark.parametrize("name", ["v4-m2-s2-L1-c2", "v8-m2-s2-L1-c3", "v4-m2-s2-L2-c7", "v3-m2-s3-L1-c2"])
def test_the_root_has_classes_of_its_own(name):
    """The joint law of the outer children of the root's rules, averaged over ways to choose these."""
    squares = []
    for seed in range(300):
        p = GrammarParameters.from_name(name, rules_seed=seed)
        rules = Grammar.from_name(p.name, rules_seed=p.rules_seed).rules[0]
        joint = np.zeros((p.vocab_size, p.vocab_size))
        np.add.at(joint, (rules[..., 0].ravel(), rules[..., -1].ravel()), 1 / rules[..., 0].size)
        squares.append(((joint - 1 / p.vocab_size**2) ** 2).mean())
    predicted = theory.token_correlation(p, p.depth) ** 2 * p.num_synonyms ** (2 * (p.depth - 1))
    if p.tuple_size == 2:  # every pair at most once: the same for all grammars
        assert np.mean(squares) == pytest.approx(predicted, rel=1e-9)
    else:  # draws without replacement, of which several may share a pair
        tuples = p.vocab_size**p.tuple_size
        exact = predicted * tuples / (tuples - 1) * (1 - p.vocab_size**-2)
        assert np.mean(squares) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("name", ["v8-m4-s2-L3", "v8-m4-s2-L3-c3", "v6-m4-s3-L2-c20"])
def test_the_n_gram_of_whole_sentences_needs_all_of_them(name):
    p = GrammarParameters.from_name(name)
    assert theory.sample_complexity(p, p.depth, task="ngram") == p.num_sentences
    assert theory.sample_complexity(p, task="classification", architecture="shallow") == p.num_sentences
    for level in range(1, p.depth + 1):  # signal meets noise at every level, the root's too
        num = theory.sample_complexity(p, level)
        assert theory.token_correlation(p, level) == pytest.approx(theory.correlation_noise(p, num))
        if level > 1:
            assert theory.clustering_complexity(p, level) == num
    uniform = theory.correlation_of_rule_laws(p, [1 / p.num_synonyms] * p.depth)
    assert uniform == pytest.approx(theory.token_correlation(p, p.depth))


def test_the_last_plateau_counts_classes():
    few = GrammarParameters.from_name("v16-m4-s2-L3-c2")
    candidates = 2.0
    for _ in range(3):
        candidates = 1 + 15 * (4 * candidates - 1) / 255
    assert theory.plateau(few, 3) == pytest.approx(math.log(candidates))
    assert theory.plateau(few, 3) < theory.plateau(SMALL, 3)
    assert [theory.plateau(few, k) for k in range(3)] == [theory.plateau(SMALL, k) for k in range(3)]
    with pytest.raises(ValueError, match="above the root"):
        theory.plateau(few, 4)


PLAIN_ONLY = {
    "sample_complexity": (1,),
    "clustering_complexity": (2,),
    "plateau": (1,),
    "limiting_loss": (),
    "learning_exponent": (),
    "tuple_correlation": (2,),
    "effective_context": (100,),
    "denoising_map": (),
    "has_denoising_transition": (),
    "denoising_transition": (),
    "recovery_threshold": (),
    "recovery_flow": (),
}
OTHERS = ("v16-m4-s2-L3-zipf1.0", "v4-m4-s2-L3-uncorrelated", "v16-m4-s2-L3-cut2", "v16-m4-s2-L3-sparse1")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("function", PLAIN_ONLY)
def test_other_ensembles_get_no_number_of_the_plain_one(function, name):
    with pytest.raises(ValueError, match=f"theory.{function}: {name} has"):
        getattr(theory, function)(parameters_from_name(name), *PLAIN_ONLY[function])


def test_formulas_that_take_in_more_say_which():
    zipf, sparse = (parameters_from_name(name) for name in (OTHERS[0], OTHERS[3]))
    law = zipf.rule_law(1)
    assert theory.correlation_exponent(zipf) == pytest.approx(-math.log2(law @ law))
    assert theory.correlation_exponent(GrammarParameters.from_name("v16-m4-s2-L3-zipf1.0@1")) == 2
    ratio = theory.token_correlation(zipf, 3) / theory.token_correlation(zipf, 2)
    assert ratio == pytest.approx(law @ law, rel=1e-9)
    assert theory.sparse_sample_complexity(sparse) == 4 * 16 * 4**3
    for name in OTHERS[1:]:
        with pytest.raises(ValueError, match=r"theory\.token_correlation"):
            theory.token_correlation(parameters_from_name(name), 1)
    with pytest.raises(ValueError, match=r"\(B\)"):
        theory.sparse_sample_complexity(parameters_from_name("v16-m4-s2-L3-sparse1b"))
    with pytest.raises(ValueError, match="no single v, m and s"):
        theory.plateau(LayeredParameters.from_name("layered-c3-v4.5-m2.2-s2.2"), 1)


@pytest.mark.parametrize(
    "name", ["v32-m8-s2-L3", "v16-m4-s2-L3", "v8-m8-s2-L2", "v16-m1-s2-L2", "v8-m2-s3-L2", "v16-m2-s2-L2"]
)
def test_a_transition_asks_for_slopes_below_one_at_both_ends(name):
    """Against the map itself, iterated from a belief near each end."""
    p = GrammarParameters.from_name(name)
    belief, attract = theory.denoising_map(p), []
    for anchor, start in ((1.0, 1 - 1e-6), (1 / p.vocab_size, (1 + 1e-6) / p.vocab_size)):
        moved = belief(belief(belief(start)))
        attract.append(abs(moved - anchor) < abs(start - anchor))
    assert theory.has_denoising_transition(p) == all(attract)
    if all(attract):
        threshold, exponent = theory.denoising_transition(p)
        fixed = 1 - threshold * (1 - 1 / p.vocab_size)
        assert belief(fixed) == pytest.approx(fixed, abs=1e-9)
        assert 0 < threshold < 1
        assert exponent > 0
    else:
        with pytest.raises(ValueError, match="no denoising transition"):
            theory.denoising_transition(p)


@pytest.mark.parametrize(("noise", "expected"), [("epsilon", 0.7309), ("masked", 0.2701), ("uniform", 0.1539)])
def test_thresholds_by_population_dynamics(noise, expected):
    """(32,8,2), averages over 20 sequences of rules: .7309 +- .0005, .2701 +- .0013, .1539 +- .0007."""
    found = theory.recovery_threshold(LARGE, noise, num_sequences=3, population=32, tolerance=2e-3)
    assert found.noise == pytest.approx(expected, abs=0.015)
    assert len(found.values) == 3
    assert found.stderr < 0.01
    again = theory.recovery_threshold(LARGE, noise, num_sequences=1, population=32, tolerance=2e-3)
    assert again.values[0] == found.values[0]
    assert again.stderr == math.inf


@pytest.mark.parametrize(
    ("noise", "process", "share"),
    [
        ("masked", MaskedDiffusion, 0.4),
        ("uniform", UniformDiffusion, 0.3),
        ("gaussian", GaussianDiffusion, 0.3),
        ("epsilon", EpsilonProcess, 0.7),
    ],
)
def test_the_flow_is_the_survival_of_the_class_of_trees_that_can_be_drawn(noise, process, share):
    """Means over grammars and over sequences of rules, of which there are enough for a hundredth."""
    plain = GrammarParameters.from_name("v8-m2-s2-L1")
    flow = theory.recovery_flow(plain, noise, [share], 2, num_sequences=200, population=64)
    assert flow.shape == (1, 200, 3)
    for level in (1, 2):
        grammars = [Grammar.from_name(f"v8-m2-s2-L{level}", rules_seed=seed) for seed in range(40)]
        drawn = [forward_backward(grammar, process(8), share, 512).survival[level] for grammar in grammars]
        errors = math.hypot(np.std(drawn) / 40**0.5, flow[0, :, level].std() / 200**0.5, 0.5 / (40 * 512) ** 0.5)
        assert np.mean(drawn) == pytest.approx(flow[0, :, level].mean(), abs=4 * errors)


def test_the_flow_of_masks_after_one_level_by_enumeration():
    """Of grammars whose 8 of 16 pairs are drawn: what one token, or none, says of the symbol above."""
    v, m, share = 4, 2, 0.3
    rng, exact = np.random.default_rng(0), []
    for _ in range(4000):
        pairs = rng.choice(v * v, v * m, replace=False)
        rules, symbols = np.stack(np.unravel_index(pairs, (v, v)), -1), np.arange(v * m) // m
        one = np.mean(
            [(symbols[rules[:, side] == rules[k, side]] == symbols[k]).mean() for side in (0, 1) for k in range(v * m)]
        )
        exact.append((1 - share) ** 2 + 2 * share * (1 - share) * one + share**2 / v)
    plain = GrammarParameters(v, m, 2, 1)
    flow = theory.recovery_flow(plain, "masked", [0.0, share, 1.0], 1, num_sequences=400, population=64)
    assert flow[0].tolist() == [[1.0, 1.0]] * 400
    assert flow[2] == pytest.approx(1 / v)
    assert flow[1, :, 0].mean() == pytest.approx(1 - share + share / v, abs=0.01)
    errors = math.hypot(np.std(exact) / 4000**0.5, flow[1, :, 1].std() / 400**0.5)
    assert flow[1, :, 1].mean() == pytest.approx(np.mean(exact), abs=4 * errors)


def test_on_both_sides_of_the_threshold_the_flow_parts():
    """(32,8,2): a tenth below it the root of 60 levels is known, a tenth above it lost."""
    found = theory.recovery_threshold(LARGE, "gaussian", num_sequences=2, population=32)
    assert found.noise == pytest.approx(0.127, abs=0.01)
    shares = found.noise * np.array([0.9, 1.1])
    below, above = theory.recovery_flow(LARGE, "gaussian", shares.tolist(), 60, num_sequences=2, population=32)
    assert (below[:, -1] > 0.9).all()
    assert (above[:, -1] < 0.1).all()
    with pytest.raises(ValueError, match=r"shares\[1\]=1.5"):
        theory.recovery_flow(LARGE, "masked", [0.1, 1.5])
