"""Correct rules level by level: against a parser of lists, closed forms, and by the names people use."""

import evaluate
import numpy as np
import pytest
import torch
from datasets import load_dataset

from rhm_hf import Grammar, load_metric
from rhm_hf.grammar import enumerate_sentences
from rhm_hf.inference import parse
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.grammaticality.correctness import chance_level


def correct_nodes(grammar, sentence):
    """Entry l - 1 = 0..L-1: whether each level-l node is correct, by dictionaries of tuples."""
    symbols = [x if 0 <= x < grammar.vocab_size else None for x in sentence]
    found = []
    for level in range(1, grammar.parsed_depth + 1):
        rules, probs = grammar.rules_at(level), grammar.rule_probs_at(level)
        parents = {
            tuple(rule): a for a in range(len(rules)) for rule, p in zip(rules[a].tolist(), probs[a], strict=True) if p
        }
        s = grammar.tuple_size_at(level)
        symbols = [parents.get(tuple(symbols[i : i + s])) for i in range(0, len(symbols), s)]
        found.append([symbol is not None for symbol in symbols])
    return found


def damaged(grammar, num, seed=0):
    rng = np.random.default_rng(seed)
    tokens = grammar.sample(num, sampling="iid").astype(np.int64)
    hit = rng.random(tokens.shape) < 0.2
    return np.where(hit, rng.integers(-1, grammar.vocab_size + 3, tokens.shape), tokens)


def test_every_node_against_a_parser_of_lists(small_grammar):
    tokens = damaged(small_grammar, 200)
    result = grammaticality(tokens, small_grammar, per_position=True)
    nodes = [correct_nodes(small_grammar, row) for row in tokens.tolist()]
    right = [np.array(level) for level in zip(*nodes, strict=True)]
    children = [(tokens >= 0) & (tokens < small_grammar.vocab_size), *right[:-1]]
    for i, level in enumerate(result["levels"]):
        assert result["correct"][i] == pytest.approx(right[i].mean())
        expected = right[i].mean(1).std(ddof=1) / np.sqrt(200)
        assert result["correct_stderr"][i] == pytest.approx(expected)
        np.testing.assert_allclose(result["correct_per_position"][i], right[i].mean(0))
        ready = children[i].reshape(200, -1, small_grammar.tuple_size_at(level)).all(2)
        assert result["rule_given_children"][i] == pytest.approx(right[i][ready].mean())
        assert (~ready & right[i]).sum() == 0  # a failed child fails its ancestors
    assert 0 < result["correct"][-1] < result["correct"][0] < 1
    assert result["num_samples"] == 200


FAMILIES = ["v4-m3-s2-L3-cut2", "v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d5-p0.5", "v2-m2-s2-L2-sparse1"]
FAMILIES += ["v3-m2-s2-L2-sparse1b", "layered-c3-v4.5-m2.2-s3.2"]


