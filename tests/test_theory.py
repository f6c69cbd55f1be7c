"""The closed forms against published numbers, each other, and brute force where that is small."""

import math
from itertools import pairwise

import numpy as np
import pytest

from rhm_hf import theory
from rhm_hf.grammar import Grammar, GrammarParameters
from rhm_hf.grammar.registry import parameters_from_name


LARGE = GrammarParameters.from_name("v32-m8-s2-L3")
SMALL = GrammarParameters.from_name("v16-m4-s2-L4")


def test_published_sample_complexities():
    assert [theory.sample_complexity(LARGE, level) for level in (1, 2, 3)] == pytest.approx(
        [341, 21_845, 1.40e6], rel=2e-3
    )
    assert [theory.sample_complexity(SMALL, level) for level in (1, 2, 3, 4)] == pytest.approx(
        [85, 1365, 21_845, 3.5e5], rel=5e-3
    )
    # The comparison point of classification: v = n_c = m = 8, s = L = 2.
    point = GrammarParameters.from_name("v8-m8-s2-L2")
    assert theory.sample_complexity(point, task="classification") == 512
    assert theory.sample_complexity(point, task="classification", architecture="shallow") == 4096


def test_architectures_and_tasks_are_cases_of_the_general_formula():
    deep = GrammarParameters.from_name("v16-m4-s2-L5")
    for level in (2, 3, 4, 5):
        transformer = theory.sample_complexity(deep, level)
        assert theory.clustering_complexity(deep, level, 1, 0) == pytest.approx(transformer)
        cnn = theory.sample_complexity(deep, level, architecture="cnn")
        assert theory.clustering_complexity(deep, level, level - 1, 0) == pytest.approx(cnn)
        latent = theory.sample_complexity(deep, level, task="latent_prediction")
        fraction = theory.grammatical_fraction(deep)
        assert theory.clustering_complexity(deep, level, level - 1, level - 2) == pytest.approx(
            latent / (1 - fraction)
        )
    assert theory.sample_complexity(deep, 3, task="masked") == 16 * 4**4
    assert theory.sample_complexity(deep, 1, task="masked") == 16 * 4
    assert theory.sample_complexity(deep, 3, task="ngram") == 16 * 4**7
    assert theory.sample_complexity(deep, 3, task="hierarchical_ngram") == 16 * 4**3


def test_sparse_sample_complexities():
    """2404.10727: sharing weights over positions makes the cost of sparsity independent of depth."""
    point = GrammarParameters.from_name("v10-m5-s2-L3-c10")
    assert theory.sparse_sample_complexity(point, 0) == theory.sample_complexity(point, task="classification") == 1250
    assert theory.sparse_sample_complexity(point, 3) == 16 * 1250
    assert theory.sparse_sample_complexity(parameters_from_name("v10-m5-s2-L3-c10-sparse3")) == 16 * 1250
    assert theory.sparse_sample_complexity(point) == 1250
    assert theory.sparse_sample_complexity(point, 3, "cnn", constant=2.5) == 2.5 * 16 * 1250
    assert theory.sparse_sample_complexity(point, 3, "lcn") == pytest.approx(2**1.5 * 4**3 * 1250)
    assert theory.sparse_sample_complexity(point, 0, "lcn", constant=0.5) == pytest.approx(0.5 * 2**1.5 * 1250)
    deeper = GrammarParameters.from_name("v10-m5-s2-L4-c10")
    for architecture, factor in (("cnn", 5), ("lcn", 2**0.5 * 3 * 5)):  # of one more level, at s0 = 2
        ratio = theory.sparse_sample_complexity(deeper, 2, architecture) / theory.sparse_sample_complexity(
            point, 2, architecture
        )
        assert ratio == pytest.approx(factor)


