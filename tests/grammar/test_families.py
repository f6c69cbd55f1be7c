"""Every family through the interface that all share: names, files, pickles, datasets' records, refusals."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from small_grammars import skewed_grammar

from rhm_hf.cli import main
from rhm_hf.grammar import (
    FilteredGrammar,
    FilteredParameters,
    Grammar,
    GrammarParameters,
    HiddenMarkovParameters,
    HiddenMarkovSource,
    LayeredParameters,
    SparseGrammar,
    SparseParameters,
    exchange_synonyms,
    redraw_rule,
)
from rhm_hf.grammar.chain import chain_counts
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.grammar.registry import parameters_from_dict, parameters_from_name, rebuilt
from rhm_hf.inference import log_prob, node_marginals
from rhm_hf.statistics import tuple_ids
from rhm_hf.statistics.exact import exact_correlation, joint_law, tuple_joint_law


NAMES = [
    "v4-m3-s2-L2-cut1",
    "v4-m2-s2-L3-c3-zipf0.5-cut2",
    "v3-m3-s2-L3-uncorrelated",
    "v3-m3-s2-L3-c2-zipf1.0@1-uncorrelated-cut0",
    "hmm-v4-h3-m2-d4-p0.5",
    "hmm-v300-h7-m5-d9-p1.0",
    "layered-c2-v3.4-m2.3-s3.2",
    "layered-c5-v300-m2-s1",
    "v4-m2-s2-L2-sparse1",
    "v3-m2-s3-L2-c2-zipf0.5@1-sparse2b",
    "v3-m3-s2-L2-uncorrelated-sparse1",
]
BY_HAND = {
    "filtered": lambda: FilteredGrammar(skewed_grammar(), 1),
    "hidden Markov": lambda: HiddenMarkovSource(
        [0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5, 0], [0, 0.1, 0.9]], 6
    ),
    "sparse": lambda: SparseGrammar(skewed_grammar(), 1, "B"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_parsed(name):
    parameters = parameters_from_name(name, rules_seed=3)
    assert parameters.name == name
    assert parameters.rules_seed == 3
    assert parameters_from_dict(json.loads(json.dumps(parameters.to_dict()))) == parameters
    source = Grammar.from_name(name, rules_seed=3)
    assert source.parameters == parameters
    assert source.name == name
    assert source != Grammar.from_name(name, rules_seed=4)
    assert len(parameters_from_name(name).name) < 60  # it names folders


@pytest.mark.parametrize("make", [*NAMES, *BY_HAND])
def test_files_pickles_and_identity(make, tmp_path):
    source = BY_HAND[make]() if make in BY_HAND else Grammar.from_name(make, rules_seed=2)
    source.save_pretrained(tmp_path)
    for again in (Grammar.from_pretrained(tmp_path), pickle.loads(pickle.dumps(source))):
        assert type(again) is type(source)
        assert again == source
        assert (again.name, again.parameters) == (source.name, source.parameters)
        assert hash(again) == hash(source)
        assert np.array_equal(again.sample(9, seed=1, sampling="iid"), source.sample(9, seed=1, sampling="iid"))
    bare = source.without_parameters()
    assert bare == source
    assert bare.parameters is None
    assert bare.name.startswith("custom-")


def test_files_of_a_family_that_is_not_known(tmp_path):
    class Future(Grammar):
        family = "future"

    known = Grammar.from_name("v4-m2-s2-L2")
    Future(known.rules, known.rule_probs, known.root_probs, known.vocab_size).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"family='future' is unknown to this version of rhm_hf: it knows .*layered,"):
        Grammar.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'initial' is missing"):
        rebuilt({"family": "hidden_markov", "settings": known.settings()}, known.arrays())


@pytest.mark.parametrize("name", ["v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d4-p0.5", "v4-m2-s2-L2-zipf1.0-sparse1"])
def test_sentences_are_a_function_of_their_index_and_splits_can_be_disjoint(name):
    source = Grammar.from_name(name)
    whole = source.sample(500, seed=3)
    pieces = [source.sample(size, seed=3, start=start) for start, size in ((0, 1), (1, 230), (231, 269))]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert not np.array_equal(source.sample(500, seed=4), whole)
    assert not np.array_equal(source.sample(500, seed=3, split="test"), whole)
    parts = [
        {tuple(row) for row in source.sample(300, split=split, disjoint=True).tolist()}
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, parts)) == len(set.union(*parts))
    # The hidden symbols belong to the sentences, however those were drawn.
    for disjoint in (False, True):
        levels = source.derivations(100, seed=3, disjoint=disjoint)
        assert np.array_equal(levels[0], source.sample(100, seed=3, disjoint=disjoint))
    with pytest.raises(ValueError, match="'unique' is impossible for"):
        source.sample(3, sampling="unique")


def test_sampled_sentences_never_change():
    """Frozen: a seed means these sentences and these classes."""
    found = {}
    for name in FROZEN:
        levels = Grammar.from_name(name).derivations(3, seed=1)
        found[name] = (levels[0].tolist(), levels[-1].ravel().tolist())
    assert found == FROZEN


FROZEN = {
    "v4-m3-s2-L2-cut1": ([[3, 2, 1, 3], [3, 3, 0, 3], [1, 0, 3, 1]], [0, 1, 2]),
    "hmm-v4-h3-m2-d4-p0.5": ([[0, 2, 2, 2], [1, 1, 0, 1], [2, 2, 0, 2]], [0, 1, 0]),
}


def test_sampling_tables_of_every_kind():
    """Wide packed units, many levels below, uneven laws: frequencies of tokens against their exact marginals."""
    for name in ("v300-m7-s3-L3-cut2", "v16-m4-s2-L8-cut6", "v31-m11-s2-L4-zipf1.0-cut1", "hmm-v700-h90-m20-d6-p0.3"):
        source = Grammar.from_name(name)
        num = 3000
        tokens, exact = source.sample(num, seed=2), node_marginals(source, 0).numpy()
        found = np.stack([np.bincount(column, minlength=source.vocab_size) for column in tokens.T]) / num
        assert (found[exact == 0] == 0).all()
        error = np.sqrt(np.maximum(exact * (1 - exact), 1e-12) / num)
        z = (found - exact)[exact > 0] / error[exact > 0]
        assert abs((z**2).mean() - 1) < 0.2
        assert source.parse(tokens)[0].shape == tokens.shape


def test_what_has_no_sentence():
    source = Grammar.from_name("v4-m2-s2-L3-cut1")
    tokens = source.sample(5)
    tokens[3, :2] = next(
        pair for pair in np.ndindex(4, 4) if (source.grammar.rules_at(1).reshape(-1, 2) != pair).any(1).all()
    )
    with pytest.raises(ValueError, match=r"tokens\[3\] = \[.*\] is ungrammatical: at level 1"):
        source.parse(tokens)
    stuck = HiddenMarkovSource([1.0, 0], [[1, 0], [0, 1]], [[1, 0], [0, 1]], 3)
    assert stuck.num_sentences == 1
    with pytest.raises(ValueError, match=r"tokens\[1\] is ungrammatical: every block is possible"):
        stuck.parse(np.array([[0, 0, 0], [0, 1, 0]]))
    with pytest.raises(ValueError, match=r"tokens has shape \(2, 4\)"):
        stuck.parse(np.zeros((2, 4), dtype=int))


def test_large_numbers_of_sentences(monkeypatch, capsys):
    source = Grammar.from_name("v32-m8-s2-L6-cut5")
    pairs = {pair for law in source.emissions.swapaxes(0, 1) for pair in np.ndindex(32, 32) if law[[0, 1], pair].all()}
    assert source.num_sentences == len(pairs) * 8**62  # 31 rules in each of two blocks
    full = HiddenMarkovSource([1.0], [[1.0]], [[0.25] * 4], 200)
    assert full.num_sentences == 4**200
    assert full.entropy == pytest.approx(200 * math.log(4), rel=1e-12)
    monkeypatch.setattr(chain_counts, "SET_LIMIT", 1)
    source = Grammar.from_name("hmm-v4-h3-m2-d4-p0.5")
    assert source.num_sentences == math.inf
    with pytest.raises(ValueError, match="too many sentences to list"):
        enumerate_sentences(source)
    assert main(["info", source.name]) == 0
    assert "too many to count" in capsys.readouterr().out


def test_uncorrelated_rules_hide_the_class_from_every_tuple():
    """P(tuple, class) = P(tuple) P(class) at every place, exactly; the uniform model's differ."""
    for name in ("v3-m3-s2-L3-uncorrelated", "v2-m2-s3-L2-uncorrelated", "v2-m4-s3-L2-c1-uncorrelated"):
        grammar = Grammar.from_name(name, rules_seed=1)
        for level in range(2, grammar.depth + 1):
            for rules in grammar.rules_at(level):
                for place in rules.T:
                    counts = np.bincount(place, minlength=grammar.vocab_size)
                    assert (counts == len(rules) / grammar.vocab_size).all()
    assert dependence("v3-m3-s2-L3-uncorrelated") < 1e-14
    assert dependence("v3-m3-s2-L3-zipf1.0@1-uncorrelated") < 1e-14
    assert dependence("v3-m2-s2-L3") > 1e-3


