"""The recipe of diffusion on characters: at a tiny size, and its measures on texts whose answers are known."""

import math

import numpy as np
import pytest
import torch
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf.statistics import token_correlations
from rhm_hf.training.arguments import parse_sweep
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand


CPU = RECIPES / "diffusion_text" / "cpu.yaml"


@pytest.fixture
def module():
    threads = torch.get_num_threads()
    yield recipe("diffusion_text")
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("dry_run")
def test_tables_figure_and_text(module, tmp_path, capsys):
    tables = dry_run(module, tmp_path, config=CPU)
    assert set(tables) == {"runs", "correlations", "held_out", "samples"}
    assert [row["tokens_seen"] for row in tables["runs"]] == [3 * 16 * 12, 6 * 16 * 12]
    best = {row["tokens_seen"]: row for row in read_csv(tmp_path / "runs" / "results.csv") if row["best"]}
    for row in tables["runs"]:
        assert row["data"] == "shakespeare"
        assert row["bound"] == pytest.approx(best[row["tokens_seen"]]["test_loss"], abs=6 * 2 * row["bound_stderr"])
        assert 0 <= row["t_agree"] <= row["t_agree_half"] <= row["t_res"] <= 6
        assert row["copied"] < 1
    (held_out,) = tables["held_out"]
    assert held_out["t_agree"] > 0  # the law of the words does not change
    assert held_out["copied"] > 0.9
    assert {(row["source"], row["tokens_seen"]) for row in tables["correlations"]} == {
        ("corpus", ""),
        ("held-out text", ""),
        ("samples", 3 * 16 * 12),
        ("samples", 6 * 16 * 12),
    }
    assert len(tables["correlations"]) == 4 * 6
    assert [len(row["text"]) for row in tables["samples"]] == [12] * 4
    text = (tmp_path / "figures" / "diffusion_text_samples.txt").read_text()
    assert text in capsys.readouterr().out
    assert str(tmp_path) not in text


def markov_text(length: int, seed: int) -> np.ndarray:
    """Three symbols, each repeated with probability .8: correlations fall as .7^t."""
    rng = np.random.default_rng(seed)
    change, new = rng.random(length) < 0.3, rng.integers(0, 3, length)
    return new[np.maximum.accumulate(np.where(change, np.arange(length), 0))].astype(np.uint8)


def test_a_generator_that_is_the_corpus_agrees_as_far_as_one_can_see(module):
    corpus, distances = markov_text(2**16, 0), range(1, 8)
    theirs = token_correlations(corpus, distances, 3)

    def agreement(rows):
        return module.agreement(token_correlations(rows, distances, 3, anchor="all"), theirs)

    rows = corpus.reshape(-1, 64)
    found = agreement(rows)
    assert found == {"t_agree": 7, "t_agree_is_bound": 1, "t_agree_half": 7, "t_agree_half_is_bound": 1, "t_res": 7}
    assert agreement(markov_text(2**16, 1).reshape(-1, 64)) == found  # its own law is as good
    shuffled = np.random.default_rng(0).permutation(corpus).reshape(-1, 64)  # right frequencies, nothing else
    assert (agreement(shuffled)["t_agree"], agreement(shuffled)["t_agree_half"]) == (0, 0)
    # Blocks of 4 that know nothing of each other: C~ falls to (1 - t/4), so by 1/4 of it at t = 1.
    blocks = np.random.default_rng(1).permutation(corpus.reshape(-1, 4)).reshape(-1, 64)
    found = agreement(blocks)
    assert found["t_agree"] == 1  # D = 1/16 of the signal
    assert found["t_agree_half"] == 2  # 1/4, then 9/16


def test_signals_are_those_of_the_law(module):
    rows = module.correlation_rows({"source": "corpus"}, token_correlations(markov_text(2**18, 2), range(1, 4), 3))
    assert [row["t"] for row in rows] == [1, 2, 3]
    for row in rows:
        exact = 0.7 ** (2 * row["t"]) * 2 / 81  # C = .7^t (1/3 on the diagonal - 1/9)
        assert row["source"] == "corpus"
        assert row["signal"] == pytest.approx(exact, abs=5 * row["signal_stderr"])
        assert row["signal_stderr"] < 0.1 * exact


def test_copies_are_pieces_of_the_training_text(module):
    train = np.arange(100, dtype=np.uint8)
    options = {"copy_length": 4, "copy_characters": 50}
    rows = np.array([[10, 11, 12, 13, 46, 47, 48, 49], [11, 10, 12, 13, 47, 48, 49, 50]])
    found = module.copies(rows, train, options)  # 50 lies beyond what is searched
    assert found["copied"] == 0.5
    assert found["copied_stderr"] == pytest.approx(0.25)
    assert module.copies(train[None], train, options)["copied"] == 12 / 25  # the 13th ends with 51


def test_entropy_of_single_characters(module):
    assert module.single_entropy(np.array([0, 0, 3, 5])) == pytest.approx(1.5 * math.log(2), abs=1e-15)


def test_samples_stand_side_by_side(module):
    keys = {"model_seed": 0, "number": 0}
    rows = [keys | {"tokens_seen": 8_388_608, "text": "ab\n\ncdefg"}, keys | {"tokens_seen": 512, "text": "xyz"}]
    rows.append(keys | {"model_seed": 1, "tokens_seen": 512, "text": "left out"})
    expected = ["512  | 8.39M", "---- | ----", "xyz  | ab", "     |", "     | cdef", "     | g"]
    assert module.side_by_side(rows, width=4).split("\n") == expected


@pytest.mark.parametrize(("count", "expected"), [(999, "999"), (131072, "131k"), (1e10, "10G"), (8388608, "8.39M")])
def test_counts_are_short(module, count, expected):
    assert module.short(count) == expected


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_configurations(module, name):
    argv = ["--config", str(RECIPES / "diffusion_text" / f"{name}.yaml")]
    values = parse_sweep(argv, extra=["num_workers", *module.OPTIONS])
    options = module.OPTIONS | {key: values.pop(key) for key in module.OPTIONS if key in values}
    values.pop("num_workers", None)
    runs = expand(values)
    assert len(runs) == len(values["max_steps"])
    for run in runs:
        length = run.data.context_length + 1
        assert (run.training.task, run.training.patience) == ("diffusion", 0)  # every run goes on to its end
        assert options["max_distance"] < length
        assert (options["tokens_per_step"] - 1) / (length - 1) < 0.05  # pairs that are drawn together
        assert run.data.text in ("shakespeare", "wikitext-103")
        assert run.training.warmup_steps < run.training.max_steps
