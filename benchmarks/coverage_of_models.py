"""Studies of [`benchmarks.coverage`] for metrics of models, diffusion and sampled entropies.

The truth is exact where all sentences can be judged; elsewhere it is that of a sample so large that its own error is
small beside those that are judged. Models are tiny and random, or n-grams: what they say does not matter, how it
scatters does.
"""

import contextlib
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, GrammarParameters, NGramForCausalLM
from rhm_hf.diffusion import (
    MaskedDiffusion,
    forward_backward,
    judge_samples,
    log_likelihood_bound,
    one_step_kl,
)
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.metrics.representation_probe import representation_probe
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity
from rhm_hf.statistics.exact import conditional_entropies
from rhm_hf.statistics.intervals import student
from rhm_hf.theory import recovery_threshold


Found = Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]
GRAMMAR = Grammar.from_name("v8-m2-s2-L3")
TREES = Grammar.from_name("trees-v3-s2m2-s3m2-L2")
MANY = 40_000  # sentences of a truth that is no exact one


def around(name: str, value, stderr, truth, rows: int) -> tuple:
    """Value -/+ t errors; entries that do not exist, or do not vary, have no truth to cover."""
    value, stderr, truth = (np.asarray(numbers, dtype=float) for numbers in (value, stderr, truth))
    reach = student(0.95, rows - 1) * stderr
    return name, value - reach, np.where(np.isfinite(stderr) & (stderr > 0), truth, np.nan), value + reach


@cache
def ngram() -> NGramForCausalLM:
    """A model that is neither right nor uniform."""
    rows = torch.from_numpy(GRAMMAR.sample(200, seed=99, sampling="iid").astype(np.int64))
    return NGramForCausalLM.fit(rows, 2, num_symbols=8, smoothing="add_k")


