"""Next-token laws, full and truncated, against enumeration and against one another."""

import math

import numpy as np
import pytest
import torch
from inference_enumeration import MORE, enumerate_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.layered import prefix_tree as prefix_tree_module
from rhm_hf.grammar.layered.laws import rule_tables as tables_module
from rhm_hf.grammar.layered.laws import token_laws as next_token_module
from rhm_hf.inference import log_prob, next_token_log_probs, next_token_probs, prefix_probs


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def check(grammar, context, contexts, dtype=torch.float64, num=40):
    """Compares with enumeration on sentences and on arbitrary tokens, of which most prefixes are impossible.

    `contexts(i)` gives the positions that the law of token i may use.
    """
    world = enumerate_grammar(grammar)
    rng = np.random.default_rng(0)
    d, v = grammar.sentence_length, grammar.vocab_size
    sentences = world.tokens[rng.permutation(len(world.tokens))[:num]]
    damaged = sentences.copy()
    damaged[np.arange(len(damaged)), rng.integers(d, size=len(damaged))] = rng.integers(v, size=len(damaged))
    tokens = np.concatenate([sentences, damaged, rng.integers(v, size=(10, d))])
    probs, valid = next_token_probs(grammar, tokens, dtype=dtype, return_valid=True, **context)
    assert probs.shape == (len(tokens), d, v)
    assert probs.dtype == dtype
    expected = np.full(probs.shape, 1 / v)
    possible = np.zeros(valid.shape, dtype=bool)
    for b, row in enumerate(tokens):
        for i in range(d):
            law = world.law(world.agreeing(row, contexts(i)), node=i)
            if law is not None:
                expected[b, i], possible[b, i] = law, True
    np.testing.assert_array_equal(valid.numpy(), possible)
    np.testing.assert_allclose(probs.numpy(), expected, rtol=0, atol=TOLERANCE[dtype])
    assert ((probs.numpy() == 0) == (expected == 0)).all()  # zero means zero
    return possible


