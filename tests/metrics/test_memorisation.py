"""Copies and nearest training sentences against plain loops; what the law alone would give."""

import evaluate
import numpy as np
import pytest
from datasets import load_dataset

from rhm_hf import Grammar, load_metric
from rhm_hf.metrics.memorisation import memorisation


GRAMMAR = Grammar.from_name("v8-m2-s2-L3")


def sentences(num, seed=0):
    return GRAMMAR.sample(num, seed=seed, sampling="iid").astype(np.int64)


def mixed(num, train, seed=0):
    """Copies, new sentences and sentences with a wrong or impossible token, one third each."""
    rng = np.random.default_rng(seed)
    tokens = sentences(num, seed + 1)
    tokens[::3] = train[rng.integers(0, len(train), len(tokens[::3]))]
    tokens[1::3, 2] = rng.integers(-1, 11, len(tokens[1::3]))
    return tokens


def test_against_plain_loops():
    train = sentences(60)
    train[1] = train[0]  # twice in the training set
    samples = mixed(90, train)
    result = memorisation(samples, train, GRAMMAR)
    known = {tuple(row) for row in train.tolist()}
    copied = np.array([tuple(row) in known for row in samples.tolist()])
    assert result["copied"] == pytest.approx(copied.mean())
    assert result["copied_stderr"] == pytest.approx(copied.std() / np.sqrt(90))
    assert result["distinct"] == pytest.approx(len({tuple(row) for row in samples.tolist()}) / 90)
    assert (result["num_train"], result["num_distinct_train"]) == (60, len(known))
    assert result["chance_of_copy"] == pytest.approx(len(known) / GRAMMAR.num_sentences)
    latents = GRAMMAR.parse(train)
    index = {tuple(rule): a for a, rules in enumerate(GRAMMAR.rules_at(1).tolist()) for rule in rules}
    up = {tuple(rule): a for a, rules in enumerate(GRAMMAR.rules_at(2).tolist()) for rule in rules}
    best = [[], [], []]
    valid = []
    for row in samples.tolist():
        first = [index.get(tuple(row[i : i + 2])) for i in range(0, 8, 2)]
        second = [up.get(tuple(first[i : i + 2])) for i in range(0, 4, 2)]
        for level, symbols in enumerate((row, first, second)):
            if None not in symbols:
                best[level].append(max((np.array(symbols) == other).mean() for other in latents[level].tolist()))
        try:
            valid.append(GRAMMAR.index(row) >= 0)
        except ValueError:
            valid.append(False)
    assert result["levels"] == [0, 1, 2]
    assert result["overlap"] == pytest.approx([np.mean(values) for values in best])
    assert result["num_judged"] == [len(values) for values in best]
    assert result["valid"] == pytest.approx(np.mean(valid))
    assert result["novel"] == pytest.approx((np.array(valid) & ~copied).mean())


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("v4-m3-s2-L3-cut2", [0, 1, 2]),  # the level of the blocks is judged, the root is not
        ("v4-m3-s2-L2-cut1", [0, 1]),
        ("hmm-v4-h3-m2-d5-p0.5", [0]),
        ("v2-m2-s2-L2-sparse1", [0, 1]),
        ("layered-c3-v4.5-m2.2-s3.2", [0, 1]),
    ],
)
def test_levels_of_every_family_by_plain_loops(name, levels):
    grammar = Grammar.from_name(name, rules_seed=1)
    train, samples = grammar.sample(30, sampling="iid"), grammar.sample(20, seed=1, sampling="iid")
    result = memorisation(samples, train, grammar)
    assert result["levels"] == levels
    assert result["num_judged"] == [20] * len(levels)
    parsed = zip(grammar.parse(samples), grammar.parse(train), strict=True)
    for overlap, (rows, others) in zip(result["overlap"], parsed, strict=False):
        expected = [max(float((row == other).mean()) for other in others) for row in rows]
        assert overlap == pytest.approx(np.mean(expected))


def test_fresh_sentences_show_no_memory_and_copies_show_it():
    train = GRAMMAR.sample(200, sampling="unique")
    fresh = memorisation(sentences(2000, 5), train, GRAMMAR)
    assert fresh["chance_of_copy"] == pytest.approx(200 / 1024)
    assert fresh["copied"] == pytest.approx(200 / 1024, abs=4 * fresh["copied_stderr"])
    assert fresh["overlap"] == pytest.approx(fresh["overlap_fresh"], abs=0.02)
    assert fresh["distinct"] == pytest.approx(fresh["distinct_fresh"], abs=0.03)
    assert fresh["valid"] == 1
    copies = memorisation(train[:100], train, GRAMMAR)
    assert (copies["copied"], copies["novel"], copies["overlap"], copies["distinct"]) == (1, 0, [1, 1, 1], 1)
    assert copies["overlap_fresh"][0] < 0.9


def test_without_a_grammar_tokens_alone_are_compared():
    result = memorisation([[1, 2, 3], [9, 9, -1]], [[1, 2, 4], [1, 2, 3], [9, 0, 0]])
    assert (result["copied"], result["overlap"], result["num_judged"]) == (0.5, [(1 + 1 / 3) / 2], [2])
    assert "valid" not in result
    assert memorisation([[300, 5], [300, 6]], [[300, 7], [44, 7]])["overlap"] == [0.5]  # 300 - 256 = 44


def test_what_never_parses_is_judged_at_the_tokens_alone():
    result = memorisation(np.full((5, 8), 10), sentences(20), GRAMMAR)
    assert (result["num_judged"], result["overlap"]) == ([5, 0, 0], [0, None, None])
    assert result["valid"] == 0


def test_a_hundred_thousand_samples():
    grammar = Grammar.from_name("v16-m4-s2-L4")
    train, samples = grammar.sample(20_000), grammar.sample(100_000, seed=3, sampling="iid")
    result = memorisation(samples, train, grammar, num_nearest=64)
    known = {row.tobytes() for row in train}
    assert result["copied"] == pytest.approx(np.mean([row.tobytes() in known for row in samples]), abs=1e-15)


def test_by_name():
    train = load_dataset("rhm", "v8-m2-s2-L3", train_size=64, validation_size=0, test_size=0)["train"]
    metric = evaluate.load("memorisation")
    result = metric.compute(input_ids=sentences(30), train=train, grammar=train)
    assert result == memorisation(sentences(30), GRAMMAR.sample(64), GRAMMAR)
    with pytest.raises(ValueError, match="train=None"):
        metric.compute(input_ids=sentences(3))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="samples have 3 tokens and training sentences 2"):
        memorisation([[1, 2, 3]], [[1, 2]])
    with pytest.raises(ValueError, match=r"train holds .* no sentence of v8-m2-s2-L3 \(1 of 1 are not\)"):
        memorisation(sentences(3), np.full((1, 8), 9), GRAMMAR)
    with pytest.raises(ValueError, match="num_nearest=0"):
        memorisation(sentences(3), sentences(3), GRAMMAR, num_nearest=0)
    with pytest.raises(ValueError, match="train has dtype float64"):
        memorisation([[1, 2]], [[0.5, 2]])


def test_metric_is_listed():
    with pytest.raises(ValueError, match="grammaticality, in_context_kl, latent_probe, memorisation"):
        load_metric("memorization")