@cache
def gpt2() -> GPT2LMHeadModel:
    """A model with layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = {"bos_token_id": 8, "eos_token_id": 8}
        return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=16, n_layer=1, n_head=2, n_positions=10, **ids)).eval()


def rows_of(seed: int, num: int, wrong: float = 0.0) -> np.ndarray:
    """Independent sentences; a share of them are random tokens."""
    rows, rng = GRAMMAR.sample(num, seed=seed, sampling="iid").astype(np.int64), np.random.default_rng(seed)
    return np.where(rng.random((num, 1)) < wrong, rng.integers(0, 8, rows.shape), rows)


@cache
def judged() -> dict:
    """What is compared with, of all sentences or of very many."""
    num = MANY
    many = rows_of(10**6, num, wrong=0.3)
    context = loss_by_context(ngram(), rows_of(10**6, num), windows="rows", context_lengths=[0, 1, 2, 4, 7])
    return {
        "kl": kl_divergence(ngram(), GRAMMAR),
        "masked": kl_divergence(bert(), GRAMMAR, rows_of(10**6, num), bos=False)["kl"],
        "right": grammaticality(many, GRAMMAR, per_position=True),
        "context": context,
        "sensitivity": synonym_sensitivity(gpt2(), GRAMMAR, rows_of(10**6, num // 2))["sensitivity"],
        "similarity": representation_probe(gpt2(), GRAMMAR, num_sentences=num // 2, seed=10**6),
    }


def metrics(seed: int) -> Found:
    """KL, grammaticality, copies, losses."""
    num, truth = 64, judged()
    found = kl_divergence(ngram(), GRAMMAR, rows_of(seed, num))
    yield around("`rhm_kl`: `kl_stderr`", found["kl"], found["kl_stderr"], truth["kl"]["kl"], num)
    both = [result["kl_per_position"] for result in (found, truth["kl"])]
    yield around("`rhm_kl`: `kl_stderr_per_position`", both[0], found["kl_stderr_per_position"], both[1], num)
    found = kl_divergence(bert(), GRAMMAR, rows_of(seed, num), mask_seed=seed, bos=False)
    yield around("`rhm_kl`, tasks: `kl_stderr`, masked", found["kl"], found["kl_stderr"], truth["masked"], num)
    rows = rows_of(seed, num, wrong=0.3)
    found = grammaticality(rows, GRAMMAR, per_position=True)
    valid = 0.7 + 0.3 * GRAMMAR.num_sentences / 8**8
    yield around("`grammaticality`: `valid_stderr`", found["valid"], found["valid_stderr"], valid, num)
    for key in ("correct", "correct_per_position"):
        value, error, true = (_flat(part) for part in (found[key], found[_error_of(key)], truth["right"][key]))
        yield around(f"`grammaticality`: `{_error_of(key)}`", value, error, true, num)
    found = judge_samples(GRAMMAR, rows)
    error = found["fraction_grammatical_stderr"]
    yield around("`judge_samples`: `fraction_grammatical_stderr`", found["fraction_grammatical"], error, valid, num)
    train = GRAMMAR.sample(300, seed=5, sampling="unique")
    found = memorisation(rows_of(seed, num), train)
    yield around("`memorisation`: `copied_stderr`", found["copied"], found["copied_stderr"], 300 / 1024, num)
    found = loss_by_context(ngram(), rows_of(seed, num), windows="rows", context_lengths=[0, 1, 2, 4, 7])
    for key in ("loss", "delta"):
        value, error, true = found[key], found[f"{key}_stderr"], truth["context"][key]
        yield around(f"`context_loss`: `{key}_stderr`", value, error, true, num)


def _error_of(key: str) -> str:
    return key.replace("correct", "correct_stderr")


def _flat(values: list) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in values])


def shares(seed: int) -> Found:
    """Intervals of shares, few samples, also where all of them or none are right."""
    for wrong in (0.02, 0.3):
        valid = 1 - wrong + wrong * GRAMMAR.num_sentences / 8**8
        rows = rows_of(seed, 20, wrong)
        yield (
            f"`grammaticality`: `valid_interval`, share {valid:.2f} of 20",
            *_between(grammaticality(rows, GRAMMAR)["valid_interval"], valid),
        )
        found = judge_samples(GRAMMAR, rows)["fraction_grammatical_interval"]
        yield f"`judge_samples`: `fraction_grammatical_interval`, share {valid:.2f} of 20", *_between(found, valid)
    for num in (20, 300):
        found = memorisation(rows_of(seed, 20), GRAMMAR.sample(num, seed=5, sampling="unique"))["copied_interval"]
        yield f"`memorisation`: `copied_interval`, share {num / 1024:.2f} of 20", *_between(found, num / 1024)


def _between(interval: tuple[float, float], truth: float) -> tuple[float, float, float]:
    return interval[0], truth, interval[1]


def probes(seed: int) -> Found:
    """Sensitivities, similarities, and probes whose map is held fixed by the seed."""
    num, truth = 128, judged()
    found = synonym_sensitivity(gpt2(), GRAMMAR, rows_of(seed, num), seed=seed)
    value, error = found["sensitivity"], found["stderr"]
    yield around("`synonym_sensitivity`: `stderr`", value, error, truth["sensitivity"], num)
    found = representation_probe(gpt2(), GRAMMAR, rows_of(seed, num), seed=seed)
    for key in ("ratio", "similarity_replaced", "similarity_redrawn"):
        value, error = found[key], found[f"{key}_stderr"]
        yield around(f"`representation_probe`: `{key}_stderr`", value, error, truth["similarity"][key], num)
    found = latent_probe(gpt2(), GRAMMAR, rows_of(seed, num), num_train=64)
    fixed = _fixed("latent")
    yield around("`latent_probe`: `stderr`", found["accuracy"], found["stderr"], fixed["accuracy"], num)
    found = belief_probe(gpt2(), GRAMMAR, rows_of(seed, num), num_train=64)
    fixed = _fixed("belief")
    for key, error in (("r2", "stderr"), ("control", "control_stderr")):
        yield around(f"`belief_probe`: `{error}`", found[key], found[error], fixed[key], num)


@cache
def _fixed(which: str, num: int = 128) -> dict:
    """The mean over many disjoint samples of the same size, so that the map is fitted on the same sentences."""
    probe = {"latent": latent_probe, "belief": belief_probe}[which]
    found = [probe(gpt2(), GRAMMAR, rows_of(10**6 + k, num), num_train=64) for k in range(MANY // 640)]
    return {
        key: np.mean([np.array(result[key], dtype=float) for result in found], 0)
        for key in ("accuracy", "r2", "control")
        if key in found[0]
    }


def diffusion(seed: int) -> Found:
    """Bounds, one-step KL, survival, the law of an order."""
    num, process, truth = 64, MaskedDiffusion(8), _diffused()
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.from_numpy(rows_of(seed, num))
    found = log_likelihood_bound(bert(), process, tokens, generator=generator)
    yield around("`log_likelihood_bound`: `bound_stderr`", found["bound"], found["bound_stderr"], truth["bound"], num)
    found = one_step_kl(bert(), GRAMMAR, process, tokens, steps=8, generator=generator)
    for key in ("denoiser_kl", "step_kl"):
        yield around(f"`one_step_kl`: `{key}_stderr`", found[key], found[f"{key}_stderr"], truth[key], num)
    found = forward_backward(GRAMMAR, process, 0.5, num_sentences=num, seed=seed)
    value, error = found.survival, found.survival_stderr
    yield around("`forward_backward`: `survival_stderr`", value, error, truth["survival"], num)


@cache
def bert() -> BertForMaskedLM:
    """A masked model and denoiser."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        return BertForMaskedLM(BertConfig(vocab_size=11, max_position_embeddings=10, **sizes, mask_token_id=10)).eval()


