"""Exact marginals, plateaus and entropies per position, against enumeration and against one another."""

import numpy as np
import pytest
import torch
from inference_enumeration import MORE, enumerate_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.layered.laws import entropies
from rhm_hf.inference import next_token_probs, node_marginals, plateau, position_entropies


def check(grammar):
    world = enumerate_grammar(grammar)
    d = grammar.sentence_length
    for level in range(grammar.depth + 1):
        marginals = node_marginals(grammar, level)
        np.testing.assert_allclose(marginals.numpy(), world.law(world.probs, level), rtol=0, atol=1e-14)
        block = grammar.block_length(level)
        exact = []
        for i in range(d):
            # H(x_i, left) - H(left), both from the probabilities of the distinct rows
            left = range(i // block * block, i)
            exact.append(entropy(world, [*left, i]) - entropy(world, left))
        values = position_entropies(grammar, level)
        np.testing.assert_allclose(values.numpy(), exact, rtol=0, atol=1e-12)
        assert values.mean().item() == pytest.approx(plateau(grammar, level), abs=1e-12)
    assert plateau(grammar, grammar.depth) * d == pytest.approx(grammar.entropy, abs=1e-12)


def entropy(world, positions):
    if not len(positions):
        return 0.0
    _, place = np.unique(world.tokens[:, list(positions)], axis=0, return_inverse=True)
    p = np.bincount(place.ravel(), world.probs)
    return -(p * np.log(p)).sum()


def test_small_grammars_agree_with_enumeration(small_grammar):
    check(small_grammar)


@pytest.mark.parametrize("name", MORE)
def test_deeper_and_wider_grammars_agree_with_enumeration(name):
    check(MORE[name]())


def test_contexts_in_pieces_give_the_same(monkeypatch):
    monkeypatch.setattr(entropies, "CHUNK_ENTRIES", 1)
    check(MORE["mixed"]())


def test_plateaus_of_the_published_size():
    """Published means over a few grammars at (16,4,2,3); single ones scatter by .05 at the last token.

    The last position average is a constant, (ln 16 + 7 ln 4) / 8 = 1.560; it was published as a sample's 1.554.
    """
    averages, last = [], []
    for seed in range(20):
        grammar = Grammar.from_name("v16-m4-s2-L3", rules_seed=seed)
        rows = [position_entropies(grammar, level) for level in range(4)]
        for level, row in enumerate(rows):
            assert row.mean().item() == pytest.approx(plateau(grammar, level), abs=1e-12)
        averages.append([row.mean().item() for row in rows])
        last.append([row[-1].item() for row in rows])
    np.testing.assert_allclose(np.mean(averages, 0), [2.665, 2.021, 1.698, 1.554], atol=0.02)
    np.testing.assert_allclose(np.mean(last, 0), [2.678, 1.425, 0.526, 0.270], atol=0.06)


def test_entropies_are_what_the_laws_have_on_average():
    """A larger grammar by simulation: mean entropy of next-token laws, within five standard errors."""
    grammar = Grammar.from_name("v32-m8-s2-L3")
    tokens = grammar.sample(4000, sampling="iid", split="evaluation")
    for level in range(4):
        found = torch.special.entr(next_token_probs(grammar, tokens, context_level=level)).sum(2)
        error = found.std(0) / len(tokens) ** 0.5
        assert ((found.mean(0) - position_entropies(grammar, level)).abs() <= 5 * error + 1e-12).all()


def test_plateau_needs_no_enumeration():
    grammar = Grammar.from_name("v32-m8-s2-L10")
    values = [plateau(grammar, level) for level in range(11)]
    assert values == sorted(values, reverse=True)
    assert values[-1] * 1024 == pytest.approx(grammar.entropy, rel=1e-13)


def test_bad_levels_and_too_many_contexts():
    grammar = Grammar.from_name("v32-m8-s2-L10")
    with pytest.raises(ValueError, match="level=10 has too many contexts to enumerate"):
        position_entropies(grammar, 10)
    assert position_entropies(grammar, 1).shape == (1024,)
    for function in (plateau, node_marginals, position_entropies):
        for level in (-1, 11):
            with pytest.raises(ValueError, match=f"level={level} is out of range"):
                function(grammar, level)
        with pytest.raises(ValueError, match=r"level=0\.5 is not an integer"):
            function(grammar, 0.5)
        assert function(grammar, np.int64(0)) is not None


def test_marginals_are_copies():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    node_marginals(grammar, 0).zero_()
    assert node_marginals(grammar, 0).sum().item() == pytest.approx(4)