def dependence(name) -> float:
    """The largest |P(level-1 tuple, class) - P(tuple) P(class)| over all tuples and places."""
    grammar = Grammar.from_name(name, rules_seed=1)
    tokens, probs = enumerate_sentences(grammar)
    classes = grammar.parse(tokens)[-1][:, 0]
    worst, v = 0.0, grammar.vocab_size
    for at in range(0, tokens.shape[1], 2):
        joint = np.zeros((v * v, grammar.num_classes))
        np.add.at(joint, (tokens[:, at].astype(int) * v + tokens[:, at + 1], classes), probs)
        worst = max(worst, np.abs(joint - joint.sum(1, keepdims=True) * joint.sum(0)).max())
    return worst


def test_layers_of_one_size_are_the_random_hierarchy_model():
    parameters = LayeredParameters(8, [8, 8, 8], [2, 2, 2], [2, 2, 2], rules_seed=4)
    assert Grammar.from_parameters(parameters) == Grammar.from_name("v8-m2-s2-L3", rules_seed=4)
    uneven = Grammar.from_name("layered-c5-v4.9.3-m2.1.1-s2.3.2")
    assert [uneven.num_symbols_at(level) for level in range(4)] == [3, 9, 4, 5]
    assert [uneven.tuple_size_at(level) for level in (1, 2, 3)] == [2, 3, 2]
    assert uneven.sentence_length == uneven.sample(1).shape[1] == 12