def test_published_plateaus_and_exponents():
    assert [theory.plateau(LARGE, level) for level in range(4)] == pytest.approx(
        [3.466, 2.167, 1.127, 0.541], abs=1e-3
    )
    assert theory.learning_exponent(LARGE) == pytest.approx(1 / 3)
    assert theory.learning_exponent(SMALL) == pytest.approx(1 / 2)
    assert theory.learning_exponent(LARGE, "cnn") == pytest.approx(2 / 3)
    slopes = [theory.learning_exponent(LARGE, level=level) for level in range(4)]
    assert slopes == pytest.approx([0.12, 0.19, 0.26, 0.31], abs=6e-3)
    slopes = [theory.learning_exponent(SMALL, level=level) for level in range(4)]
    assert slopes == pytest.approx([0.23, 0.35, 0.45, 0.50], abs=6e-3)


def test_plateaus_descend_to_their_limit():
    levels = [theory.plateau(LARGE, level) for level in range(60)]
    assert all(a > b for a, b in pairwise(levels[:20]))
    assert levels[-1] == pytest.approx(theory.limiting_loss(LARGE), abs=1e-12)
    full = GrammarParameters.from_name("v4-m4-s2-L3")  # every pair is a rule: context says nothing about the level
    assert theory.plateau(full, 0) == math.log(4)
    assert theory.limiting_loss(full) == pytest.approx(math.log(4))
    assert theory.sample_complexity(full, 1) == math.inf


def test_pair_correlation_is_the_ensemble_average_of_enumerated_grammars():
    # Two tokens under one level-1 node whose symbol is uniform: every rule has probability 1 / (v m).
    parameters = [GrammarParameters(32, 8, 2, 1, rules_seed=seed) for seed in range(100)]
    squares = []
    for p in parameters:
        joint = np.zeros((32, 32))
        np.add.at(joint, tuple(Grammar.from_name(p.name, rules_seed=p.rules_seed).rules[0].reshape(-1, 2).T), 1 / 256)
        squares.append(((joint - np.outer(joint.sum(1), joint.sum(0))) ** 2).mean())
    measured, error = np.mean(squares), np.std(squares) / math.sqrt(len(squares))
    expected = theory.token_correlation(parameters[0], 1) ** 2
    assert measured == pytest.approx(expected, rel=0.1)  # marginals are not exactly uniform
    assert error < 0.02 * measured


def test_uniform_rules_are_a_case_of_any_rule_law():
    for level in (1, 2, 3):
        general = theory.correlation_of_rule_laws(LARGE, [1 / 8] * level)
        assert general == pytest.approx(theory.token_correlation(LARGE, level))


def test_correlations_meet_the_noise_at_the_sample_complexity():
    for level in (1, 2, 3):
        num = theory.sample_complexity(LARGE, level)
        assert theory.token_correlation(LARGE, level) == pytest.approx(theory.correlation_noise(LARGE, num))
        assert theory.effective_context(LARGE, num) == 2**level - 1
        assert theory.effective_context(LARGE, 0.99 * num) == 2 ** (level - 1) - 1
    assert theory.tuple_correlation(LARGE, 2) == pytest.approx(theory.token_correlation(LARGE, 2) / math.sqrt(8))
    assert theory.correlation_noise(LARGE, 100, tuples=True) == pytest.approx(1 / math.sqrt(32**2 * 8 * 100))


def test_exponents_of_correlations_and_languages():
    assert theory.correlation_exponent(LARGE) == 3
    assert theory.dynamic_exponent(LARGE) == 6
    assert theory.language_exponent(0.325, 0.88) == pytest.approx(0.185, abs=1e-3)
    assert theory.language_exponent(0.265, 0.94) == pytest.approx(0.141, abs=1e-3)
    assert theory.zipf_classification_exponent(1) == 0.5


