"""What models are held against: exact lines by brute force, and learners that count."""

import itertools
import json

import numpy as np
import pytest
import torch

from rhm_hf import NGramForCausalLM, theory
from rhm_hf.bench.counters import count_run, why_not
from rhm_hf.bench.suite import BenchTask, load_suite
from rhm_hf.bench.yardsticks import source_of, yardstick
from rhm_hf.grammar import enumerate_sentences
from rhm_hf.inference import position_entropies
from rhm_hf.tasks import LastToken, Masked
from rhm_hf.training import Arguments


def bench_task(task, grammar="v4-m2-s2-L2", **arguments):
    return BenchTask("name", "?", task, grammar, (64, 256), 64, (0, 1), arguments=arguments)


@pytest.mark.parametrize("task", ["next_token", "last_token"])
def test_lines_of_tokens_are_differences_of_exact_entropies(task):
    found = yardstick(bench_task(task), 1)
    grammar = source_of(bench_task(task), 1)
    assert grammar.parameters.rules_seed == 1
    losses = [position_entropies(grammar, level) for level in range(3)]
    losses = [float(loss[-1]) if task == "last_token" else float(loss.mean()) for loss in losses]
    assert found.values == pytest.approx([loss - losses[-1] for loss in losses], abs=1e-9)
    assert found.names == ("level 1", "level 2")
    assert found.exact
    assert found.theory["level 2"]["cnn"] == theory.sample_complexity(grammar.parameters, 2, architecture="cnn")


def test_lines_of_masked_tokens_by_counting_over_all_sentences():
    task = bench_task("masked", kl_sentences=64)
    found, grammar = yardstick(task, 0), source_of(task, 0)
    tokens, probs = enumerate_sentences(grammar)
    judged = Masked(grammar.vocab_size, 4, grammar, kl_sentences=64).judged
    total, weight = np.zeros(2), 0.0
    for row, w, hidden in zip(judged.rows.numpy(), judged.weights.numpy(), judged.counted.numpy(), strict=True):
        for place in np.flatnonzero(hidden):
            laws = []
            for size in (1, 2, 4):  # the block of every level that the model may see
                block = np.arange(4) // size == place // size
                fits = (tokens == row)[:, ~hidden & block].all(1)
                laws.append(np.bincount(tokens[fits, place], probs[fits], grammar.vocab_size) / probs[fits].sum())
            truth = laws[-1]
            inside = truth > 0
            total += [w * (truth[inside] * np.log(truth[inside] / law[inside])).sum() for law in laws[:2]]
            weight += w
    assert found.values == pytest.approx([*(total / weight), 0.0], abs=1e-9)


def test_a_class_is_half_way_between_a_blind_guess_and_none():
    found = yardstick(bench_task("classification", "v4-m2-s2-L2"), 0)
    assert (found.measure, found.values) == ("error_gap", (0.75, 0.0))
    assert found.theory["class"]["deep"] == 4 * 2**2
    sparse = yardstick(bench_task("classification", "v4-m2-s2-L2-sparse1"), 0)
    assert sparse.theory["class"] == {"cnn": 64.0, "lcn": 128.0}


def test_lines_of_varying_lengths_are_counted_and_fall():
    small = load_suite("small")
    task = next(task for task in small.tasks if task.name == "depth")
    found = yardstick(task, 0)
    assert not found.exact
    assert found.names == ("1 before", "3 before", "all before")
    assert all(np.diff(found.values) < 0)
    assert found.values[-1] == 0
    source = source_of(task, 0)
    assert yardstick(task, 1).values == found.values  # samples differ, the law does not
    # The law of a token by itself, END among them, against the exact one: the entropy of the mixture.
    tokens, lengths = source.sample(20000, seed=7, sampling="iid", return_lengths=True)
    counts = np.bincount(tokens[tokens < source.vocab_size], minlength=source.vocab_size)
    law = np.append(counts, len(lengths)) / (counts.sum() + len(lengths))
    rate = source.entropy / (source.mean_length + 1)
    assert found.values[0] == pytest.approx(-(law * np.log(law)).sum() - rate, rel=0.05)


def run_of(task, grammar, size=512, **more):
    values = {"task": task, "grammar": grammar, "num_train": size, "num_validation": 64, "num_test": 16}
    return Arguments.from_dict(values | {"kl_sentences": 256, "sampling": "iid"} | more)


def test_a_counted_cell_is_the_best_context_on_validation():
    arguments = run_of("last_token", "v4-m2-s2-L2")
    found = count_run("ngram", arguments)
    source = source_of(bench_task("last_token"), 0)
    train = source.sample(512, sampling="iid")
    validation = torch.from_numpy(source.sample(64, split="validation", sampling="iid").astype(np.int64))
    losses = {}
    for order in (2, 3, 5):
        model = NGramForCausalLM.fit(train, order, num_symbols=4, discount=0.75)
        law = model.next_probs(validation[:, :-1], torch.ones(64, 3, dtype=torch.bool), torch.zeros(64, 3).bool())
        losses[order] = float(-law[torch.arange(64), -1, validation[:, -1]].log().mean())
    assert found["order"] == min(losses, key=losses.get)
    assert found["validation_loss"] == pytest.approx(min(losses.values()), rel=1e-6)
    model = NGramForCausalLM.fit(train, found["order"], num_symbols=4, discount=0.75)
    assert found["kl"] == pytest.approx(
        LastToken(4, 4, source, "AutoModelForCausalLM", kl_sentences=256).judge(model)["kl"]
    )


def test_learners_come_to_the_law_with_their_own_speed():
    kls = {
        name: count_run(name, run_of("next_token", "v6-m2-s2-L2", 256))["kl"]
        for name in ("ngram", "hierarchical_ngram")
    }
    assert kls["hierarchical_ngram"] < kls["ngram"]
    many = run_of("next_token", "v6-m2-s2-L2", 2**14)
    for learner in ("ngram", "hierarchical_ngram", "correlation_learner"):
        assert count_run(learner, many)["kl"] < 0.01


def test_what_a_learner_cannot_do_is_said():
    small = load_suite("small")
    cannot = {
        (learner, task.name)
        for task, learner in itertools.product(small.tasks, ("ngram", "hierarchical_ngram", "correlation_learner"))
        if why_not(learner, task.task, source_of(task, 0))
    }
    others = {(learner, name) for learner, name in cannot if name not in ("class", "placement", "masked")}
    assert others == {(n, t) for n in ("hierarchical_ngram", "correlation_learner") for t in ("trees", "depth")}


def test_no_infinite_kl_from_few_sentences():
    for learner in ("ngram", "hierarchical_ngram"):
        found = count_run(learner, run_of("next_token", "v6-m2-s2-L4", 16))
        assert np.isfinite(found["kl"])
        json.dumps(found, allow_nan=False)
