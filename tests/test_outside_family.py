"""A family that the package does not know (`palindromes.py`) goes everywhere without a change in the package."""

import pickle

import numpy as np
import palindromes  # noqa: F401  registers the family
import pytest
import torch
from datasets import load_dataset

from rhm_hf.data import RHMCollator, grammar_of
from rhm_hf.data.reading import rows_of
from rhm_hf.grammar import Grammar, NotSupported, enumerate_sentences
from rhm_hf.inference import log_prob, next_token_probs, posteriors, prefix_probs


NAME = "palindromes-v3-h3"


@pytest.fixture
def source():
    return Grammar.from_name(NAME, rules_seed=2)


def test_its_laws_follow_from_its_sentences(source):
    tokens, probs = enumerate_sentences(source)
    assert probs.sum() == pytest.approx(1, abs=1e-14)
    assert source.entropy == pytest.approx(-(probs * np.log(probs)).sum(), abs=1e-13)
    np.testing.assert_allclose(log_prob(source, tokens).numpy(), np.log(probs), rtol=0, atol=1e-13)
    rows = [row[row < 3].tolist() for row in tokens]
    np.testing.assert_array_equal(log_prob(source, rows), log_prob(source, tokens))  # padded or not
    laws, valid = prefix_probs(source, tokens)
    lengths = source.lengths_of(tokens)
    for row, length, law, possible in zip(tokens, lengths, laws, valid, strict=True):
        for i in range(length + 1):
            agree = (tokens[:, :i] == row[:i]).all(1) & (lengths >= i)
            following = np.where(lengths == i, 3, np.pad(tokens, ((0, 0), (0, 1)))[:, i])
            exact = np.bincount(following[agree], probs[agree], 4)
            np.testing.assert_allclose(law[i], exact / exact.sum(), rtol=0, atol=1e-14)
        assert possible[: length + 1].all()
        assert not possible[length + 1 :].any()
    assert next_token_probs(source, tokens).shape == (*tokens.shape, 4)


def test_its_sentences_are_a_pure_function(source):
    tokens, lengths = source.sample(9000, seed=5, return_lengths=True)
    again, _ = source.sample(5000, seed=5, start=4000, return_lengths=True)
    np.testing.assert_array_equal(tokens[4000:, : again.shape[1]], again)
    counts = {}
    for row, length in zip(tokens, lengths, strict=True):
        counts[tuple(row[:length])] = counts.get(tuple(row[:length]), 0) + 1
    every, probs = enumerate_sentences(source)
    expected = {tuple(row[row < 3]): 9000 * p for row, p in zip(every, probs, strict=True)}
    chi2 = sum((counts.get(row, 0) - n) ** 2 / n for row, n in expected.items())
    assert set(counts) <= set(expected)
    assert chi2 < 38 + 5 * (2 * 38) ** 0.5  # five standard deviations of 38 degrees of freedom
    with pytest.raises(ValueError, match="sampling='unique' is impossible"):
        source.sample(3, sampling="unique")


def test_its_splits_can_be_disjoint():
    source = Grammar.from_name("palindromes-v4-h5")
    splits = {split: source.sample(400, split=split, disjoint=True) for split in ("train", "validation", "test")}
    rows = {split: {tuple(row[row < 4]) for row in tokens} for split, tokens in splits.items()}
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    assert not rows["test"] & rows["validation"]
    again = source.sample(100, split="test", disjoint=True, start=300)
    np.testing.assert_array_equal(splits["test"][300:, : again.shape[1]], again)


def test_it_saves_pickles_and_is_refused_what_it_lacks(source, tmp_path):
    source.save_pretrained(tmp_path)
    assert Grammar.from_pretrained(tmp_path) == source == pickle.loads(pickle.dumps(source))
    for ask in (
        lambda: source.sentence_length,
        lambda: source.block_length(1),
        lambda: source.parse(source.sample(2)),
        lambda: source.derivations(2),
        lambda: posteriors(source, source.sample(2)),
        lambda: next_token_probs(source, source.sample(2), context_level=1),
    ):
        with pytest.raises(NotSupported, match="does not exist for palindromes-v3-h3"):
            ask()
    for bad, message in (
        ([[0, 3]], r"tokens\[0, 1\] = 3 is out of place"),
        ([[0, 4, 0]], r"tokens\[0, 2\] = 0 is out of place"),
        ([[0] * 7], r"tokens\[0, 6\] = 0 is out of place"),
        ([[0.5, 0.5]], "symbols must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            log_prob(source, bad)


def test_its_rows_are_a_dataset(source, tmp_path):
    dataset = load_dataset("rhm", NAME, rules_seed=2, train_size=300, test_size=50, cache_dir=str(tmp_path))
    tokens, lengths = source.sample(300, return_lengths=True)
    read, found = rows_of(dataset["train"], pad=4)
    np.testing.assert_array_equal(found, lengths)
    np.testing.assert_array_equal(read, tokens)
    assert dataset["train"].column_names == ["input_ids"]
    assert grammar_of(dataset) == source
    stream = load_dataset("rhm", NAME, rules_seed=2, train_size=300, streaming=True, cache_dir=str(tmp_path))
    assert [row["input_ids"] for row in stream["train"]] == dataset["train"]["input_ids"][:]
    with pytest.raises(NotSupported, match="levels=True does not exist"):
        load_dataset("rhm", NAME, levels=True, cache_dir=str(tmp_path))


def test_its_rows_are_collated():
    batch = RHMCollator(num_symbols=3, lengths_vary=True)([{"input_ids": [0, 0]}, {"input_ids": [1, 2, 2, 1]}])
    assert batch["input_ids"].tolist() == [[3, 0, 0, 3, 4, 4], [3, 1, 2, 2, 1, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
    assert batch["labels"].tolist() == [[3, 0, 0, 3, -100, -100], [3, 1, 2, 2, 1, 3]]
    assert batch["input_ids"].dtype == torch.int64
    with pytest.raises(ValueError, match="differ in length"):
        RHMCollator(num_symbols=3)([{"input_ids": [0, 0]}, {"input_ids": [1, 2, 2, 1]}])
