"""The exact laws of trees of every shape against all derivations, the layered laws, and each other."""

import math

import numpy as np
import pytest
import torch
from all_trees import SMALL, all_derivations, ambiguous_trees, sentence_probs, span_law
from exact_law import chi_squared_z

from rhm_hf.grammar import PCFG, Grammar, NotSupported
from rhm_hf.grammar.trees import tree_grammar
from rhm_hf.grammar.trees.laws import span_rows, tree_laws
from rhm_hf.grammar.trees.tree_grammar import TreeGrammar
from rhm_hf.grammar.trees.tree_parameters import TreeParameters
from rhm_hf.inference import (
    causal_posteriors,
    log_prob,
    most_probable_parse,
    next_token_probs,
    posteriors,
    prefix_probs,
    sample_posterior,
)


@pytest.fixture(params=SMALL, scope="module")
def small(request):
    """A grammar, its derivations by sentence, and the probabilities of sentences."""
    grammar = SMALL[request.param]()
    derivations = all_derivations(grammar)
    return grammar, derivations, sentence_probs(derivations)


def next_law(grammar, probs, prefix):
    """P(. or END | prefix) and P(prefix), by brute force."""
    law, t = np.zeros(grammar.vocab_size + 1), len(prefix)
    for tokens, p in probs.items():
        if tokens[:t] == prefix:
            law[tokens[t] if len(tokens) > t else grammar.vocab_size] += p
    return law / law.sum() if law.sum() > 0 else None, law.sum()


def test_probabilities_of_all_sentences(small):
    grammar, derivations, probs = small
    sentences = list(probs)
    logs = log_prob(grammar, sentences)
    np.testing.assert_allclose(logs.numpy(), np.log(list(probs.values())), atol=1e-12)
    assert abs(logs.exp().sum().item() - 1) < 1e-12
    counts = grammar.laws.num_derivations(sentences)
    assert counts.tolist() == [len(derivations[tokens]) for tokens in sentences]
    np.testing.assert_allclose(grammar.laws.log_num_derivations(sentences), counts.double().log(), atol=1e-12)
    roots = [len({d.levels[-1] for d in derivations[tokens]}) for tokens in sentences]
    assert grammar.laws.num_roots(sentences).tolist() == roots


