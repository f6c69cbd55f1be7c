"""General grammars as sources: sentences follow the law and are a pure function, counts, lengths, entropies, files."""

import contextlib
import hashlib
import math
import pickle
from collections import Counter

import numpy as np
import pytest
from pcfg_brute_force import TEXTS, derivations, string_laws

from rhm_hf.grammar import Grammar, NotSupported, enumerate_sentences
from rhm_hf.grammar.pcfg import PCFG
from rhm_hf.grammar.pcfg.parameters import gallery


def grammar_of(name):
    return PCFG.from_text(TEXTS[name])


def rows_of(grammar, tokens):
    return [tuple(row[row < grammar.vocab_size].tolist()) for row in tokens]


# Sentences.


@pytest.mark.parametrize("name", TEXTS)
def test_sentences_follow_the_law(name):
    grammar, num, longest = grammar_of(name), 20000, 5
    full, _ = string_laws(grammar, longest)
    counts = Counter(rows_of(grammar, grammar.sample(num, seed=7)))
    expected = {row: num * p for row, p in full.items()}
    assert all(row in full for row in counts if len(row) <= longest), "something impossible was drawn"
    common = [row for row, e in expected.items() if e >= 5]
    rest = num - sum(expected[row] for row in common)
    statistic = sum((counts[row] - expected[row]) ** 2 / expected[row] for row in common)
    degrees = len(common) - 1
    if rest > 5:
        statistic += (num - sum(counts[row] for row in common) - rest) ** 2 / rest
        degrees += 1
    assert abs(statistic - degrees) / math.sqrt(2 * degrees) < 4.5


@pytest.mark.parametrize("name", ["pcfg-dyck2", "pcfg-toy_english", "pcfg-v3-m2-s2.3-L3"])
def test_sentences_are_a_pure_function(name):
    grammar = PCFG.from_name(name)
    tokens, lengths = grammar.sample(9000, seed=5, return_lengths=True)
    again, few = grammar.sample(100, seed=5, start=8900, return_lengths=True)
    np.testing.assert_array_equal(few, lengths[8900:])
    np.testing.assert_array_equal(again, tokens[8900:, : again.shape[1]])
    assert again.shape[1] == few.max()
    assert (tokens[np.arange(tokens.shape[1]) >= lengths[:, None]] == grammar.vocab_size + 1).all()
    one = [grammar.sample(1, seed=5, start=i)[0] for i in (0, 1, 4096)]
    for i, row in zip((0, 1, 4096), one, strict=True):
        np.testing.assert_array_equal(row, tokens[i, : lengths[i]])
    for other in (grammar.sample(9000, seed=6), grammar.sample(9000, seed=5, split="test")):
        assert rows_of(grammar, other) != rows_of(grammar, tokens)


