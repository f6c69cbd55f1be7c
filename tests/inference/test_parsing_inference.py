"""Parsing and log probabilities, and what every function accepts as tokens."""

import gc
import math

import numpy as np
import pytest
import torch
from inference_enumeration import MORE, enumerate_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.layered.laws import rule_tables as tables
from rhm_hf.inference import log_prob, next_token_probs, parse, posteriors


def test_parse_and_log_prob_of_every_sentence_and_of_noise(small_grammar):
    world = enumerate_grammar(small_grammar)
    for found, expected in zip(parse(small_grammar, world.tokens), world.levels, strict=True):
        assert found.dtype == torch.int64
        assert np.array_equal(found.numpy(), expected)
    logs = log_prob(small_grammar, world.tokens)
    np.testing.assert_allclose(logs.numpy(), np.log(world.probs), rtol=1e-13)
    assert logs.exp().sum().item() == pytest.approx(1, abs=1e-12)

    rng = np.random.default_rng(0)
    noise = rng.integers(small_grammar.vocab_size, size=(300, small_grammar.sentence_length))
    sentences = {tuple(row): p for row, p in zip(world.tokens.tolist(), world.probs, strict=True)}
    expected = [math.log(sentences[tuple(row)]) if tuple(row) in sentences else -math.inf for row in noise.tolist()]
    assert -math.inf in expected
    np.testing.assert_allclose(log_prob(small_grammar, noise).numpy(), expected, rtol=1e-13)
    assert log_prob(small_grammar, noise, dtype=torch.float32).dtype == torch.float32


def test_failed_nodes_are_minus_one_up_to_the_root():
    grammar = MORE["mixed"]()
    world = enumerate_grammar(grammar)
    tokens = world.tokens[:50].copy()
    tokens[:, 0] = (tokens[:, 0] + np.arange(50) % 3) % 3  # only the first path can fail
    levels = parse(grammar, tokens)
    failed = torch.zeros(50, dtype=torch.bool)
    for level in range(1, grammar.depth + 1):
        size = grammar.tuple_size_at(level)
        assert torch.equal(levels[level][:, 1:], torch.as_tensor(world.levels[level][:50, 1:]))
        below = levels[level - 1][:, :size].numpy()
        rules = {
            tuple(rule): a
            for a, (tuples, probs) in enumerate(
                zip(grammar.rules_at(level).tolist(), grammar.rule_probs_at(level), strict=True)
            )
            for rule, p in zip(tuples, probs, strict=True)
            if p > 0
        }
        assert levels[level][:, 0].tolist() == [rules.get(tuple(row), -1) for row in below.tolist()]
        failed |= levels[level][:, 0] < 0
    assert 0 < failed.sum() < 50
    assert (levels[-1][failed] == -1).all()


def test_a_root_of_probability_zero_is_parsed_but_has_no_probability():
    grammar = Grammar.from_rules([np.array([[[0, 0]], [[1, 1]]])], root_probs=[1.0, 0.0])
    assert parse(grammar, [[1, 1]])[1].tolist() == [[1]]
    assert log_prob(grammar, [[1, 1], [0, 0]]).tolist() == [-math.inf, 0.0]


def test_log_prob_at_full_size_is_exact():
    for name in ("v32-m8-s2-L10", "v64-m8-s4-L4"):
        grammar = Grammar.from_name(name)
        tokens = grammar.sample(20)
        exact = -math.log(grammar.num_sentences)
        assert log_prob(grammar, tokens).tolist() == pytest.approx([exact] * 20, rel=1e-14)
        tokens[:, -1] = (tokens[:, -1] + 1) % grammar.vocab_size
        for row, value in zip(tokens, log_prob(grammar, tokens).tolist(), strict=True):
            try:
                grammar.index(row)
            except ValueError:
                assert value == -math.inf
            else:
                assert value == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(
    "form", ["list", "uint8", "uint16", "int32", "readonly", "reversed", "torch.uint8", "torch.int16"]
)
def test_tokens_of_every_integer_type(form, small_grammar):
    tokens = enumerate_grammar(small_grammar).tokens[:20]
    if form == "list":
        given = tokens.tolist()
    elif form.startswith("torch"):
        given = torch.as_tensor(tokens).to(getattr(torch, form.removeprefix("torch.")))
    elif form == "readonly":
        given = tokens.copy()
        given.setflags(write=False)
    elif form == "reversed":
        given = tokens[:, ::-1].copy()[:, ::-1]
    else:
        given = tokens.astype(form)
    before = given.copy() if isinstance(given, np.ndarray) else None
    assert torch.equal(log_prob(small_grammar, given), log_prob(small_grammar, tokens))
    assert torch.equal(next_token_probs(small_grammar, given), next_token_probs(small_grammar, tokens))
    assert torch.equal(posteriors(small_grammar, given)[0], posteriors(small_grammar, tokens)[0])
    assert before is None or np.array_equal(before, given)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[0, 1, 2, 4]], r"tokens holds 4, out of range: vocab_size=4, so symbols are 0 to 3"),
        ([[0, 1, -1, 3]], "tokens holds -1, out of range"),
        ([0, 1, 2, 3], r"tokens has shape \(4,\).*one sentence is tokens\[None\]"),
        ([[0, 1, 2, 3, 0]], r"tokens has shape \(1, 5\)"),
        ([[0.0, 1.0, 2.0, 3.0]], "symbols must be integers"),
        (torch.zeros(1, 4), "dtype torch.float32: symbols must be integers"),
        ([[True, False, True, True]], "symbols must be integers"),
        ([[0, 1], [0, 1, 2, 3]], "tokens is ragged"),
        ([["a", "b", "c", "d"]], "pass numbers"),
    ],
)
def test_bad_tokens(tokens, message):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    for function in (parse, log_prob, next_token_probs, posteriors):
        with pytest.raises(ValueError, match=message):
            function(grammar, tokens)


def test_whole_sentences_are_asked_for():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    for function in (parse, log_prob):
        with pytest.raises(ValueError, match=r"it must be \(sentences, 4\)"):
            function(grammar, [[0, 1, 2]])
        assert len(function(grammar, np.empty((0, 4), dtype=int))[-1:]) <= 1
    with pytest.raises(ValueError, match="dtype"):
        log_prob(grammar, [[0, 1, 2, 3]], dtype=torch.float16)


def test_tables_live_as_long_as_their_grammar():
    grammar = Grammar.from_name("v7-m3-s2-L2", rules_seed=123)
    log_prob(grammar, grammar.sample(2))
    first = tables.tables_for(grammar, torch.device("cpu"))
    assert tables.tables_for(Grammar.from_name("v7-m3-s2-L2", rules_seed=123), torch.device("cpu")) is first
    assert tables.tables_for(grammar, torch.device("cpu"), torch.float32) is not first
    del first
    size = len(tables.tables_for.cache)
    del grammar
    gc.collect()
    assert len(tables.tables_for.cache) < size