def test_next_token_laws_of_all_prefixes(small):
    grammar, _, probs = small
    sentences = sorted(probs)[:: max(1, len(probs) // 40)]
    laws, valid = prefix_probs(grammar, sentences)
    logs = grammar.laws.prefix_log_prob(sentences)
    for row, tokens in enumerate(sentences):
        for t in range(laws.shape[1]):
            if t > len(tokens):
                assert not valid[row, t]
                assert (laws[row, t] == 1 / (grammar.vocab_size + 1)).all()
                continue
            law, total = next_law(grammar, probs, tokens[:t])
            assert valid[row, t]
            np.testing.assert_allclose(laws[row, t], law, atol=1e-12)
            assert abs(logs[row, t].item() - math.log(total)) < 1e-12
    shorter = next_token_probs(grammar, sentences)
    assert torch.equal(shorter, laws[:, :-1])


def test_impossible_prefixes_and_sentences(small):
    grammar, _, probs = small
    rng = np.random.default_rng(0)
    rows = rng.integers(0, grammar.vocab_size, (40, grammar.max_length))
    laws, valid = prefix_probs(grammar, rows)
    for row, tokens in enumerate(rows.tolist()):
        for t in range(len(tokens) + 1):
            law, _ = next_law(grammar, probs, tuple(tokens[:t]))
            assert bool(valid[row, t]) == (law is not None)
            expected = np.full(grammar.vocab_size + 1, 1 / (grammar.vocab_size + 1)) if law is None else law
            np.testing.assert_allclose(laws[row, t], expected, atol=1e-12)
    with np.errstate(divide="ignore"):
        expected = np.log([probs.get(tuple(tokens), 0.0) for tokens in rows.tolist()])
    np.testing.assert_allclose(log_prob(grammar, rows), expected, atol=1e-12)
    assert log_prob(grammar, [[]]).item() == -math.inf


def test_posteriors_of_all_spans(small):
    grammar, derivations, probs = small
    sentences = list(probs)
    laws, logs = posteriors(grammar, sentences, return_log_evidence=True)
    np.testing.assert_allclose(logs, np.log(list(probs.values())), atol=1e-12)
    for row, tokens in enumerate(sentences):
        for level in range(1, grammar.depth):
            found = laws[level]
            own = (found.sentence == row).nonzero().squeeze(1).tolist()
            expected, seen = span_law(derivations[tokens], level), set()
            for r in own:
                for a, p in enumerate(found.probs[r].tolist()):
                    span = (found.start[r].item(), found.end[r].item(), a)
                    seen.add(span)
                    assert abs(p - expected.get(span, 0.0)) < 1e-12
            assert set(expected) <= seen
        root = span_law(derivations[tokens], grammar.depth)
        expected = [root.get((0, len(tokens), a), 0.0) for a in range(grammar.num_classes)]
        np.testing.assert_allclose(laws[-1][row, 0], expected, atol=1e-12)
        one_hot = np.eye(grammar.vocab_size)[list(tokens)]
        np.testing.assert_allclose(laws[0][row, : len(tokens)], one_hot, atol=1e-12)
        assert (laws[0][row, len(tokens) :] == 0).all()


def test_masked_tokens_at_known_length(small):
    grammar, derivations, probs = small
    rng = np.random.default_rng(1)
    sentences, pad = list(probs), grammar.vocab_size + 1
    chosen = [sentences[i] for i in rng.integers(0, len(sentences), 20)]
    width = max(map(len, chosen))
    tokens = np.full((20, width), pad)
    mask = rng.random((20, width)) < 0.6
    for row, own in zip(tokens, chosen, strict=True):
        row[: len(own)] = own
    shown = np.where(mask & (tokens != pad), grammar.vocab_size + 2, tokens)  # what is hidden may hold MASK
    laws, logs = posteriors(grammar, shown, mask, return_log_evidence=True)
    soft = rng.random((20, width, grammar.vocab_size))
    lengths = [len(own) for own in chosen]
    soft_laws, soft_logs = grammar.laws.posteriors(evidence=soft, lengths=lengths, return_log_evidence=True)
    for row, own in enumerate(chosen):
        hard, free, root = np.zeros((len(own), grammar.vocab_size)), np.zeros((len(own), grammar.vocab_size)), 0
        for other, p in probs.items():
            if len(other) == len(own):
                weight = p * np.prod([soft[row, t, x] for t, x in enumerate(other)])
                free[np.arange(len(own)), list(other)] += weight
                root = root + weight * np.array(
                    [
                        span_law(derivations[other], grammar.depth).get((0, len(own), a), 0.0)
                        for a in range(grammar.num_classes)
                    ]
                )
                if all(mask[row, t] or x == own[t] for t, x in enumerate(other)):
                    hard[np.arange(len(own)), list(other)] += p
        total = hard[0].sum()
        np.testing.assert_allclose(laws[0][row, : len(own)], hard / total, atol=1e-12)
        assert abs(logs[row].item() - math.log(total)) < 1e-12
        np.testing.assert_allclose(soft_laws[0][row, : len(own)], free / free[0].sum(), atol=1e-12)
        np.testing.assert_allclose(soft_laws[-1][row, 0], root / root.sum(), atol=1e-12)
        assert abs(soft_logs[row].item() - math.log(free[0].sum())) < 1e-12


def test_beliefs_about_all_ancestors_given_every_prefix(small):
    grammar, derivations, probs = small
    sentences = sorted(probs)[:: max(1, len(probs) // 15)]
    laws = causal_posteriors(grammar, sentences)
    assert len(laws) == grammar.depth
    for row, tokens in enumerate(sentences):
        for t in range(len(tokens)):
            alike = [d for other, own in derivations.items() if other[: t + 1] == tokens[: t + 1] for d in own]
            for level in range(1, grammar.depth + 1):
                expected = np.zeros(grammar.num_symbols_at(level))
                for d in alike:
                    (symbol,) = [x for start, end, x in d.spans(level) if start <= t < end]
                    expected[symbol] += d.prob
                np.testing.assert_allclose(laws[level - 1][row, t], expected / expected.sum(), atol=1e-12)
        assert all((law[row, len(tokens) :] == 0).all() for law in laws)


def shape_of(tree):
    return tuple(tuple(level.tolist()) for level in tree.levels), tuple(
        tuple(n.tolist()) for n in tree.num_children[1:]
    )


def test_most_probable_parse(small):
    grammar, derivations, probs = small
    sentences = list(probs)
    for tokens, tree in zip(sentences, most_probable_parse(grammar, sentences), strict=True):
        (prob,) = [d.prob for d in derivations[tokens] if d.shape == shape_of(tree)]
        assert prob > (1 - 1e-12) * max(d.prob for d in derivations[tokens])


def test_trees_drawn_from_the_posterior(small):
    grammar, derivations, _ = small
    tokens = max(derivations, key=lambda own: len(derivations[own]))
    own = derivations[tokens]
    generator = torch.Generator().manual_seed(0)
    counts = {d.shape: 0 for d in own}
    for tree in sample_posterior(grammar, [tokens] * 4000, generator=generator):
        counts[shape_of(tree)] += 1
    total = sum(d.prob for d in own)
    assert abs(chi_squared_z(list(counts.values()), [4000 * d.prob / total for d in own])) < 4.5
    # Hidden tokens are drawn, too.
    same_length = [d for other, alike in derivations.items() if len(other) == len(tokens) for d in alike]
    counts = {d.shape: 0 for d in same_length}
    for tree in sample_posterior(grammar, [tokens] * 4000, [[True] * len(tokens)] * 4000, generator=generator):
        counts[shape_of(tree)] += 1
    total = sum(d.prob for d in same_length)
    assert abs(chi_squared_z(list(counts.values()), [4000 * d.prob / total for d in same_length])) < 4.5


@pytest.mark.parametrize("name", ["v4-m3-s2-L3", "v3-m4-s3-L2", "v4-m3-s2-L2-zipf0.7@1"])
def test_one_arity_is_the_ordinary_rhm(name):
    rhm = Grammar.from_name(name, rules_seed=2)
    levels = range(rhm.depth, 0, -1)
    probs = [[rhm.rule_probs_at(level)] for level in levels]
    trees = TreeGrammar([[rhm.rules_at(level)] for level in levels], probs, rhm.root_probs, rhm.vocab_size)
    rng = np.random.default_rng(0)
    tokens = np.concatenate(
        [rhm.sample(40, sampling="iid"), rng.integers(0, rhm.vocab_size, (40, rhm.sentence_length))]
    )
    torch.testing.assert_close(log_prob(trees, tokens), log_prob(rhm, tokens), rtol=0, atol=1e-12)
    expected, expected_valid = next_token_probs(rhm, tokens, return_valid=True)
    found, valid = next_token_probs(trees, tokens, return_valid=True)
    assert torch.equal(valid, expected_valid)
    torch.testing.assert_close(found[valid][:, :-1], expected[valid], rtol=0, atol=1e-12)
    assert (found[valid][:, -1] == 0).all()
    laws, possible = prefix_probs(trees, tokens[:40])
    assert possible.all()
    assert (laws[:, -1, -1] == 1).all()
    mask = rng.random(tokens[:40].shape) < 0.5
    of_rhm, of_trees = (posteriors(grammar, tokens[:40], mask) for grammar in (rhm, trees))
    for level in (0, rhm.depth):
        torch.testing.assert_close(of_trees[level], of_rhm[level], rtol=0, atol=1e-12)
    for level in range(1, rhm.depth):
        length, spans = rhm.block_length(level), of_trees[level]
        torch.testing.assert_close(
            spans.probs, of_rhm[level][spans.sentence, spans.start // length], rtol=0, atol=1e-12
        )
    assert trees.num_derivations == rhm.num_sentences
    assert trees.derivation_entropy == pytest.approx(rhm.entropy, abs=1e-12)


def as_text(grammar):
    """The same rules as a general grammar; symbol a of level l is `N<l>_<a>`, tokens are `0`, `1`, .."""

    def name(level, symbol):
        return f"N{level}_{symbol}" if level else f"'{symbol}'"

    choices = {"S": [([(grammar.depth, a)], p) for a, p in enumerate(grammar.root_probs.tolist())]}
    for level in range(grammar.depth, 0, -1):
        for rules, probs in zip(grammar.rules_at(level), grammar.rule_probs_at(level), strict=True):
            for a in range(len(rules)):
                own = [
                    ([(level - 1, x) for x in r.tolist()], p) for r, p in zip(rules[a], probs[a].tolist(), strict=True)
                ]
                choices.setdefault(name(level, a), []).extend(own)
    lines = []
    for left, rules in choices.items():
        right = [" ".join(name(*child) for child in children) + f" [{p!r}]" for children, p in rules if p > 0]
        lines.append(f"{left} -> {' | '.join(right)}")
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["trees-v6-s2m3-s3m12-L3", "trees-v4-s1m1p0.3-s2m4p0.5-s3m8p0.2-L3", "ambiguous"])
def test_general_grammars_of_the_same_rules_agree(name):
    grammar = ambiguous_trees(2) if name == "ambiguous" else TreeGrammar.from_name(name, rules_seed=1)
    general = PCFG.from_text(as_text(grammar), start="S")
    ids = [general.terminals.index(str(token)) for token in range(grammar.vocab_size)]
    tokens, lengths = grammar.sample(30, return_lengths=True)
    others = np.random.default_rng(0).integers(0, grammar.vocab_size, (10, grammar.max_length))
    rows = [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)] + others.tolist()
    translated = [[ids[token] for token in row] for row in rows]
    torch.testing.assert_close(log_prob(grammar, rows), log_prob(general, translated), rtol=0, atol=1e-10)
    laws, valid = prefix_probs(grammar, rows)
    expected, expected_valid = prefix_probs(general, translated)
    assert torch.equal(valid, expected_valid)
    torch.testing.assert_close(laws[valid], expected[valid][:, [*ids, grammar.vocab_size]], rtol=0, atol=1e-12)
    assert grammar.num_derivations == general.num_derivations
    assert grammar.derivation_entropy == pytest.approx(general.derivation_entropy, rel=1e-12)


def test_expected_ambiguity_of_large_vocabularies():
    """E[derivations - 1] = (13 f^3 + 6 f^4) / 16 at L = 2, p2 = 1/2, v -> infinity; at v = 16 within 1 % or so.

    The tolerance is four standard errors of the mean over grammars (0.002 at f = 1/2, measured on 32 of them).
    """
    for fraction, expected in ((0.5, 0.125), (0.25, (13 / 64 + 6 / 256) / 16)):
        means = []
        for seed in range(24):
            grammar = TreeGrammar.drawn_from(TreeParameters.from_fraction(16, fraction, 2, seed))
            counts = grammar.laws.num_derivations(grammar.sample(1000))
            means.append((counts - 1).double().mean().item())
        error = np.std(means, ddof=1) / np.sqrt(len(means))
        assert abs(np.mean(means) - expected) < 4 * error
        assert error < 0.1 * expected + 0.001


@pytest.mark.parametrize("name", ["trees-v16-s2m4-s3m64-L7", "trees-v8-s2m1p0.9-s3m8p0.1-L8"])
def test_long_sentences_neither_underflow_nor_lose_precision(name):
    grammar = TreeGrammar.from_name(name)
    tokens, lengths = grammar.sample(4, seed=1, return_lengths=True)
    assert lengths.max() > 300
    laws, valid = prefix_probs(grammar, tokens)
    single, also_valid = prefix_probs(grammar, tokens, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(valid, also_valid)
    assert (laws - single).abs().max() < 2e-5
    logs = log_prob(grammar, tokens)
    for row, n in enumerate(lengths):
        assert valid[row, : n + 1].all()
        outcomes = torch.tensor([*tokens[row, :n].tolist(), grammar.vocab_size])
        chain = laws[row, torch.arange(n + 1), outcomes].log().sum()
        assert abs(chain - logs[row]) < 1e-9
    _, evidence = posteriors(grammar, tokens, return_log_evidence=True)
    torch.testing.assert_close(evidence, logs, rtol=0, atol=1e-9)
    assert [len(tree) for tree in most_probable_parse(grammar, tokens)] == lengths.tolist()


def test_float32_does_not_take_the_improbable_for_impossible():
    """The tokens (0, 0) are written by symbol 0, or by symbol 1 with probability 1e-50; only the latter goes on."""
    low = np.array([[[0, 0], [0, 1]], [[0, 0], [1, 1]], [[1, 0], [0, 1]]])
    low_probs = np.array([[1, 0], [1e-50, 1], [1.0, 0]])
    high = np.array([[[0, 0]], [[1, 2]]])
    grammar = TreeGrammar([[high], [low]], [[np.ones((2, 1))], [low_probs]], vocab_size=2)
    tokens = [[0, 0, 1, 0]]
    assert log_prob(grammar, tokens).item() == pytest.approx(math.log(0.5e-50), rel=1e-12)
    laws, valid = prefix_probs(grammar, tokens, dtype=torch.float32)
    assert valid.all()
    assert laws.dtype == torch.float32
    assert laws[0, 3, 0] == laws[0, 4, -1] == 1
    beliefs = causal_posteriors(grammar, tokens, dtype=torch.float32)
    assert beliefs[1][0, 3].tolist() == [0, 1]
    found, logs = posteriors(grammar, tokens, dtype=torch.float32, return_log_evidence=True)
    assert found[-1][0, 0].tolist() == [0, 1]
    assert found[1].probs.dtype == torch.float32
    assert logs.item() == pytest.approx(math.log(0.5e-50), rel=1e-12)


def test_chunks_and_small_budgets_change_nothing(monkeypatch):
    grammar = TreeGrammar.from_name("trees-v6-s2m5-s3m30-L3")
    tokens = grammar.sample(60)
    expected = prefix_probs(grammar, tokens)
    expected_posteriors = posteriors(grammar, tokens)
    expected_beliefs = causal_posteriors(grammar, tokens)
    monkeypatch.setitem(tree_laws.BUDGET_BYTES, "cpu", 2**16)
    monkeypatch.setitem(tree_laws.CHUNK_TOKENS, "cpu", 500)
    monkeypatch.setitem(span_rows.CHUNK_BYTES, "cpu", 2**12)
    monkeypatch.setitem(span_rows.PAIRS, "cpu", 50)
    for found, wanted in zip(prefix_probs(grammar, tokens), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=1e-12)
    for found, wanted in zip(causal_posteriors(grammar, tokens), expected_beliefs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    for found, wanted in zip(posteriors(grammar, tokens), expected_posteriors, strict=True):
        if isinstance(found, torch.Tensor):
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        else:
            assert torch.equal(found.start, wanted.start)
            torch.testing.assert_close(found.probs, wanted.probs, rtol=0, atol=1e-12)


def test_the_entropy_of_many_sentences_is_estimated(monkeypatch):
    name = "trees-v3-s2m1-s3m2-L2"
    exact = TreeGrammar.from_name(name)
    assert exact.entropy_stderr == 0
    monkeypatch.setattr(tree_grammar, "ENUMERATION_LIMIT", 0)
    estimated = TreeGrammar.from_name(name)
    assert estimated.num_sentences == math.inf
    assert 0 < estimated.entropy_stderr < 0.05
    assert abs(estimated.entropy - exact.entropy) < 4.5 * estimated.entropy_stderr


def test_what_is_not_defined_is_refused():
    grammar = TreeGrammar.from_name("trees-v3-s2m1-s3m2-L2", rules_seed=3)
    tokens = grammar.sample(3)
    with pytest.raises(NotSupported, match="context_level=1"):
        next_token_probs(grammar, tokens, context_level=1)
    with pytest.raises(NotSupported, match="context_length=2"):
        next_token_probs(grammar, tokens, context_length=2)
    with pytest.raises(ValueError, match="out of place"):
        log_prob(grammar, [[0, 7]])
    with pytest.raises(ValueError, match="row 0 is impossible"):
        posteriors(grammar, [[0]])
    with pytest.raises(ValueError, match="row 1 is impossible"):
        most_probable_parse(grammar, [tokens[0][: grammar.lengths_of(tokens)[0]], [0]])
    with pytest.raises(ValueError, match="either tokens"):
        posteriors(grammar)
    with pytest.raises(ValueError, match="lengths must be"):
        grammar.laws.posteriors(evidence=np.ones((2, 5, 3)), lengths=[5, 6])
    with pytest.raises(ValueError, match="evidence holds -1"):
        posteriors(grammar, evidence=-np.ones((2, 5, 3)))
    with pytest.raises(ValueError, match="a table would have"):
        log_prob(TreeGrammar.from_name("trees-v200-s2m1-s3m200-L1"), [[0, 1]])


def test_no_sentences_and_no_tokens():
    grammar = TreeGrammar.from_name("trees-v3-s2m1-s3m2-L2")
    empty = np.zeros((0, 4), dtype=np.int64)
    assert prefix_probs(grammar, empty)[0].shape == (0, 5, 4)
    assert prefix_probs(grammar, [[], [0]])[0].shape == (2, 2, 4)
    first = prefix_probs(grammar, np.zeros((3, 0), dtype=np.int64))[0]
    assert first.shape == (3, 1, 4)
    assert first[0, 0, -1] == 0
    assert log_prob(grammar, empty).shape == (0,)
    assert posteriors(grammar, empty)[0].shape == (0, 4, 3)
    assert most_probable_parse(grammar, empty) == []
    assert [law.shape for law in causal_posteriors(grammar, empty)] == [(0, 4, 3)] * 2
    assert grammar.sample(0).shape == (0, 0)
    assert grammar.classes(0).shape == (0,)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees():
    grammar = TreeGrammar.from_name("trees-v8-s2m4-s3m32-L3")
    tokens = torch.from_numpy(grammar.sample(200).astype(np.int64))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        on_cpu = prefix_probs(grammar, tokens, dtype=dtype)[0]
        torch.testing.assert_close(
            prefix_probs(grammar, tokens.cuda(), dtype=dtype)[0].cpu(), on_cpu, rtol=0, atol=tolerance
        )
    torch.testing.assert_close(log_prob(grammar, tokens.cuda()).cpu(), log_prob(grammar, tokens), rtol=0, atol=1e-10)
    for found, wanted in zip(
        causal_posteriors(grammar, tokens.cuda()), causal_posteriors(grammar, tokens), strict=True
    ):
        torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-12)
    assert grammar.laws.num_derivations(tokens.cuda()).tolist() == grammar.laws.num_derivations(tokens).tolist()