FROZEN = {
    "pcfg-dyck2": "bedbc5325c779621",
    "pcfg-arithmetic": "0ea824de31a2d4a1",
    "pcfg-toy_english": "454d53ebb37eef9e",
    "pcfg-v3-m2-s2.3-L6": "b1aa87105555f594",
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_sentences(name):
    """Sentences may never change: data sets and published results are named by parameters and seeds alone."""
    tokens = PCFG.from_name(name).sample(12, seed=3)
    assert hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()[:16] == FROZEN[name]


def test_disjoint_splits():
    grammar = PCFG.from_name("pcfg-arithmetic")
    splits = {split: grammar.sample(500, split=split, disjoint=True) for split in ("train", "validation", "test")}
    rows = {split: set(rows_of(grammar, tokens)) for split, tokens in splits.items()}
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    assert not rows["test"] & rows["validation"]
    again = grammar.sample(20, split="test", disjoint=True, start=480)
    np.testing.assert_array_equal(again, splits["test"][480:, : again.shape[1]])
    owners = 0
    for split in splits:  # the one sentence of this grammar belongs to one of them
        with contextlib.suppress(ValueError):
            owners += len(PCFG.from_text("S -> a").sample(1, split=split, disjoint=True))
    assert owners == 1
    with pytest.raises(ValueError, match="sampling='unique' is impossible"):
        grammar.sample(3, sampling="unique")


@pytest.mark.parametrize("disjoint", [False, True])
def test_derivations_are_those_of_the_sentences(disjoint):
    grammar = PCFG.from_name("pcfg-toy_english")
    arguments = {"seed": 2, "split": "test", "start": 30, "disjoint": disjoint}
    tokens, trees = grammar.sample(80, **arguments), grammar.derivations(80, **arguments)
    logs = grammar.laws.log_prob(tokens).tolist()
    for row, tree, log in zip(rows_of(grammar, tokens), trees, logs, strict=True):
        assert tuple(tree.tokens.tolist()) == row
        assert tree.log_prob <= log + 1e-12
        assert len(tree) == len(tree.rules) == len(tree.spans)
        assert tree.spans[0].tolist() == [0, len(row)]
    unambiguous = [n == 1 for n in grammar.laws.num_derivations(tokens)]
    assert any(unambiguous)
    for tree, log, alone in zip(trees, logs, unambiguous, strict=True):
        assert (abs(tree.log_prob - log) < 1e-12) == alone


def test_a_tree():
    grammar = PCFG.from_text("S -> a S b [0.4] | A [0.6]\nA -> [0.5] | c A [0.5]")
    tree = next(t for t in grammar.derivations(100) if t.tokens.tolist() == grammar.encode("a c b"))
    assert str(tree) == "(S a (S (A c (A))) b)"
    assert [grammar.symbols[a] for a in tree.symbols] == ["S", "S", "A", "A"]
    assert tree.spans.tolist() == [[0, 3], [1, 2], [1, 2], [2, 2]]
    assert tree.log_prob == pytest.approx(math.log(0.4 * 0.6 * 0.5 * 0.5))


# What is known exactly.


@pytest.mark.parametrize("name", TEXTS)
def test_lengths_and_entropies(name):
    grammar = grammar_of(name)
    law = grammar.length_law(400)
    assert law.sum() == pytest.approx(1, abs=1e-9)
    n = np.arange(401)
    assert grammar.mean_length == pytest.approx((law * n).sum(), abs=1e-6)
    assert grammar.length_variance == pytest.approx((law * n**2).sum() - (law * n).sum() ** 2, abs=1e-4)
    assert grammar.min_length == n[law > 0].min()
    trees = grammar.derivations(4000, seed=1)
    logs = -np.array([tree.log_prob for tree in trees])
    assert abs(logs.mean() - grammar.derivation_entropy) < 4.5 * logs.std() / math.sqrt(len(logs))
    assert grammar.entropy <= grammar.derivation_entropy + 4.5 * grammar.entropy_stderr + 1e-12
    if name == "sums":  # unambiguous
        assert abs(grammar.entropy - grammar.derivation_entropy) < 4.5 * grammar.entropy_stderr


def test_a_finite_grammar_is_known_completely():
    grammar = grammar_of("finite")
    everything = derivations(grammar)
    assert math.fsum(p for p, *_ in everything) == pytest.approx(1, abs=1e-12)
    assert grammar.num_derivations == len(everything)
    law = Counter()
    for p, _, _, written in everything:
        law[written] += p
    assert grammar.num_sentences == len(law) < grammar.num_derivations
    assert grammar.max_length == max(map(len, law))
    assert grammar.entropy == pytest.approx(-math.fsum(p * math.log(p) for p in law.values()), abs=1e-12)
    assert grammar.entropy_stderr == 0
    tokens, probs = enumerate_sentences(grammar)
    found = dict(zip(rows_of(grammar, tokens), probs.tolist(), strict=True))
    assert found.keys() == law.keys()
    assert all(found[row] == pytest.approx(p, abs=1e-14) for row, p in law.items())
    h = -math.fsum(p * math.log(p) for p, *_ in everything)
    assert grammar.derivation_entropy == pytest.approx(h, abs=1e-12)


def test_counts_beyond_any_float_and_without_limit():
    grammar = PCFG.from_name("pcfg-v3-m2-s2.3-L6")
    counts = {}
    for a in reversed(range(len(grammar.symbols))):
        rights = [grammar.rules.right_sides[r] for r in grammar.rules.rules_of(a)]
        counts[a] = sum(math.prod(counts[c - 3] for c in right if c >= 3) for right in rights)
    assert grammar.num_derivations == counts[0] > 2**100
    assert 2**100 < grammar.num_sentences == grammar.num_derivations
    for name in ("ambiguous", "loops", "sums", "brackets"):
        grammar = grammar_of(name)
        assert grammar.num_derivations == grammar.num_sentences == math.inf
        assert grammar.max_length is None
        assert grammar.is_recursive
    loop = PCFG.from_text("S -> S [0.1] | A [0.4] | a [0.5]\nA -> a A1 | b\nA1 -> [0.5] | A1 A1 [0.1] | c [0.4]")
    assert (loop.num_derivations, loop.num_sentences, loop.max_length) == (math.inf, math.inf, None)
    finite = PCFG.from_text("S -> S [0.1] | E S [0.2] | a [0.3] | a b [0.4]\nE -> [0.9] | E E [0.1]")
    assert (finite.num_derivations, finite.num_sentences, finite.max_length) == (math.inf, 2, 2)
    tokens, probs = enumerate_sentences(finite)
    assert rows_of(finite, tokens) == [(0,), (0, 1)]
    np.testing.assert_allclose(probs, [3 / 7, 4 / 7], rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="too many sentences"):
        enumerate_sentences(grammar)


# Identity.


@pytest.mark.parametrize("name", [*(f"pcfg-{title}" for title in gallery()), "pcfg-v4-m3-s1.2.4-L3"])
def test_names_files_and_pickles(name, tmp_path):
    grammar = Grammar.from_name(name, rules_seed=1 if "-v" in name else 0)
    assert isinstance(grammar, PCFG)
    assert grammar.name == name
    grammar.save_pretrained(tmp_path)
    for again in (
        Grammar.from_pretrained(tmp_path),
        pickle.loads(pickle.dumps(grammar)),
        grammar.without_parameters(),
    ):
        assert again == grammar
        np.testing.assert_array_equal(again.sample(20, seed=1), grammar.sample(20, seed=1))
    assert again.name.startswith("custom-")
    assert again.terminals == grammar.terminals


def test_numbers_from_a_file_are_checked():
    grammar = grammar_of("sums")
    arrays, settings = grammar.arrays(), grammar.settings()
    for change, message in (
        ({"probs": arrays["probs"] * 0.5}, "sum to 0.5 instead of 1"),
        ({"probs": arrays["probs"][:-1]}, "do not belong together"),
        ({"rights": arrays["rights"] + 5}, "out of range"),
        ({"rights": arrays["rights"].astype(float)}, "row of integers"),
        ({"starts": arrays["starts"][::-1]}, "starts must ascend"),
        ({"probs": np.where(arrays["probs"] == 0.3, np.nan, arrays["probs"])}, "probability nan"),
    ):
        with pytest.raises(ValueError, match=message):
            PCFG.from_arrays({**arrays, **change}, settings)
    with pytest.raises(ValueError, match="different names"):
        PCFG.from_arrays(arrays, {**settings, "symbols": ["E", "E", "F"]})


def test_what_a_general_grammar_lacks_is_refused():
    grammar = PCFG.from_name("pcfg-dyck2")
    for ask in (
        lambda: grammar.sentence_length,
        lambda: grammar.depth,
        lambda: grammar.parse(grammar.sample(2)),
        lambda: grammar.laws.parse(grammar.sample(2)),
        lambda: grammar.laws.token_laws(grammar.sample(2), 2, context_length=1),
        lambda: grammar.laws.node_marginals(0),
    ):
        with pytest.raises(NotSupported, match="does not exist for pcfg-dyck2"):
            ask()
