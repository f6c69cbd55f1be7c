"""The measurement by name, offline: texts, ids, tokenizers, datasets, batches."""

import math

import datasets
import evaluate
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rhm_hf import Grammar, load_metric
from rhm_hf.metrics.token_correlations import measure_correlations
from rhm_hf.statistics import token_correlations


def words(num, seed=0):
    """A text of words that follow each other in order, more often than not."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(num) < 0.7, 1, rng.integers(0, 4, num)).cumsum() % 4
    return " ".join(["to", "be", "or", "not"][k] for k in steps)


def test_characters_of_a_text_are_counted_like_their_ids():
    text = words(3000) + " é€😀"
    ids = np.unique(np.array(list(text)), return_inverse=True)[1]
    result = evaluate.load("token_correlations").compute(data=text, distances=[1, 2, 3, 4], mutual_information=True)
    expected = token_correlations(ids, [1, 2, 3, 4])
    assert result["correlation"] == expected.correlation.tolist()
    assert result["operator_norm"] == expected.operator_norm.tolist()
    assert result["mutual_information"] == expected.mutual_information.tolist()
    assert result["effective_context"] == expected.effective_context
    assert result["exponent"] == expected.fit().exponent
    assert result["exponent_interval"] == list(expected.fit().interval)
    assert result["fit_range"] == [1, int(expected.effective_context)]
    assert (result["vocab_size"], result["num_tokens"]) == (len(set(text)), len(text))


@pytest.mark.parametrize("equally_long", [True, False])
def test_windows_do_not_cross_texts(equally_long):
    texts = [words(20, seed)[: 60 if equally_long else 40 + seed] for seed in range(30)]
    result = load_metric("token_correlations").compute(data=texts, distances=[1, 5])
    assert result["num_pairs"] == [sum(len(t) - distance for t in texts) for distance in (1, 5)]


def test_tokenizers_by_instance_and_by_directory(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"to": 0, "be": 1, "or": 2, "not": 3, "?": 4}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
    text = words(2000)
    ids = [tokenizer.convert_tokens_to_ids(word) for word in text.split()]
    expected = token_correlations(ids, [1, 2], 5).correlation.tolist()
    tokenizer.save_pretrained(tmp_path)
    for given in (tokenizer, str(tmp_path)):
        result = measure_correlations(text, tokenizer=given, distances=[1, 2])
        assert result["correlation"] == expected
        assert (result["vocab_size"], result["num_tokens"]) == (5, 2000)


def test_sentences_of_a_grammar_by_array_dataset_column_and_batches():
    grammar = Grammar.from_name("v8-m4-s2-L3")
    tokens = grammar.sample(2048)
    metric = evaluate.load("token_correlations", module_type="measurement")
    expected = metric.compute(data=tokens)
    assert expected["distances"] == list(range(1, 8))
    assert expected["num_pairs"] == [2048] * 7
    dataset = datasets.Dataset.from_dict({"input_ids": tokens.tolist()})
    assert metric.compute(data=dataset) == expected
    assert metric.compute(data=dataset["input_ids"]) == expected
    assert metric.compute(data=tokens.tolist()) == expected
    metric.add_batch(data=tokens[:1000].tolist())
    metric.add_batch(data=tokens[1000:].tolist())
    assert metric.compute() == expected
    fewer = metric.compute(data=tokens, population=grammar.num_sentences)
    assert np.less(fewer["noise_floor"], expected["noise_floor"]).all()


def test_texts_in_batches():
    texts = [words(30, seed) for seed in range(8)]
    metric = load_metric("token_correlations")
    metric.add_batch(data=texts[:3])
    metric.add_batch(data=texts[3:])
    assert metric.compute(distances=[1, 2]) == metric.compute(data=texts, distances=[1, 2])


def test_an_exponent_that_cannot_be_fitted_is_none():
    rng = np.random.default_rng(0)
    result = measure_correlations(rng.integers(0, 4, 4000), distances=range(1, 5))
    assert result["effective_context"] < 2
    assert result["exponent"] is result["exponent_interval"] is result["fit_range"] is None
    numbers = [x for value in result.values() for x in (value if isinstance(value, list) else [value])]
    assert not any(isinstance(x, float) and math.isnan(x) for x in numbers)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({}, "data=None"),
        ({"data": ""}, "data is empty"),
        ({"data": ["", ""]}, "data is empty"),
        ({"data": []}, "the text is empty"),
        ({"data": ["a", 3]}, "data mixes texts"),
        ({"data": "a"}, r"distances=\[1\] reach beyond the text"),
        ({"data": "aaaa"}, "one distinct id"),
        ({"data": "abc", "distances": [3]}, r"distances=\[3\] reach beyond the text"),
        ({"data": ["abc", "ab"], "distances": [3]}, "distance=3 has no pairs: the longest document has 3 tokens"),
        ({"data": "abcab", "distances": [0]}, r"distances=\[0\]"),
        ({"data": [1, 0, 1], "tokenizer": "x"}, "tokenizer= is for texts"),
        ({"data": iter([[1, 2]])}, "distances=None"),
        ({"data": "abcabc", "distances": [1, 2], "t_min": 2}, "t_min=2"),
    ],
)
def test_bad_input_of_the_measurement_is_named(kwargs, match):
    with pytest.raises(ValueError, match=match):
        load_metric("token_correlations").compute(**kwargs)