@pytest.mark.parametrize("persistence", [0.0, 0.3, 0.9])
def test_correlations_of_the_hidden_markov_ensemble_decay_exponentially(persistence):
    source = Grammar.from_parameters(HiddenMarkovParameters(6, 4, 2, 8, persistence, rules_seed=1))
    found = exact_correlation(source, range(1, 8), anchor="all")
    if persistence == 0:
        assert found.max() < 1e-15
    else:
        np.testing.assert_allclose(found[1:] / found[:-1], persistence, rtol=1e-9)
    tokens, probs = enumerate_sentences(Grammar.from_parameters(HiddenMarkovParameters(3, 4, 2, 5, persistence, 1)))
    small = Grammar.from_parameters(HiddenMarkovParameters(3, 4, 2, 5, persistence, 1))
    for i, j in ((0, 1), (4, 1), (0, 4)):
        exact = np.zeros((3, 3))
        np.add.at(exact, (tokens[:, i], tokens[:, j]), probs)
        np.testing.assert_allclose(joint_law(small, i, j), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["v4-m3-s2-L2-cut1", "v3-m2-s2-L3-cut2", "v3-m2-s2-L3-cut1", "v4-m2-s2-L2-cut0"])
def test_joint_laws_of_two_tokens_of_a_filtered_grammar(name):
    source = Grammar.from_name(name, rules_seed=1)
    tokens, probs = enumerate_sentences(source)
    d, v = source.sentence_length, source.vocab_size
    for i in range(d):
        for j in range(d):
            if i != j:
                exact = np.zeros((v, v))
                np.add.at(exact, (tokens[:, i], tokens[:, j]), probs)
                np.testing.assert_allclose(joint_law(source, i, j), exact, rtol=0, atol=1e-14)
    if source.parsed_depth == 0:
        with pytest.raises(ValueError, match="level=1 is out of range"):
            tuple_joint_law(source, 0, d - 1)
    for level in range(1, source.parsed_depth + 1):
        parsed = source.parse(tokens)
        below, size = parsed[level - 1], source.tuple_size_at(level)
        for node in range(source.num_nodes_at(level)):
            rules = source.prefix_tree(level).find(below[:, node * size : (node + 1) * size])
            for j in set(range(d)) - set(
                range(node * source.block_length(level), (node + 1) * source.block_length(level))
            ):
                exact = np.zeros((source.rule_probs_at(level).size, v))
                np.add.at(exact, (rules, tokens[:, j]), probs)
                np.testing.assert_allclose(tuple_joint_law(source, node, j, level), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["v3-m2-s2-L2-zipf1.0-sparse1", "v2-m2-s2-L2-sparse1b"])
