"""Ambiguous grammars on fixed trees as sources: names, identity, sampling."""

import hashlib
import math
import pickle

import numpy as np
import pytest
from exact_law import chi_squared_z

from rhm_hf.grammar import NotSupported, Source, exchange_synonyms
from rhm_hf.grammar.ambiguous.ambiguous_grammar import AmbiguousGrammar
from rhm_hf.grammar.ambiguous.broadcast_parameters import AmbiguousParameters, ColouringParameters, IsingParameters
from rhm_hf.grammar.ambiguous.expansions import Factors, RuleList
from rhm_hf.grammar.registry import from_parameters, parameters_from_dict, parameters_from_name


NAMES = ["ising-rho0.8-s2-L4", "ising-rho-0.5-s3-L2", "colouring-q5-s2-L4", "ambiguous-v8-m4-s2-L3"]


def named(name, seed=0):
    return from_parameters(parameters_from_name(name, seed))


@pytest.mark.parametrize("name", NAMES)
def test_names_files_and_copies(name, tmp_path):
    parameters = parameters_from_name(name, 3)
    assert parameters.name == name
    assert parameters_from_dict(parameters.to_dict()) == parameters
    grammar = from_parameters(parameters)
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    grammar.save_pretrained(tmp_path)
    again = Source.from_pretrained(tmp_path)
    assert again == grammar
    assert again.name == name
    assert grammar.sentence_length == parameters.sentence_length


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ising-rho1.5-s2-L4", "correlation"),
        ("ising-s2-L4", "not understood"),
        ("colouring-q1-s2-L4", "vocab_size=1"),
        ("ambiguous-v2-m5-s2-L2", "too many"),
        ("ambiguous-v2-m2-s2-L40", "2\\^31 tokens"),
    ],
)
def test_names_that_are_none(name, said):
    with pytest.raises(ValueError, match=said):
        parameters_from_name(name)


def test_random_rules_are_distinct_within_a_symbol_and_shared_between_symbols():
    grammar = named("ambiguous-v8-m32-s2-L2")
    for level in grammar.levels:
        keys = level.rules[..., 0] * 8 + level.rules[..., 1]
        assert all(len(set(row)) == 32 for row in keys.tolist())
        assert len(np.unique(keys)) < keys.size
    assert named("ambiguous-v8-m32-s2-L2", 1) != grammar


@pytest.mark.parametrize("name", NAMES)
def test_drawn_levels_have_the_law_of_the_rules(name):
    grammar = named(name)
    levels = grammar.derivations(4000, seed=2)
    assert np.array_equal(levels[0], grammar.sample(4000, seed=2))
    assert np.array_equal(grammar.classes(4000, seed=2), levels[-1][:, 0])
    for level in range(1, grammar.depth + 1):
        v, size = grammar.num_symbols_at(level - 1), grammar.tuple_size_at(level)
        children = levels[level - 1].reshape(-1, size)
        parents = levels[level].ravel()
        for child in range(size):
            counts = np.zeros((grammar.num_symbols_at(level), v))
            np.add.at(counts, (parents, children[:, child]), 1)
            expected = counts.sum(1, keepdims=True) * grammar.level(level).child_law(child, v)
            assert abs(chi_squared_z(counts, expected)) < 4.5


def test_a_sentence_depends_on_seed_split_and_index_alone():
    grammar = named("ambiguous-v8-m4-s2-L3")
    tokens = grammar.sample(5000, seed=3)
    assert np.array_equal(grammar.sample(60, seed=3, start=4080), tokens[4080:4140])
    digest = hashlib.sha256(np.ascontiguousarray(tokens)).hexdigest()
    assert (grammar.fingerprint[:16], digest[:16]) == ("3570ea700e00631e", "ae0731c983cc791e")


def test_disjoint_splits_and_their_derivations():
    grammar = named("ambiguous-v4-m4-s2-L2", 1)
    parts = {}
    for split in ("train", "validation", "test"):
        tokens = grammar.sample(200, split=split, disjoint=True)
        assert np.array_equal(grammar.derivations(200, split=split, disjoint=True)[0], tokens)
        parts[split] = set(map(tuple, tokens.tolist()))
    assert not parts["train"] & parts["test"]
    assert not parts["validation"] & parts["test"]


def test_sentences_are_counted_by_their_supports():
    assert named("ising-rho0.8-s2-L6").num_sentences == 2**64
    assert named("ising-rho1.0-s2-L6").num_sentences == 2
    assert named("colouring-q2-s2-L5").num_sentences == 2
    assert named("ambiguous-v64-m500-s3-L3").num_sentences == math.inf  # too many supports
    assert named("colouring-q2-s2-L5").num_derivations == 2


def test_synonyms_of_drawn_derivations_are_exchanged_and_what_needs_a_parse_refuses():
    grammar = named("ambiguous-v8-m4-s2-L3")
    levels = grammar.derivations(2000, seed=1)
    new = exchange_synonyms(grammar, levels, 2, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(new[2:], levels[2:], strict=True))
    assert (new[0] != levels[0]).any()
    for level in (1, 2):
        rules = grammar.rules_at(level)[new[level].ravel()]
        assert (rules == new[level - 1].reshape(-1, 1, 2)).all(2).any(1).all()
    with pytest.raises(NotSupported, match="independent given their parent"):
        exchange_synonyms(named("ising-rho0.8-s2-L3"), named("ising-rho0.8-s2-L3").derivations(5), 2)
    with pytest.raises(NotSupported, match="several symbols may write one tuple"):
        grammar.prefix_tree(1)


def test_few_long_sentences_are_listed():
    tokens, probs = named("colouring-q2-s2-L6").list_sentences()
    assert tokens.shape == (2, 64)
    assert probs.tolist() == [0.5, 0.5]
    grammar = named("ambiguous-v16-m2-s2-L3")
    tokens, probs = grammar.list_sentences()
    assert len(tokens) == grammar.num_sentences < 16**8
    assert abs(probs.sum() - 1) < 1e-12
    assert (np.diff(np.ravel_multi_index(tokens.T.astype(np.int64), (16,) * 8)) > 0).all()
    logs = grammar.laws.log_prob(grammar.laws.checked(tokens))
    np.testing.assert_allclose(logs, np.log(probs), atol=1e-12)
    with pytest.raises(NotSupported, match="list of all sentences"):
        named("ising-rho0.8-s2-L6").list_sentences()


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([], "is empty"),
        ([RuleList(np.zeros((2, 2)), None)], "integers of shape"),
        ([RuleList(np.full((2, 1, 2), 7), None)], "holds the symbol 7"),
        ([RuleList(np.zeros((2, 2, 2), int), None)], "twice"),
        ([Factors(np.ones((2, 2, 2)))], "sums to 2"),
        ([Factors(np.ones((2, 2, 3)))], "level below = 2"),
    ],
)
def test_rules_by_hand_are_checked(levels, said):
    with pytest.raises(ValueError, match=said):
        AmbiguousGrammar(levels, vocab_size=2)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="tuple_size"):
        IsingParameters(0.5, 0, 2)
    with pytest.raises(ValueError, match="depth"):
        ColouringParameters(3, 2, 0)
    with pytest.raises(ValueError, match="num_synonyms"):
        AmbiguousParameters(3, 0, 2, 2)
