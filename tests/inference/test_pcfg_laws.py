"""Next-token laws, END and log P of general grammars against brute force; derivations and their posteriors."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from pcfg_brute_force import TEXTS, derivations, string_laws

from rhm_hf.grammar.pcfg import PCFG


SIZES = {"ambiguous": 5, "loops": 4, "few loops": 5, "sums": 4, "brackets": 4, "finite": 6}
# Of which all derivations of a sentence can be listed; with loops of units, those of some probability.
LISTED = [name for name in TEXTS if name != "loops"]


def grammar_of(name):
    return PCFG.from_text(TEXTS[name])


@pytest.fixture(scope="module", params=TEXTS)
def world(request):
    grammar = grammar_of(request.param)
    return grammar, SIZES[request.param], *string_laws(grammar, SIZES[request.param] + 1)


def test_next_token_laws_and_end(world):
    grammar, longest, full, begun = world
    for length in {1, longest - 1, longest}:
        prefixes = list(itertools.product(range(grammar.vocab_size), repeat=length))
        laws, valid = grammar.laws.token_laws(prefixes)
        for row, prefix in enumerate(prefixes):
            for i in range(length + 1):
                before = prefix[:i]
                mass = begun.get(before, 0.0)
                assert bool(valid[row, i]) == (mass > 0)
                if mass > 0:
                    law = [begun.get((*before, x), 0.0) / mass for x in range(grammar.vocab_size)]
                    law.append(full.get(before, 0.0) / mass)
                    np.testing.assert_allclose(laws[row, i], law, rtol=0, atol=1e-12)
                else:
                    np.testing.assert_array_equal(laws[row, i], 1 / (grammar.vocab_size + 1))


def test_log_prob_with_end(world):
    grammar, longest, full, begun = world
    rows = [w for n in range(longest + 1) for w in itertools.product(range(grammar.vocab_size), repeat=n)]
    logs = grammar.laws.log_prob(rows)
    prefix_logs = grammar.laws.prefix_log_prob(rows)
    for row, log, prefix_log in zip(rows, logs.tolist(), prefix_logs.tolist(), strict=True):
        assert log == pytest.approx(math.log(full[row]) if full.get(row) else -math.inf, abs=1e-11)
        assert prefix_log == pytest.approx(math.log(begun[row]) if begun.get(row) else -math.inf, abs=1e-11)


def test_all_sentences_of_a_length_sum_to_the_length_law(world):
    grammar, longest, full, _ = world
    law = grammar.length_law(longest)
    for n in range(longest + 1):
        assert law[n] == pytest.approx(math.fsum(p for w, p in full.items() if len(w) == n), abs=1e-14)


def some_sentences(grammar, num=6, longest=7):
    rows = [tuple(row[row < grammar.vocab_size].tolist()) for row in grammar.sample(60, seed=5)]
    return [row for row in dict.fromkeys(rows) if len(row) <= longest][:num]


@pytest.mark.parametrize("name", LISTED)
def test_posteriors_of_spans(name):
    grammar = grammar_of(name)
    sentences = some_sentences(grammar)
    posteriors, logs = grammar.laws.posteriors(sentences, return_log_evidence=True)
    longest = max(map(len, sentences))
    dense = posteriors.spans.dense(len(sentences), len(grammar.symbols), longest)
    for n, sentence in enumerate(sentences):
        found = derivations(grammar, sentence, 1e-14 if name == "few loops" else 0.0)
        mass, expected = math.fsum(p for p, *_ in found), defaultdict(float)
        assert logs[n].item() == pytest.approx(math.log(mass), abs=1e-7 if name == "few loops" else 1e-11)
        for p, _, spans, _ in found:
            for symbol, start, end in set(spans):
                if end > start:
                    expected[grammar.symbols.index(symbol), start, end] += p / mass
        table = np.zeros(dense.shape[1:])
        for where, p in expected.items():
            table[where] = p
        np.testing.assert_allclose(dense[n], table, rtol=0, atol=1e-7 if name == "few loops" else 1e-12)


@pytest.mark.parametrize("name", TEXTS)
def test_posteriors_of_masked_tokens(name):
    grammar = grammar_of(name)
    full, _ = string_laws(grammar, 4)
    sentences = [w for w in some_sentences(grammar, 40) if 1 <= len(w) <= 4]
    assert sentences
    pad = grammar.vocab_size + 1
    rows = np.array([[*w, *[pad] * (4 - len(w))] for w in sentences])
    rng = np.random.default_rng(0)
    mask = (rng.random(rows.shape) < 0.5) & (rows != pad)
    laws = grammar.laws.posteriors(rows, mask).tokens
    for n, sentence in enumerate(sentences):
        agreeing = {
            w: p
            for w, p in full.items()
            if len(w) == len(sentence) and all(m or a == b for a, b, m in zip(w, sentence, mask[n], strict=False))
        }
        for i in range(4):
            law = np.zeros(grammar.vocab_size)
            for w, p in agreeing.items():
                if i < len(sentence):
                    law[w[i]] += p / math.fsum(agreeing.values())
            expected = law if i < len(sentence) else np.full(grammar.vocab_size, 1 / grammar.vocab_size)
            np.testing.assert_allclose(laws[n, i], expected, rtol=0, atol=1e-12)


def test_soft_evidence_and_its_probability():
    grammar = grammar_of("loops")
    full, _ = string_laws(grammar, 3)
    evidence = np.random.default_rng(1).random((2, 3, 2))
    evidence[0, 1, 0] = 0.0
    posteriors, logs = grammar.laws.posteriors(evidence=evidence, lengths=[3, 2], return_log_evidence=True)
    for n, length in enumerate((3, 2)):
        those = {w: p for w, p in full.items() if len(w) == length}
        weights = {w: p * math.prod(evidence[n, i, x] for i, x in enumerate(w)) for w, p in those.items()}
        mass = math.fsum(weights.values())
        assert logs[n].item() == pytest.approx(math.log(mass), abs=1e-12)
        for i in range(length):
            law = [math.fsum(q for w, q in weights.items() if w[i] == x) / mass for x in range(2)]
            np.testing.assert_allclose(posteriors.tokens[n, i], law, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LISTED)
def test_most_probable_parse(name):
    grammar = grammar_of(name)
    sentences = some_sentences(grammar, 12)
    for sentence, tree in zip(sentences, grammar.laws.most_probable_parse(sentences), strict=True):
        best = max(p for p, *_ in derivations(grammar, sentence, 1e-9 if name == "few loops" else 0.0))
        assert tree.log_prob == pytest.approx(math.log(best), abs=1e-12)
        assert tuple(tree.tokens.tolist()) == sentence


def test_no_parse_of_what_is_no_sentence():
    assert grammar_of("sums").laws.most_probable_parse([[0], [3, 0]])[0] is None


@pytest.mark.parametrize("name", [name for name in LISTED if name != "few loops"])
def test_number_of_derivations(name):
    grammar = grammar_of(name)
    sentences = [*some_sentences(grammar, 12), (0, 0, 0), ()]
    numbers = grammar.laws.num_derivations(sentences)
    assert numbers == [len(derivations(grammar, sentence)) for sentence in sentences]
    assert max(numbers) > 1 or name in ("sums", "brackets")


def test_numbers_of_derivations_are_catalan_numbers_beyond_any_float():
    grammar = grammar_of("ambiguous")
    numbers = grammar.laws.num_derivations([[0] * 12, [0] * 150])
    assert numbers == [math.comb(22, 11) // 12, math.comb(298, 149) // 150]


def test_loops_of_units_make_infinitely_many_derivations():
    grammar = PCFG.from_text("S -> S [0.2] | A [0.3] | 'b' [0.5]\nA -> 'a'")
    assert grammar.laws.num_derivations([[0], [1], []]) == [math.inf, math.inf, 0]
    grammar = PCFG.from_text("S -> A B\nA -> A E [0.5] | 'a' [0.5]\nB -> 'b'\nE -> [0.4] | 'e' [0.6]")
    number = dict(zip(grammar.terminals, range(3), strict=True))
    rows = [[number[x] for x in text] for text in ("ab", "aeb")]
    assert grammar.laws.num_derivations(rows) == [math.inf, math.inf]


@pytest.mark.parametrize("name", LISTED)
def test_sampled_derivations_follow_the_posterior(name):
    grammar = grammar_of(name)
    sentences = [w for w in some_sentences(grammar, 20) if len(w) >= 2]
    found = max((derivations(grammar, w, 1e-9 if name == "few loops" else 0.0) for w in sentences), key=len)
    sentence, num = found[0][3], 3000
    generator = torch.Generator().manual_seed(0)
    trees = grammar.laws.sample_posterior([sentence] * num, generator=generator)
    counts = Counter(tuple(tree.rules.tolist()) for tree in trees)
    mass = math.fsum(p for p, *_ in found)
    expected = {rules: num * p / mass for p, rules, *_ in found}
    assert all(tuple(tree.tokens.tolist()) == sentence for tree in trees)
    common = [rules for rules, e in expected.items() if e >= 5]
    rest = num - sum(expected[rules] for rules in common)
    statistic = sum((counts[rules] - expected[rules]) ** 2 / expected[rules] for rules in common)
    if rest > 5:
        statistic += (num - sum(counts[rules] for rules in common) - rest) ** 2 / rest
    degrees = max(len(common) - (rest <= 5), 1)
    assert (statistic - degrees) / math.sqrt(2 * degrees) < 4.5


def test_sampled_derivations_of_masked_tokens():
    grammar, num = grammar_of("finite"), 4000
    full, _ = string_laws(grammar, 2)
    trees = grammar.laws.sample_posterior(
        [[0, 0]] * num, np.array([[True, True]] * num), generator=torch.Generator().manual_seed(1)
    )
    counts = Counter(tuple(tree.tokens.tolist()) for tree in trees)
    law = {w: p for w, p in full.items() if len(w) == 2}
    for w, p in law.items():
        p /= math.fsum(law.values())
        assert abs(counts[w] - num * p) < 4.5 * math.sqrt(num * p * (1 - p) + 1)


@pytest.mark.parametrize("by_start", [False, True])
def test_open_constituents_given_the_prefix(by_start):
    grammar = grammar_of("finite")
    everything = derivations(grammar)
    rows = list(dict.fromkeys(written for *_, written in everything))[::3]
    laws, valid = grammar.laws.causal_posteriors(rows, by_start=by_start)
    for n, row in enumerate(rows):
        for i in range(len(row)):
            agreeing = [(p, spans) for p, _, spans, written in everything if written[: i + 1] == row[: i + 1]]
            mass = math.fsum(p for p, _ in agreeing)
            expected = np.zeros((len(row), len(grammar.symbols)))
            for p, spans in agreeing:
                for symbol, start, end in spans:
                    if start <= i < end:
                        expected[start, grammar.symbols.index(symbol)] += p / mass
            found = laws[n, i, : len(row)] if by_start else laws[n, i]
            np.testing.assert_allclose(found, expected if by_start else expected.sum(0), rtol=0, atol=1e-12)
            assert valid[n, i]


def test_open_constituents_of_recursive_grammars():
    grammar = grammar_of("sums")
    tokens = grammar.encode("x * x +")
    laws, valid = grammar.laws.causal_posteriors([tokens], by_start=True)
    assert valid.all()
    e, t, f = (grammar.symbols.index(name) for name in "ETF")
    # After '+' the T before it is closed, and two E at least begin at 0: the one around '+' and what it is part of.
    assert laws[0, 3, 0, t].item() == pytest.approx(0.0, abs=1e-14)
    assert laws[0, 3, 0, e].item() >= 1
    assert laws[0, 2, 2, f].item() == pytest.approx(1.0, abs=1e-12)
    # Of E -> E + T the chain goes on with probability 0.3 each time it is not the start.
    assert laws[0, 3, 0, e].item() == pytest.approx(1 / (1 - 0.3), abs=1e-12)


def test_float32_and_long_sentences():
    """A thousand tokens: laws and log P, in float32 too; the probability is far below what float32 can hold."""
    grammar = PCFG.from_name("pcfg-v3-m2-s2.3-L6", rules_seed=1)
    grammar = PCFG.from_text("R -> S R [0.8] | S [0.2]\n" + grammar.to_text())
    tokens, lengths = grammar.sample(200, seed=3, return_lengths=True)
    length = lengths[lengths > 1000].min()
    row = tokens[(lengths == length).argmax()][:length].tolist()
    assert 1000 < len(row) < 1500
    laws, valid = grammar.laws.token_laws([row], len(row) + 1)
    single, _ = grammar.laws.token_laws([row], len(row) + 1, dtype=torch.float32)
    assert valid.all()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), laws, rtol=1e-6, atol=1e-7)
    targets = torch.tensor([[*row, grammar.vocab_size]])
    chain = laws.gather(2, targets[..., None]).log().sum().item()
    assert grammar.laws.log_prob([row]).item() == pytest.approx(chain, abs=1e-9)
    assert grammar.laws.log_prob([row], dtype=torch.float32).item() == pytest.approx(chain, rel=1e-6)
    assert chain < -300
    assert grammar.laws.most_probable_parse([row])[0].log_prob <= chain + 1e-9


def test_what_hardly_any_derivation_allows_is_not_lost():
    """Of 700 letters a, the derivation whose middle is yet to come has a share of 1e-350: then comes b."""
    grammar = PCFG.from_text("S -> 'a' S 'a' [0.1] | 'b' S 'b' [0.3] | 'a' 'a' [0.2] | 'b' 'b' [0.4]")
    row = [0] * 700 + [1, 1] + [0] * 700
    assert grammar.laws.log_prob([row]).item() == pytest.approx(700 * math.log(0.1) + math.log(0.4), abs=1e-6)
    laws, valid = grammar.laws.token_laws([row])
    assert valid.all()
    # The first b is in the middle, or what follows begins with b, with probability 0.3 + 0.4.
    assert laws[0, 701, 1].item() == pytest.approx((0.4 + 0.3 * 0.7) / 0.7, abs=1e-9)
    assert grammar.laws.log_prob([[0] * 700 + [1, 0]]).item() == -math.inf


@pytest.mark.parametrize("name", ["ambiguous", "loops", "sums", "brackets"])
def test_open_constituents_against_sampled_derivations(name):
    """Of the derivations that begin with a prefix: how many constituents contain its last token, by their starts."""
    grammar = grammar_of(name)
    trees = grammar.derivations(40000, seed=11)
    prefixes = Counter(tuple(tree.tokens[:3].tolist()) for tree in trees if len(tree.tokens) >= 3)
    for prefix, num in prefixes.most_common(3):
        counts = np.zeros((num, 3, len(grammar.symbols)))
        agreeing = (tree for tree in trees if tuple(tree.tokens[:3].tolist()) == prefix)
        for count, tree in zip(counts, agreeing, strict=True):
            for symbol, (start, end) in zip(tree.symbols, tree.spans, strict=True):
                if start <= 2 < end:
                    count[start, symbol] += 1
        laws, valid = grammar.laws.causal_posteriors([prefix], by_start=True)
        error = counts.std(0) / math.sqrt(num) + 1e-9
        assert valid.all()
        assert (np.abs(counts.mean(0) - laws[0, 2].numpy()) < 4.5 * error + 2 / num).all()


def random_grammar(seed):
    """Up to three symbols, two tokens, rules of 0 to 4 children, uneven probabilities; unit cycles and all."""
    rng = np.random.default_rng(seed)
    while True:
        names, tokens, lines = "SAB"[: rng.integers(1, 4)], "ab"[: rng.integers(1, 3)], []
        for name in names:
            rights = [
                rng.choice(list(names + tokens * 2), size)
                for size in rng.choice(5, rng.integers(1, 5), p=[0.15, 0.3, 0.3, 0.15, 0.1])
            ]
            probs = rng.dirichlet(np.full(len(rights), 0.7)).tolist()
            lines.append(
                f"{name} -> " + " | ".join(f"{' '.join(r)} [{p!r}]" for r, p in zip(rights, probs, strict=True))
            )
        try:
            grammar = PCFG.from_text("\n".join(lines), start="S")
        except ValueError:  # not consistent, or without tokens
            continue
        if grammar.rules.spectral_radius < 0.9 and grammar.rules.num_rules > 2:
            return grammar


@pytest.mark.parametrize("seed", range(25))
def test_random_grammars(seed):
    grammar = random_grammar(seed)
    full, begun = string_laws(grammar, 5)
    longest = 4 if grammar.max_length is None else min(4, grammar.max_length)
    prefixes = list(itertools.product(range(grammar.vocab_size), repeat=longest))
    laws, valid = grammar.laws.token_laws(prefixes)
    for row, prefix in enumerate(prefixes):
        for i in range(longest + 1):
            before = prefix[:i]
            assert bool(valid[row, i]) == (before in begun)
            if valid[row, i]:
                law = [begun.get((*before, x), 0.0) for x in range(grammar.vocab_size)] + [full.get(before, 0.0)]
                np.testing.assert_allclose(laws[row, i], np.array(law) / begun[before], rtol=0, atol=1e-12)
    sentences = [w for w, p in full.items() if p > 1e-12][:8]
    trees, drawn = grammar.laws.most_probable_parse(sentences), grammar.laws.sample_posterior(sentences)
    numbers, logs = grammar.laws.num_derivations(sentences), grammar.laws.log_prob(sentences).tolist()
    for w, tree, other, number, log in zip(sentences, trees, drawn, numbers, logs, strict=True):
        assert tuple(tree.tokens.tolist()) == tuple(other.tokens.tolist()) == w
        assert other.log_prob - 1e-9 <= tree.log_prob <= log + 1e-9
        assert (abs(tree.log_prob - log) < 1e-9) or number > 1


def test_improbable_is_not_impossible():
    """Rules of probability 1e-18 along the left edge, in units and among empty rules keep all their digits."""
    grammar = PCFG.from_text(
        "S -> A B c [0.5] | B [1e-18] | d [0.5]\n"
        "A -> S b [0.3] | [1e-18] | a [0.7]\n"
        "B -> A [1e-18] | b [0.5] | S S d [0.5]"
    )
    full, begun = string_laws(grammar, 4)
    rows = [w for w in full if len(w) <= 4]
    logs = grammar.laws.log_prob(rows)
    for row, log in zip(rows, logs.tolist(), strict=True):
        assert log == pytest.approx(math.log(full[row]), abs=1e-9)
    assert min(full.values()) < 1e-50
    prefix_logs = grammar.laws.prefix_log_prob(rows)
    np.testing.assert_allclose(prefix_logs, [math.log(begun[row]) for row in rows], rtol=0, atol=1e-9)


def test_nothing_and_no_rows():
    grammar = PCFG.from_text("S -> a S [0.4] | [0.6]")
    assert grammar.laws.log_prob([[], [0]]).tolist() == pytest.approx([math.log(0.6), math.log(0.24)])
    assert [str(tree) for tree in grammar.laws.most_probable_parse([[], [0]])] == ["(S)", "(S a (S))"]
    assert [len(tree.tokens) for tree in grammar.laws.sample_posterior([[], [0]])] == [0, 1]
    laws, valid = grammar.laws.token_laws([[], [0]])
    assert laws.shape == (2, 2, 2)
    assert valid.tolist() == [[True, False], [True, True]]
    empty = np.zeros((0, 3), dtype=np.int64)
    assert grammar.laws.token_laws(empty)[0].shape == (0, 4, 2)
    assert grammar.laws.log_prob(empty).shape == (0,)
    assert grammar.laws.posteriors(empty).tokens.shape == (0, 3, 1)
    assert grammar.laws.posteriors([[]]).tokens.shape == (1, 0, 1)
    assert grammar.laws.causal_posteriors([[]])[0].shape == (1, 0, 1)


def test_impossible_evidence():
    grammar = grammar_of("sums")
    rows = [grammar.encode("x + x"), grammar.encode("x x x")]
    with pytest.raises(ValueError, match="the evidence of row 1 is impossible"):
        grammar.laws.posteriors(rows)
    with pytest.raises(ValueError, match="the evidence of row 1 is impossible"):
        grammar.laws.sample_posterior(rows)
    posteriors, logs = grammar.laws.posteriors(rows, return_log_evidence=True)
    assert logs[1].item() == -math.inf
    assert (posteriors.tokens[1] == 1 / grammar.vocab_size).all()
    assert set(posteriors.spans.rows.tolist()) == {0}
    for arguments, message in (
        ({"tokens": rows, "evidence": np.ones((1, 2, 5))}, "give either tokens"),
        ({"tokens": rows, "mask": np.ones((2, 3))}, "must be bool"),
        ({"evidence": np.ones((1, 2, 3))}, "it must be numbers"),
        ({"evidence": -np.ones((1, 2, 5))}, "likelihoods must be finite"),
        ({"evidence": np.ones((1, 2, 5)), "lengths": [3]}, "lengths must be 1 integers from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            grammar.laws.posteriors(**arguments)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_results_lie_where_tokens_do():
    grammar = PCFG.from_name("pcfg-dyck2")
    tokens = torch.from_numpy(grammar.sample(20).astype(np.int64))
    for there, here in zip(grammar.laws.token_laws(tokens.cuda()), grammar.laws.token_laws(tokens), strict=True):
        assert there.is_cuda
        assert torch.equal(there.cpu(), here)
    assert grammar.laws.log_prob(tokens.cuda()).is_cuda
    assert grammar.laws.posteriors(tokens.cuda()).spans.probs.is_cuda
