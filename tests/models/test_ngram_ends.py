"""N-grams of sentences whose lengths vary: END is an outcome, counted by plain loops here."""

from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset
from pcfg_brute_force import TEXTS

from rhm_hf import Grammar, NGramForCausalLM, load_metric
from rhm_hf.grammar import enumerate_sentences


ROWS = [[0, 1, 1], [2], [], [0, 1], [1, 1, 0, 2], [0, 1, 1, 2], [2, 2]]
V, PAD = 3, 4


def counted(rows, order, tied, add_k):
    """The law after every prefix of the rows: counts after the longest context that occurred."""
    tables = Counter()
    for row in rows:
        for i, outcome in enumerate([*row, V]):
            for n in range(order):
                if n <= i + tied:
                    tables[None if tied else i, tuple(["BOS", *row][i + 1 - n : i + 1]), outcome] += 1

    def law(prefix):
        i = len(prefix)
        for n in range(min(order - 1, i + tied), -1, -1):
            context = tuple(["BOS", *prefix][i + 1 - n : i + 1])
            counts = np.array([tables[None if tied else i, context, x] for x in range(V + 1)], dtype=float)
            if counts.sum():
                return (counts + add_k) / (counts.sum() + add_k * (V + 1))
        return np.full(V + 1, 1 / (V + 1))

    return law


def laws_of(model, rows):
    """Rows of the model's laws: of every row and prefix of it."""
    found = []
    for row in rows:
        with torch.no_grad():
            probs = model(torch.tensor([[V, *row]])).logits[0].exp().numpy()
        assert (probs[:, V + 1 :] == 0).all()
        np.testing.assert_allclose(probs.sum(1), 1, rtol=0, atol=1e-12)
        found.append(probs[:, : V + 1])
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_laws_are_those_of_plain_counts(order, tied, tmp_path):
    model = NGramForCausalLM.fit(ROWS, order, num_symbols=V, tied=tied, smoothing="add_k", add_k=0.3, ends=True)
    law, asked = counted(ROWS, order, tied, 0.3), [*ROWS, [2, 1, 0], [1, 1, 1, 1, 1, 1]]
    model.save_pretrained(tmp_path)
    for each in (model, NGramForCausalLM.from_pretrained(tmp_path)):
        for row, found in zip(asked, laws_of(each, asked), strict=True):
            exact = [law(row[:i]) for i in range(len(row) + 1)]
            np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_come_in_every_form(tied):
    padded = np.array([row + [PAD] * (4 - len(row)) for row in ROWS], np.uint8)
    models = [
        NGramForCausalLM.fit(rows, 3, num_symbols=V, tied=tied, ends=True)
        for rows in (ROWS, padded, torch.from_numpy(padded), Dataset.from_dict({"input_ids": ROWS}))
    ]
    asked = [[0, 1], [1, 1, 0]]
    for model in models[1:]:
        for found, expected in zip(laws_of(model, asked), laws_of(models[0], asked), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_all_is_over_after_the_end():
    model = NGramForCausalLM.fit(ROWS, 2, num_symbols=V, tied=True, ends=True)
    with torch.no_grad():
        probs = model(torch.tensor([[V, 0, 1, V, V]])).logits[0].exp()
    assert (probs[3:, V] == 1).all()
    assert probs[2, V] < 1
    torch.manual_seed(0)
    made = model.generate(torch.full((200, 1), V))[:, 1:]
    lengths = (made < V).long().cumprod(1).sum(1)
    assert lengths.float().mean() == pytest.approx(sum(map(len, ROWS)) / len(ROWS), abs=1.5)
    assert made.shape[1] <= 5


@pytest.mark.parametrize("tied", [True, False])
def test_all_sentences_with_their_weights_are_the_law(tied):
    """Contexts as long as sentences, with BOS or by position, are whole prefixes: KL 0; shorter ones lose."""
    grammar = Grammar.from_text(TEXTS["finite"])
    tokens, probs = enumerate_sentences(grammar)
    kls = []
    for order in (1, 2, 3, tokens.shape[1] + 2):
        model = NGramForCausalLM.fit(
            tokens, order, num_symbols=2, tied=tied, smoothing="add_k", add_k=0, weights=probs, ends=True
        )
        kls.append(load_metric("rhm_kl").compute(model=model, grammar=grammar)["kl"])
    assert kls[0] > kls[1] > kls[2] > kls[3] - 1e-9
    assert abs(kls[-1]) < 1e-9


def test_more_sentences_come_nearer():
    grammar = Grammar.from_name("pcfg-toy_english")
    kls = []
    for size in (100, 4000):
        model = NGramForCausalLM.fit(grammar.sample(size), 3, num_symbols=grammar.vocab_size, tied=True, ends=True)
        kls.append(load_metric("rhm_kl").compute(model=model, grammar=grammar, num_sentences=200)["kl"])
    assert 0 < kls[1] < kls[0] / 2


def test_different_lengths_without_ends_say_what_to_do():
    with pytest.raises(ValueError, match=r"different lengths.*tied=True.*ends=True"):
        NGramForCausalLM.fit(ROWS, 2)