def all_checks(grammar, dtype=torch.float64):
    d = grammar.sentence_length
    possible = check(grammar, {}, lambda i: range(i), dtype)
    assert not possible.all()  # damaged prefixes were among them
    for level in range(grammar.depth + 1):
        block = grammar.block_length(level)
        check(grammar, {"context_level": level}, lambda i, block=block: range(i // block * block, i), dtype)
    for n in [*range(d + 1), 10 * d]:
        check(grammar, {"context_length": n}, lambda i, n=n: range(max(0, i - n), i), dtype, num=12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_small_grammars_agree_with_enumeration(small_grammar, dtype):
    all_checks(small_grammar, dtype)


@pytest.mark.parametrize("name", MORE)
def test_deeper_and_wider_grammars_agree_with_enumeration(name):
    all_checks(MORE[name]())


def test_sorted_keys_and_sums_over_rules_agree_with_the_dense_tables(monkeypatch):
    monkeypatch.setattr(prefix_tree_module, "DENSE_TABLE_LIMIT", 0)
    monkeypatch.setattr(tables_module, "DENSE_MATRIX_LIMIT", 0)
    tables_module.tables_for.cache.clear()
    for name in MORE:
        grammar = MORE[name]()
        tables = tables_module.tables_for(grammar, torch.device("cpu"))
        assert all(table is None for level in tables.levels for table in level._transitions)
        assert all(level._first_child is None for level in tables.levels)
        all_checks(grammar)
    tables_module.tables_for.cache.clear()  # no other test gets these


def test_enumeration_is_the_grammar(small_grammar):
    """The yardstick itself: the right number of sentences, with probabilities that sum to 1."""
    world = enumerate_grammar(small_grammar)
    assert len(world.probs) == small_grammar.num_sentences == len(np.unique(world.tokens, axis=0))
    assert world.probs.sum() == pytest.approx(1, abs=1e-12)
    listed = {tuple(small_grammar.sentence(i).tolist()) for i in range(small_grammar.num_sentences)}
    assert listed == {tuple(row) for row in world.tokens.tolist()}


def test_laws_do_not_see_the_future(small_grammar):
    d, v = small_grammar.sentence_length, small_grammar.vocab_size
    rng = np.random.default_rng(1)
    tokens = rng.integers(v, size=(20, d))
    for context in ({}, {"context_level": 1}, {"context_length": 2}):
        probs = next_token_probs(small_grammar, tokens, **context)
        for i in range(d):
            changed = tokens.copy()
            changed[:, i:] = rng.integers(v, size=(20, d - i))
            assert torch.equal(next_token_probs(small_grammar, changed, **context)[:, : i + 1], probs[:, : i + 1])


@pytest.mark.parametrize("context", [{}, {"context_level": 1}, {"context_length": 0}, {"context_length": 3}])
def test_prefixes_give_the_same_laws_as_whole_sentences(context):
    grammar = MORE["mixed"]()
    d = grammar.sentence_length
    tokens = np.concatenate(
        [enumerate_grammar(grammar).tokens[::40], np.random.default_rng(0).integers(3, size=(5, d))]
    )
    probs, valid = next_token_probs(grammar, tokens, return_valid=True, **context)
    for t in range(d + 1):
        prefix, prefix_valid = prefix_probs(grammar, tokens[:, :t], **context)
        positions = min(t + 1, d)
        assert prefix.shape == (len(tokens), positions, 3)
        torch.testing.assert_close(prefix, probs[:, :positions], rtol=0, atol=1e-14)
        assert torch.equal(prefix_valid, valid[:, :positions])
        short = next_token_probs(grammar, tokens[:, :t], **context)
        torch.testing.assert_close(short, probs[:, :t], rtol=0, atol=1e-14)


def test_log_probs_are_logarithms(small_grammar):
    tokens = enumerate_grammar(small_grammar).tokens
    probs, valid = next_token_probs(small_grammar, tokens, return_valid=True)
    logs, same = next_token_log_probs(small_grammar, tokens, return_valid=True)
    assert torch.equal(logs, probs.log())
    assert torch.equal(valid, same)
    assert torch.equal(next_token_log_probs(small_grammar, tokens), logs)


@pytest.mark.parametrize(("name", "num"), [("v32-m8-s2-L10", 4), ("v64-m8-s4-L4", 8), ("v16-m4-s2-L6", 64)])
def test_chain_rule_at_full_size(name, num):
    """The product of next-token laws, the parse and the number of sentences all say the same."""
    grammar = Grammar.from_name(name)
    tokens = torch.as_tensor(grammar.sample(num).astype(np.int64))
    exact = -math.log(grammar.num_sentences)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        probs, valid = next_token_probs(grammar, tokens, dtype=dtype, return_valid=True)
        assert valid.all()
        chain = probs.gather(2, tokens[:, :, None]).double().log().sum((1, 2))
        assert chain.tolist() == pytest.approx([exact] * num, rel=tolerance)
        assert probs.sum(2).sub(1).abs().max() < 10 * tolerance
    assert log_prob(grammar, tokens).tolist() == pytest.approx([exact] * num, rel=1e-14)


def test_a_wider_window_predicts_better():
    """At (32,8,2,6) the cross-entropy falls with the window, from the marginal laws' to the full law's."""
    grammar = Grammar.from_name("v32-m8-s2-L6")
    tokens = torch.as_tensor(grammar.sample(64).astype(np.int64))
    losses = []
    for n in (0, 1, 3, 7, 15, 31, 63):
        probs, valid = next_token_probs(grammar, tokens, context_length=n, return_valid=True)
        assert valid.all()
        losses.append(-probs.gather(2, tokens[:, :, None]).log().mean().item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(math.log(grammar.num_sentences) / 64, rel=1e-12)


def test_batches_chunks_and_precisions_agree(monkeypatch):
    grammar = Grammar.from_name("v16-m4-s2-L4")
    tokens = grammar.sample(50)
    tokens[::7, 3] = (tokens[::7, 3] + 1) % 16
    for context in ({}, {"context_level": 2}, {"context_length": 5}):
        whole = next_token_probs(grammar, tokens, **context)
        single = torch.cat([next_token_probs(grammar, row[None], **context) for row in tokens])
        torch.testing.assert_close(single, whole, rtol=0, atol=1e-14)
        rough = next_token_probs(grammar, tokens, dtype=torch.float32, **context)
        torch.testing.assert_close(rough.double(), whole, rtol=0, atol=1e-5)
        with monkeypatch.context() as small:
            small.setattr(next_token_module, "CHUNK_BYTES", {"cpu": 1, "cuda": 1})
            torch.testing.assert_close(next_token_probs(grammar, tokens, **context), whole, rtol=0, atol=1e-14)


def test_impossible_although_every_tuple_is_a_rule():
    """f = 1 at the leaves: every prefix parses, yet many are impossible."""
    rules = [np.array([[[0, 1]], [[2, 3]]]), np.array([[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]])]
    grammar = Grammar.from_rules(rules)
    probs, valid = next_token_probs(grammar, [[0, 1, 0, 0], [0, 0, 1, 1]], return_valid=True)
    assert valid.tolist() == [[True, True, False, False], [True, True, True, False]]
    assert probs[0].tolist() == [[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]
    assert probs[1].tolist() == [[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]


def test_laws_are_untouched_by_autocast():
    grammar = Grammar.from_name("v16-m4-s2-L4")
    tokens = grammar.sample(4)
    plain = next_token_probs(grammar, tokens, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(next_token_probs(grammar, tokens, dtype=torch.float32), plain)


def test_empty_batches_and_prefixes(small_grammar):
    d, v = small_grammar.sentence_length, small_grammar.vocab_size
    for context in ({}, {"context_level": 1}, {"context_length": 1}):
        assert next_token_probs(small_grammar, np.empty((0, d), dtype=np.int64), **context).shape == (0, d, v)
        assert next_token_probs(small_grammar, np.empty((3, 0), dtype=np.int64), **context).shape == (3, 0, v)
        probs, valid = prefix_probs(small_grammar, np.empty((2, 0), dtype=np.int64), **context)
        assert probs.shape == (2, 1, v)
        assert valid.all()
        torch.testing.assert_close(probs.sum(2), torch.ones(2, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"context_level": 3}, "context_level=3 is out of range: it must be an integer >= 0 and < 3"),
        ({"context_level": -1}, "context_level=-1"),
        ({"context_level": 1.0}, "context_level=1.0"),
        ({"context_length": -1}, "context_length=-1 is out of range: it must be an integer >= 0"),
        ({"context_length": True}, "context_length=True"),
        ({"context_level": 1, "context_length": 1}, "two different truncations"),
        ({"dtype": torch.float16}, "torch.float16"),
        ({"dtype": "float32"}, "'float32'"),
    ],
)
def test_bad_contexts_and_types(kwargs, message):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    for function in (next_token_probs, next_token_log_probs, prefix_probs):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            function(grammar, [[0, 1, 2, 3]], **kwargs)