def test_denoising_transition_has_the_published_values():
    threshold, exponent = theory.denoising_transition(LARGE)
    assert threshold == pytest.approx(0.731, abs=1e-3)
    assert exponent == pytest.approx(1.89, abs=5e-3)
    threshold, exponent = theory.denoising_transition(SMALL)
    assert threshold == pytest.approx(0.800, abs=1e-3)
    assert exponent == pytest.approx(2.25, abs=5e-3)
    belief = theory.denoising_map(LARGE)
    assert belief(1) == 1
    assert belief(1 / 32) == pytest.approx(1 / 32)
    assert not theory.has_denoising_transition(GrammarParameters.from_name("v8-m8-s2-L2"))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: theory.sample_complexity(LARGE, 1, task="masked", architecture="cnn"), "one law for all"),
        (lambda: theory.sample_complexity(LARGE, task="classification", architecture="rnn"), "architecture='rnn'"),
        (lambda: theory.sample_complexity(GrammarParameters(32, 8, 2, 12), 12, task="ngram"), r"10\^3699"),
        (lambda: theory.sample_complexity(LARGE, 1.0), "level=1.0"),
        (lambda: theory.correlation_noise(LARGE, 0), "num_sentences=0"),
        (lambda: theory.correlation_noise(LARGE, math.nan), "num_sentences=nan"),
        (lambda: theory.effective_context(LARGE, -1), "num_sentences=-1"),
        (lambda: theory.correlation_of_rule_laws(LARGE, []), "squared_norms holds 0"),
        (lambda: theory.correlation_of_rule_laws(LARGE, [0.5, 0.001]), "cannot be"),
        (lambda: theory.token_correlation(LARGE, 4), "level=4"),
        (lambda: theory.language_exponent(math.nan, 1), "gamma=nan"),
        (lambda: theory.recovery_threshold(LARGE, "pink"), "noise='pink'"),
        (lambda: theory.recovery_threshold(GrammarParameters.from_name("v8-m8-s2-L2")), "no threshold"),
        (lambda: theory.recovery_threshold(GrammarParameters(2**12, 8, 2, 2)), "products a step"),
        (lambda: theory.denoising_map(GrammarParameters(1, 1, 2, 2)), "one symbol"),
        (lambda: theory.sample_complexity(LARGE, 4), "level=4"),
        (lambda: theory.sample_complexity(LARGE), "level=None"),
        (lambda: theory.sample_complexity(LARGE, 1, task="walk"), "task='walk'"),
        (lambda: theory.sample_complexity(LARGE, 1, architecture="rnn"), "architecture='rnn'"),
        (lambda: theory.sample_complexity(LARGE, 1, task="classification"), "leave level out"),
        (lambda: theory.sparse_sample_complexity(LARGE, -1), "sparsity=-1"),
        (lambda: theory.sparse_sample_complexity(LARGE, 1, "mlp"), "architecture='mlp'"),
        (lambda: theory.sparse_sample_complexity(LARGE, 1, constant=0), "constant=0 must be above 0"),
        (lambda: theory.clustering_complexity(LARGE, 2, 2), "latent_level=2"),
        (lambda: theory.plateau(LARGE, -1), "level=-1"),
        (lambda: theory.learning_exponent(GrammarParameters(4, 1, 2, 2)), "num_synonyms=1"),
        (lambda: theory.learning_exponent(LARGE, "mlp"), "architecture='mlp'"),
        (lambda: theory.language_exponent(0.3, 0), "beta=0"),
        (lambda: theory.zipf_classification_exponent(0), "a=0"),
        (lambda: theory.denoising_transition(GrammarParameters.from_name("v8-m8-s2-L2")), "no denoising transition"),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_threshold_near_one_is_no_end_of_the_scale():
    """At few synonyms the belief begins near 1/v: it counts as lost once it has come nearer, not where it began."""
    parameters = Grammar.from_name("v32-m2-s2-L1").parameters
    found = theory.recovery_threshold(parameters, "epsilon", num_sequences=2, population=32)
    assert abs(found.noise - theory.denoising_transition(parameters)[0]) < 1e-3
    # A message may be sure of the wrong symbol; the right one is never ruled out (warnings are errors).
    assert 0.85 < theory.recovery_threshold(parameters, "uniform", num_sequences=2, population=32).noise < 0.97