def test_laws_of_two_tokens_and_of_tuples_of_a_sparse_grammar(name):
    """They take the rules of the ordinary grammar of the same law."""
    source = Grammar.from_name(name, rules_seed=1)
    tokens, probs = enumerate_sentences(source)
    d, v = source.sentence_length, source.vocab_size
    for i, j in ((0, 1), (1, 3), (2, 9), (15, 4), (d - 1, 0)):
        exact = np.zeros((v, v))
        np.add.at(exact, (tokens[:, i], tokens[:, j]), probs)
        np.testing.assert_allclose(joint_law(source, i, j), exact, rtol=0, atol=1e-12)
    law = tuple_joint_law(source, 1, d - 1)
    ids = tuple_ids(source, tokens)[:, 2 * source.block_length(1) - 1]
    exact = np.zeros(law.shape)
    np.add.at(exact, (ids, tokens[:, -1]), probs)
    np.testing.assert_allclose(law, exact, rtol=0, atol=1e-12)


def test_interventions_on_sparse_derivations():
    """Placements are part of a rule: a redrawn rule may differ in them alone, and empty nodes have no other rule."""
    source = Grammar.from_name("v4-m2-s2-L2-sparse1")
    levels = source.derivations(400)
    for change in (exchange_synonyms, redraw_rule):
        changed = change(source, levels, 1, seed=1)
        for before, after in zip(levels[1:], changed[1:], strict=True):
            assert np.array_equal(before, after)
        for ours, parsed in zip(changed, source.parse(changed[0]), strict=True):
            assert np.array_equal(ours, parsed)
    informative = source.informative(changed[0]) == source.informative(levels[0])
    assert 0 < informative.all(1).mean() < 1
    first_is_empty = levels[1][:, 0] == source.empty_at(1)
    changed = redraw_rule(source, levels, 1, node=0)
    assert np.array_equal((changed[0] == levels[0]).all(1), first_is_empty)