@cache
def _diffused() -> dict:
    process, generator = MaskedDiffusion(8), torch.Generator().manual_seed(10**6)
    tokens = torch.from_numpy(rows_of(10**6, MANY))
    steps = one_step_kl(bert(), GRAMMAR, process, tokens, steps=8, generator=generator)
    return {
        "bound": log_likelihood_bound(bert(), process, tokens, generator=generator)["bound"],
        "survival": forward_backward(GRAMMAR, process, 0.5, num_sentences=MANY, seed=10**6).survival,
        **steps,
    }


def entropies(seed: int) -> Found:
    """Entropies that are means over sampled sentences."""
    whole = conditional_entropies(GRAMMAR)
    found = conditional_entropies(GRAMMAR, num_sentences=64, seed=seed)
    for key in ("last", "mean"):
        value, error = getattr(found, key), getattr(found, f"{key}_stderr")
        yield around(f"`conditional_entropies`: `{key}_stderr`", value, error, getattr(whole, key), 64)
    small = Grammar.from_name("ambiguous-v4-m2-s2-L2", rules_seed=seed)  # all sentences known, and drawn all the same
    value, error = small.laws.sampled_entropy()
    truth = small.entropy if small.entropy_stderr == 0 else np.nan
    yield around("`entropy_stderr` of a source", value, error, truth, 4096)


def thresholds(seed: int) -> Found:
    """The threshold of real noise, over sequences of rules."""
    found = recovery_threshold(GrammarParameters(6, 2, 2, 3), num_sequences=10, population=16, seed=seed)
    yield around("`recovery_threshold`: `stderr`", found.noise, found.stderr, _threshold(), 10)


@cache
def _threshold() -> float:
    """Of many sequences, 50 at a time: one without a threshold among them is refused, with the rest."""
    found = []
    for k in range(max(1, MANY // 1000)):
        with contextlib.suppress(ValueError):
            found.append(
                recovery_threshold(GrammarParameters(6, 2, 2, 3), num_sequences=50, population=16, seed=10**6 + k)
            )
    return float(np.mean([part.noise for part in found]))


def lengths(seed: int) -> Found:
    """What belongs to sentences of different lengths: their ends, and how far they are possible."""
    num, truth = 64, _of_lengths()
    found = kl_divergence(_with_ends(), TREES, TREES.sample(num, seed=seed, sampling="iid"))
    yield around("`rhm_kl`: `kl_end_stderr`", found["kl_end"], found["kl_end_stderr"], truth["kl_end"], num)
    found = grammaticality(_spoilt(seed, num), TREES)
    value, error = found["possible"], found["possible_stderr"]
    yield around("`grammaticality`: `possible_stderr`", value, error, truth["possible"], num)


@cache
def _with_ends() -> NGramForCausalLM:
    return NGramForCausalLM.fit(TREES.sample(300, seed=99), 2, num_symbols=3, smoothing="add_k", ends=True)


def _spoilt(seed: int, num: int) -> np.ndarray:
    """Sentences one of whose tokens is another in three of ten."""
    rows, rng = TREES.sample(num, seed=seed, sampling="iid").astype(np.int64), np.random.default_rng(seed)
    first = np.where(rng.random(num) < 0.3, rng.integers(0, 3, num), rows[:, 1])
    rows[:, 1] = np.where(rows[:, 1] < 3, first, rows[:, 1])
    return rows


@cache
def _of_lengths() -> dict:
    return kl_divergence(_with_ends(), TREES) | grammaticality(_spoilt(10**6, MANY // 4), TREES)


def prompted(rules_seed: int, grammars: int) -> dict:
    """The same mappings and prompts' seeds always: what scatters is the grammars."""
    few = {"num_mappings": 2, "max_examples": 1, "learners": ["ngram"], "smoothings": [1.0], "symbols": "ids"}
    return in_context_kl(
        gpt2(), Grammar.from_name("v4-m2-s2-L2"), num_grammars=grammars, first_rules_seed=rules_seed, **few
    )


@cache
def prompted_truth() -> dict:
    """Of many other grammars."""
    return prompted(10**6, MANY // 50)


def in_context(seed: int) -> Found:
    """KL of the sentence after n others, and what a model gains over n-grams, of eight grammars."""
    found, truth = prompted(8 * seed, 8), prompted_truth()
    for name in ("kl", "kl_within"):
        low, high = np.array(found[f"{name}_interval"]).T
        yield f"`{name}_interval` of `in_context_kl`, 8 grammars", low, np.array(truth[name]), high
    low, high = np.array(found["lines"]["ngram"]["gain_interval"]).T
    gain = np.array(truth["lines"]["ngram"]["gain"])
    yield "`gain_interval` of `in_context_kl`, 8 grammars", low, gain, high


STUDIES = {  # and the share of the repeats that each gets
    "metrics": (metrics, 1),
    "shares": (shares, 2),
    "probes": (probes, 0.5),
    "diffusion": (diffusion, 1),
    "entropies": (entropies, 1),
    "lengths": (lengths, 1),
    "in_context": (in_context, 1),
    "thresholds": (thresholds, 2),
}
