"""The recipe of counted texts: a Markov chain's entropy, models' own laws, documents that are parts of one length."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from recipe_scripts import drawn, recipe

from rhm_hf import NGramForCausalLM
from rhm_hf.ensembles import where
from rhm_hf.statistics import token_correlations
from rhm_hf.training.recipe import read_tables


MODULE = recipe("texts")
LETTERS = "abcd"


@pytest.fixture(scope="module")
def chain():
    """A text of a Markov chain that repeats its letter with probability .7, else takes one of the three others."""
    random = np.random.default_rng(0)
    jumps, letter, found = random.random(40_000), 0, []
    others = random.integers(1, 4, len(jumps))
    for jump, other in zip(jumps, others, strict=True):
        letter = letter if jump < 0.7 else (letter + other) % 4
        found.append(LETTERS[letter])
    return "".join(found)


ENTROPY = -0.7 * np.log(0.7) - 0.3 * np.log(0.1)


def test_a_chain_is_known_from_one_token(chain, tmp_path):
    (tmp_path / "chain.txt").write_text(chain)
    argv = ["--text", str(tmp_path / "chain.txt"), "--max_context", "4", "--max_distance", "6"]
    tables = MODULE.main([*argv, "--figures", str(tmp_path / "out")])
    n, loss = MODULE.by_context(tables["blocks"])
    assert n.tolist() == [0, 1, 2, 3, 4]
    assert loss[0] == pytest.approx(np.log(4), abs=0.01)
    assert loss[1:] == pytest.approx(ENTROPY, abs=0.03)
    for row in tables["pairs"]:  # J - 1/16 is lambda^t 3/16 on the diagonal, -lambda^t / 16 elsewhere; lambda = .6
        expected = 0.6 ** row["distances"] * np.sqrt((4 * (3 / 16) ** 2 + 12 / 16**2) / 16)
        assert row["signal"] == pytest.approx(expected**2, rel=0.25, abs=4 * row["noise_floor"] ** 2)
    assert imread(tmp_path / "out" / "texts.png").ndim == 3
    assert drawn(imread(tmp_path / "out" / "texts.png"))
    redrawn = read_tables(tmp_path / "out", "texts")
    assert MODULE.conclude(redrawn).keys() == {"exponents", "scans"}
    assert where(redrawn["exponents"], quantity="gamma")


def test_all_pairs_of_parts_of_one_length_count():
    """Parts of one length are no sentences whose last token alone counts: noise is that of all pairs."""
    parts = list(np.random.default_rng(0).integers(0, 4, (30, MODULE.PART // 8)))
    found = MODULE.correlations({}, parts, 4, 3, [1000])
    pairs = 30 * (MODULE.PART // 8 - 1)
    assert found["pairs"][0]["noise_floor"] == pytest.approx(0.75 / (4 * pairs**0.5), rel=0.01)
    assert token_correlations(parts, [1], 4, anchor="all").num_pairs.tolist() == [pairs]


@pytest.mark.parametrize("t", [0, 1, 3])
def test_losses_are_those_of_the_model(t):
    random = np.random.default_rng(1)
    train = [random.integers(0, 5, size) for size in (50, 7, 200)]
    windows = random.integers(0, 5, (64, 6))
    found = MODULE.ngram_losses(train, t, 5, windows)
    model = NGramForCausalLM.fit(train, order=t + 1, num_symbols=5, tied=True)
    seen = torch.from_numpy(windows[:, 5 - t : 5]).long()  # without BOS: the windows are from inside of documents
    symbols = torch.ones_like(seen, dtype=torch.bool)
    if t:
        law = model.next_probs(seen, symbols, ~symbols)[:, -1]
        assert found == pytest.approx(-law[torch.arange(64), windows[:, -1]].log().numpy(), abs=1e-12)
    assert found.shape == (64,)


def test_documents_are_separated_held_out_and_encoded():
    text = "\n<end>\n".join(f"story {i} of the hierarchy and the model" for i in range(64))
    texts = MODULE.documents(text, "<end>")
    assert sorted(texts) == sorted(f"story {i} of the hierarchy and the model" for i in range(64))
    train, test, v = MODULE.encoded(texts, 0)
    assert (len(train), len(test)) == (60, 4)
    assert v == len(set("".join(texts)))
    pieces, _, num = MODULE.encoded(texts, 300)
    assert num <= 300
    assert sum(map(len, pieces)) < sum(map(len, train)) / 3  # the words of all stories are pieces
    assert [len(part) for part in MODULE.first(train, 50)] == [len(train[0]), 50 - len(train[0])]
    assert sum(map(len, MODULE.first(train, 10**9))) == sum(map(len, train))


def test_windows_are_the_same_targets_for_every_length():
    texts = [np.arange(20), np.arange(100, 103), np.arange(200, 240)]
    windows = MODULE.held_out(texts, 4, 10)
    assert windows.shape == (10, 4)
    assert (np.diff(windows, axis=1) == 1).all()  # none crosses a document's end
    with pytest.raises(ValueError, match="give a UTF-8 file"):
        MODULE.main([])