def test_numbers_of_the_parameters_are_those_of_the_source():
    for name in ("v4-m2-s2-L2-c3-sparse2", "v4-m2-s3-L2-sparse1b", "v8-m4-s2-L4"):
        parameters, source = parameters_from_name(name), Grammar.from_name(name)
        assert parameters.sentence_length == source.sentence_length == source.sample(1).shape[1]
        assert parameters.num_sentences == source.num_sentences
        assert source.is_equiprobable


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FilteredParameters(GrammarParameters(4, 2, 2, 3), 3), "cut_level=3 with depth=3 cuts nothing"),
        (lambda: FilteredParameters(GrammarParameters(4, 2, 2, 3), 4), "cut_level=4 is out of range"),
        (lambda: FilteredParameters(GrammarParameters(4, 2, 2, 3), -1), "cut_level=-1 is out of range"),
        (lambda: GrammarParameters(4, 2, 2, 3, uncorrelated=True), "num_synonyms=2 cannot be uncorrelated"),
        (lambda: GrammarParameters(4, 4, 2, 1, uncorrelated=True), "depth=1: the tuple is the sentence"),
        (lambda: GrammarParameters(4, 4, 2, 3, uncorrelated=1), "uncorrelated=1 must be True or False"),
        (
            lambda: GrammarParameters(4, 4, 2, 3, uncorrelated=True, zipf_exponent=1.0),
            r"zipf_exponent=1\.0 above level 1 .* set zipf_level=1",
        ),
        (lambda: SparseParameters(GrammarParameters(4, 2, 2, 3), 0), "sparsity=0 is out of range"),
        (lambda: SparseParameters.of(GrammarParameters(4, 2, 2, 3), placement="A"), "placement='A' without sparsity"),
        (lambda: SparseParameters(GrammarParameters(4, 2, 2, 3), 1, "b"), "placement='b' is unknown: use 'A'"),
        (lambda: SparseParameters(GrammarParameters(4, 2, 2, 3), 5000), "sparsity=5000 is too large: .* placements"),
        (
            lambda: SparseParameters(GrammarParameters(4, 2, 2, 10), 6),
            "sparsity=6 is too large: .* 289254654976 tokens",
        ),
        (
            lambda: parameters_from_name("v4-m2-s2-L3-cut1-sparse1"),
            "sparsity=1 of v4-m2-s2-L3-cut1: a filtered grammar",
        ),
        (lambda: parameters_from_name("v4-m2-s2-L3-sparse1a"), "is not a grammar's short name"),
        (lambda: SparseGrammar(Grammar.from_name("v4-m2-s2-L3-cut1")), "is no Grammar"),
        (lambda: FilteredGrammar(Grammar.from_name("v4-m2-s2-L2"), 2), "level=2 is out of range"),
        (lambda: FilteredGrammar(Grammar.from_name("v4-m2-s2-L3-cut1"), 0), "is no Grammar"),
        (lambda: FilteredGrammar(Grammar.from_name("v32-m8-s2-L20"), 1), "cut at a higher level"),
        (lambda: HiddenMarkovSource([0.5, 0.6], np.eye(2), np.eye(2), 3), r"initial sums to 1\.1 instead of 1"),
        (lambda: HiddenMarkovSource([0.5, 0.5], np.eye(3), np.eye(2), 3), r"transitions has shape \(3, 3\)"),
        (lambda: HiddenMarkovSource([0.5, 0.5], np.eye(2), [0.5, 0.5], 3), r"emissions has shape \(2,\)"),
        (lambda: HiddenMarkovSource([0.5, 0.5], np.eye(2), np.eye(2), 0), "sentence_length=0"),
        (lambda: HiddenMarkovParameters(4, 3, 5, 8, 0.5), "num_synonyms=5 is out of range"),
        (lambda: HiddenMarkovParameters(4, 3, 2, 8, 1.5), r"persistence=1\.5 is out of range"),
        (lambda: HiddenMarkovParameters(4, 5000, 2, 8, 0.5), "num_states=5000 with vocab_size=4 is too many"),
        (lambda: LayeredParameters(2, [3, 4], [2], [2, 2]), "have 2, 1 and 2 entries"),
        (lambda: LayeredParameters(2, [], [], []), r"vocab_sizes=\[\] must be a list"),
        (
            lambda: LayeredParameters(2, [3, 4], [2, 9], [2, 2]),
            r"num_synonyms\[1\]=9 .* have room for 5",
        ),
        (lambda: LayeredParameters(2, [3, 0], [2, 1], [2, 2]), r"vocab_sizes\[1\]=0 is out of range"),
        (lambda: LayeredParameters(2, [9] * 3, [2] * 3, [2**12] * 3), "2\\^31 tokens or more"),
        (lambda: parameters_from_name("hmm-v4"), "is not a hidden Markov source's short name"),
        (lambda: parameters_from_name("layered-v4"), "is not a layered grammar's short name"),
        (lambda: parameters_from_name("v4-m2-s2-L2-cut"), "is not a grammar's short name"),
        (lambda: parameters_from_dict({"kind": "future"}), "parameters of kind 'future' are unknown"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_tensors_of_uint16_tokens_are_read():
    """Tokens beyond 255 in a block of tokens: nothing is cut to a byte."""
    source = Grammar.from_name("hmm-v300-h7-m5-d9-p1.0")
    tokens = source.sample(200)
    assert tokens.dtype == np.uint16
    assert tokens.max() > 255
    assert torch.isfinite(log_prob(source, tokens)).all()
