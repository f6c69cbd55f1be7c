"""The diffusion task: a loss that is a pure function of the noise, what it lacks of the exact one, samples."""

import math
import sys

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import BertConfig, BertForMaskedLM

from rhm_hf import Grammar, RHMForMaskedLM
from rhm_hf.diffusion import DenoisingLoss, ExactDenoiser, log_likelihood_bound, sample_ancestral, sample_revealing
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import log_prob
from rhm_hf.metrics.grammaticality.correctness import chance_level
from rhm_hf.tasks import Diffusion


KINDS = {
    "continuous": {},
    "cosine": {"schedule": "cosine"},
    "masked steps": {"diffusion_steps": 3},
    "uniform": {"process": "uniform", "diffusion_steps": 3, "schedule": "log_linear"},
}


def task_of(grammar, **kwargs):
    return Diffusion(grammar.vocab_size, grammar.sentence_length, grammar, **kwargs)


def noise_for(task, n, seed=0):
    return torch.rand(n, task.noise_per_row, generator=torch.Generator().manual_seed(seed))


def bert(v, length, seed=0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForMaskedLM(BertConfig(vocab_size=v + 3, max_position_embeddings=length, **sizes)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_loss_of_a_batch_is_the_mean_of_its_parts_and_the_bound(small_grammar, kind):
    task = task_of(small_grammar, **KINDS[kind])
    model = bert(small_grammar.vocab_size, small_grammar.sentence_length)
    rows, noise = torch.from_numpy(small_grammar.sample(32, sampling="iid")), task.prepare_noise(noise_for(task, 32))
    batch = task.collate(rows, noise)
    whole = task.loss(model, batch)
    parts = [task.loss(model, task.collate(r, n)) for r, n in zip(rows.split(8), noise.split(8), strict=True)]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-5)
    assert torch.equal(task.loss(model, task.collate(rows, noise.clone())), whole)
    other = task.loss(model, task.collate(rows, task.prepare_noise(noise_for(task, 32, seed=1))))
    assert other.item() != whole.item()
    whole.backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0
    total, right, count = task.scores(model, batch).tolist()
    assert total / count == pytest.approx(whole.item(), rel=1e-5)
    assert count == rows.numel()
    assert 0 <= right <= count


def test_accuracy_counts_visible_tokens_as_known():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    task, oracle = task_of(grammar), RHMForMaskedLM.from_grammar(grammar)
    rows = torch.from_numpy(grammar.sample(20, sampling="iid")).long()
    shown = torch.full((20, task.noise_per_row), 0.999)
    shown[:, 0] = 0.5
    assert task.scores(oracle, task.collate(rows, shown)).tolist() == [0.0, 80.0, 80.0]
    last = torch.full_like(shown, 0.999)
    last[:, 0], last[:, 1] = 0.5, 0.0  # the first token alone is hidden
    expected = RHMForMaskedLM.from_grammar(grammar)(torch.where(torch.arange(4) == 0, 6, rows)).logits[:, 0]
    total, right, _ = task.scores(oracle, task.collate(rows, last)).tolist()
    assert right == 60 + int((expected.argmax(-1) == rows[:, 0]).sum())
    losses = -expected.gather(1, rows[:, :1])[:, 0]
    assert total == pytest.approx(2 * losses.sum().item(), abs=1e-9)  # 1 / t = 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_excess_is_the_mean_difference_of_two_bounds(kind):
    """Summed over all sentences and all noisy states of each, by enumeration."""
    grammar, other = (Grammar.from_name("v3-m2-s2-L2", rules_seed=seed) for seed in (2, 5))
    task, v = task_of(grammar, **KINDS[kind]), 3
    process, bound = task.process, task.bound
    tokens, probs = enumerate_sentences(grammar)
    tokens, probs = torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(probs)
    states = torch.cartesian_prod(*[torch.arange(process.num_states)] * 4)
    times = [(None, 0.7)] if bound.steps is None else [(0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0)]
    for s, t in times:
        noisy = process.ids_of(states)
        at_t = torch.full((len(states),), t, dtype=torch.float64)
        at_s = None if s is None else torch.full_like(at_t, s)
        exact = ExactDenoiser(grammar, process)(noisy, at_t)
        model = (0.5 * ExactDenoiser(other, process)(noisy, at_t).exp() + 0.5 / v).log()
        excess = bound.excess(noisy, exact, model, at_s, at_t)
        assert (excess >= 0).all()
        found = expected = 0.0
        for sentence, p in zip(tokens, probs, strict=True):
            marginal = process.marginal(sentence[None], t)[0]  # (d, states)
            q = marginal.gather(1, states.T).prod(0)
            reached = q > 0
            rows = sentence.expand(int(reached.sum()), -1)
            at = [noisy[reached], None if s is None else at_s[reached], at_t[reached]]
            differences = [bound.bounds_at(rows, at[0], law[reached], *at[1:]) for law in (model, exact)]
            expected += (p * q[reached] * (differences[0] - differences[1])).sum().item()
            found += (p * q[reached] * excess[reached]).sum().item()
        assert found == pytest.approx(expected, abs=1e-12)
        assert found > 0.01


def test_the_exact_denoiser_loses_nothing_and_samples_the_law():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    task, oracle = task_of(grammar, kl_sentences=256), RHMForMaskedLM.from_grammar(grammar).train()
    found = task.judge(oracle, batch_size=100)
    assert oracle.training
    assert tuple(found) == task.columns
    assert found["kl"] == pytest.approx(0, abs=1e-12)
    assert found["denoiser_kl"] == pytest.approx(0, abs=1e-12)
    assert found["entropy"] == pytest.approx(grammar.entropy / 8)
    assert found["accuracy"] == pytest.approx(found["bayes_accuracy"], abs=1e-12)
    assert [found[name] for name in ("valid", "valid_level_1", "valid_level_2", "valid_level_3")] == [1.0] * 4
    assert task.judge(oracle) == pytest.approx(found, abs=1e-12)
    other = RHMForMaskedLM.from_grammar(Grammar.from_name("v8-m2-s2-L3", rules_seed=1))
    assert task.judge(other)["kl"] == math.inf  # excludes what is possible


@pytest.mark.parametrize("steps", [None, 16])
def test_entropy_and_kl_are_the_bound_of_a_model(steps):
    grammar = Grammar.from_name("v4-m2-s2-L3")
    task, model = task_of(grammar, kl_sentences=2000, diffusion_steps=steps), bert(4, 8)
    tokens = grammar.sample(2000, split="evaluation", sampling="iid")
    bounds = {
        name: log_likelihood_bound(
            law, task.process, tokens, steps, num_samples=8, generator=torch.Generator().manual_seed(1)
        )
        for name, law in (("model", model), ("exact", grammar))
    }
    found = task.judge(model)
    floor = found["entropy"] if steps is None else bounds["exact"]["bound"]
    error = 4.5 * sum(b["bound_stderr"] for b in bounds.values()) + 4.5 * found["kl_stderr"]
    assert floor + found["kl"] == pytest.approx(bounds["model"]["bound"], abs=error)
    assert error < 0.3 * found["kl"]
    assert 0 < found["accuracy"] < found["bayes_accuracy"] < 1
    assert found["valid"] < 0.2


def test_uniform_noise_is_sampled_in_its_steps():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    task = task_of(grammar, process="uniform", diffusion_steps=8, kl_sentences=64)
    found = task.judge(bert(4, 4))
    samples = sample_ancestral(bert(4, 4), task.process, 256, 4, 8, torch.Generator().manual_seed(0))
    assert found["valid"] == log_prob(grammar, samples).isfinite().double().mean().item()
    assert abs(found["valid_level_1"] - chance_level(grammar, 1)) < 0.2  # nothing is learnt
    assert found["kl"] > 0


@pytest.mark.parametrize(
    "name", ["v4-m3-s2-L2-zipf1.0@1", "v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d4-p0.5", "v2-m2-s2-L2-sparse1"]
)
def test_every_family_is_judged(name):
    grammar = Grammar.from_name(name)
    task = task_of(grammar, kl_sentences=200)
    found = task.judge(bert(grammar.vocab_size, grammar.sentence_length))
    assert tuple(found) == task.columns
    levels = [name for name in found if name.startswith("valid_level_")]
    assert levels == [f"valid_level_{level}" for level in range(1, grammar.parsed_depth + 1)]
    assert all(0 <= found[name] <= 1 for name in ("valid", *levels))
    assert 0 < found["kl"] < math.inf
    tokens, noise, exact = task.judged.rows, task.judged.noise, task.judged.laws[0]
    noisy, s, t = task.bound.noisy(tokens, noise)
    bounds = task.bound.bounds_at(tokens, noisy, exact, s, t) / grammar.sentence_length
    assert bounds.mean().item() == pytest.approx(found["entropy"], abs=4.5 * bounds.std().item() / 200**0.5)


def test_the_main_process_shows_a_bar_over_samples(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    grammar = Grammar.from_name("v4-m2-s2-L2")
    task, accelerator = task_of(grammar, kl_sentences=16), Accelerator(cpu=True)
    found = task.judge(bert(4, 4), accelerator)
    assert " 0/4 " in capsys.readouterr().err
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    assert task.judge(bert(4, 4), accelerator) == found
    assert capsys.readouterr().err == ""


def test_long_sentences_are_not_sampled_and_texts_not_judged():
    long = Grammar.from_name("v2-m2-s2-L7")
    assert "valid" not in task_of(long).columns
    assert "valid" in task_of(long, process="uniform", diffusion_steps=2).columns
    text = Diffusion(40, 16)
    assert (text.columns, text.judge(None)) == ((), {})


@pytest.mark.parametrize("process", ["masked", "uniform"])
def test_samples_are_those_of_the_samplers(process):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    task = task_of(grammar, process=process, diffusion_steps=3)
    args = (grammar, task.process, 50, 4)  # the grammar is its own denoiser
    for option in (1, 2):
        generators = [torch.Generator().manual_seed(7) for _ in range(2)]
        if process == "masked":
            found = task.sample(grammar, 50, generators[0], tokens_per_step=option)
            expected = sample_revealing(*args, option, generator=generators[1])
        else:
            found = task.sample(grammar, 50, generators[0], steps=None if option == 1 else option)
            expected = sample_ancestral(*args, {1: 3, 2: 2}[option], generators[1])
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process": "gaussian"}, "process='gaussian' is unknown: it must be masked or uniform"),
        ({"process": "uniform"}, "diffusion_steps=None with process='uniform': continuous time is for masked"),
        ({"schedule": "square"}, "schedule='square' is unknown: it must be linear"),
        ({"diffusion_steps": 0}, "steps=0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Diffusion(4, 8, **options)


def test_the_loss_is_that_of_the_diffusion_package():
    grammar = Grammar.from_name("v4-m2-s2-L3")
    task, model = task_of(grammar, diffusion_steps=4), bert(4, 8)
    rows, noise = torch.from_numpy(grammar.sample(16, sampling="iid")), noise_for(task_of(grammar), 16)
    expected = DenoisingLoss(task.process, 4)(model, rows, noise)
    assert torch.equal(task.loss(model, task.collate(rows, noise)), expected)