@pytest.mark.parametrize("name", FAMILIES)
def test_nodes_and_sentences_of_every_family(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    tokens = damaged(grammar, 100)
    result = grammaticality(tokens, grammar, per_position=True)
    assert result["levels"] == list(range(1, grammar.parsed_depth + 1))
    nodes = [correct_nodes(grammar, row) for row in tokens.tolist()]
    for i, right in enumerate(np.array(level) for level in zip(*nodes, strict=True)):
        np.testing.assert_allclose(result["correct_per_position"][i], right.mean(0))
        assert result["correct"][i] == pytest.approx(right.mean())
    sentences, probs = enumerate_sentences(grammar)
    known = {tuple(s): p for s, p in zip(sentences.tolist(), probs, strict=True)}
    valid = [known[tuple(row)] for row in tokens.tolist() if tuple(row) in known]
    assert result["valid"] == pytest.approx(len(valid) / 100)
    assert result["log_prob"] == pytest.approx(np.log(valid).mean())
    assert 0 < len(valid) < 100


@pytest.mark.parametrize("name", FAMILIES)
def test_chance_of_every_family_is_its_number_of_blocks(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    found, v = grammaticality(grammar.sample(2, sampling="iid"), grammar)["chance"], grammar.vocab_size
    for level, chance in enumerate(found, start=1):
        size = grammar.block_length(level)
        if v**size > 2**16:
            continue
        blocks = np.stack(np.unravel_index(np.arange(v**size), (v,) * size), 1)
        rest = grammar.sample(1, sampling="iid")[:, size:].repeat(len(blocks), 0)
        parsed = parse(grammar, np.concatenate([blocks, rest], 1))[level][:, 0] >= 0
        assert chance == pytest.approx(parsed.double().mean().item(), abs=1e-15)


def test_sentences_are_valid_and_their_log_probability_is_minus_the_entropy():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    result = grammaticality(grammar.sample(500, sampling="iid"), grammar)
    assert (result["valid"], result["valid_stderr"], result["correct"]) == (1, 0, [1, 1, 1])
    assert result["log_prob"] == pytest.approx(-grammar.entropy)


def test_a_class_of_probability_zero_is_no_sentence():
    grammar = Grammar.from_rules([np.array([[[0, 0]], [[1, 1]]])], root_probs=[1.0, 0.0])
    result = grammaticality([[0, 0], [1, 1], [0, 1]], grammar)
    assert result["correct"] == pytest.approx([2 / 3])
    assert result["valid"] == pytest.approx(1 / 3)
    assert result["log_prob"] == 0


@pytest.mark.parametrize("name", ["v8-m2-s2-L3", "v5-m3-s3-L2"])
def test_chance_is_that_of_random_tokens(name):
    grammar = Grammar.from_name(name)
    p = grammar.parameters
    f, s = p.num_synonyms / p.vocab_size ** (p.tuple_size - 1), p.tuple_size
    tokens = np.random.default_rng(0).integers(0, p.vocab_size, (200_000, grammar.sentence_length))
    result = grammaticality(tokens, grammar)
    for i, level in enumerate(result["levels"]):
        assert result["chance"][i] == pytest.approx(f ** ((s**level - 1) / (s - 1)), rel=1e-12)
        error = max(result["correct_stderr"][i], 1e-6)
        assert result["correct"][i] == pytest.approx(result["chance"][i], abs=4.5 * error)


def test_chance_of_any_grammar_is_its_number_of_blocks(small_grammar):
    every = np.stack(np.unravel_index(range(small_grammar.vocab_size**4), (small_grammar.vocab_size,) * 4), 1)
    if small_grammar.sentence_length == 4:
        assert grammaticality(every, small_grammar)["correct"][1] == pytest.approx(chance_level(small_grammar, 2))
    assert chance_level(Grammar.from_name("v32-m8-s2-L10"), 10) == 0.0  # smaller than any float


def test_by_name_with_datasets_tensors_and_lists():
    metric = evaluate.load("grammaticality")
    dataset = load_dataset("rhm", "v8-m2-s2-L3", train_size=50, validation_size=0, test_size=0)["train"]
    grammar = Grammar.from_name("v8-m2-s2-L3")
    results = [
        load_metric("grammaticality").compute(input_ids=kind, grammar=dataset)
        for kind in (dataset, dataset["input_ids"], torch.from_numpy(grammar.sample(50)), grammar.sample(50).tolist())
    ]
    assert all(result == results[0] for result in results)
    metric.add_batch(input_ids=grammar.sample(50).tolist())
    assert metric.compute(grammar=grammar) == results[0]


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        ([[0, 1, 2]], r"samples has shape \(1, 3\): give sentences as \(n, 4\)"),
        ([], "samples has shape"),
        ([[0.5, 1, 2, 3]], "samples has dtype float64"),
        ([[0, 1], [1, 2, 3]], "rows of different lengths"),
    ],
)
def test_mistakes_are_named(samples, match):
    with pytest.raises(ValueError, match=match):
        grammaticality(samples, Grammar.from_name("v4-m2-s2-L2"))
    with pytest.raises(ValueError, match="grammar=None"):
        load_metric("grammaticality").compute(input_ids=[[0, 1, 2, 3]])
