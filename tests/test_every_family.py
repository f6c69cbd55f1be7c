"""Every family x everything: a right number, by brute force over all sentences, or a refusal that says why.

`REFUSALS` says what is refused for whom; everything else has to give its number. A family from outside stands in the
list as well.
"""

import contextlib
import copy
import json
import math
import pickle
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import palindromes  # noqa: F401  registers the family
import pytest
import torch
from datasets import load_dataset
from datasets.fingerprint import Hasher
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel
from typer.testing import CliRunner

from rhm_hf import RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification, load_metric
from rhm_hf.cli.app import app
from rhm_hf.data import export_parquet, grammar_of
from rhm_hf.data.facts import grammar_facts
from rhm_hf.diffusion import MaskedDiffusion, UniformDiffusion, forward_backward, log_likelihood_bound
from rhm_hf.grammar import Grammar, NotSupported, Source, enumerate_sentences
from rhm_hf.inference import (
    causal_posteriors,
    last_token_plateaus,
    log_prob,
    most_probable_parse,
    next_token_probs,
    node_marginals,
    parse,
    plateau,
    position_entropies,
    posteriors,
    prefix_probs,
    sample_posterior,
)
from rhm_hf.statistics import token_correlations
from rhm_hf.statistics.exact import conditional_entropies, exact_correlation, joint_law, tuple_joint_law
from rhm_hf.tasks import TASKS
from rhm_hf.training import Arguments, best_row, train
from rhm_hf.training.recipe import KeptRun


FAMILIES = {
    "uniform": "v3-m2-s2-L2",
    "zipf": "v3-m2-s2-L2-zipf1.0",
    "uncorrelated": "v2-m2-s2-L2-uncorrelated",
    "uneven": "layered-c2-v3.4-m2.1-s2.3",
    "unary": "layered-c3-v4.5-m1.2-s1.2",
    "filtered": "v3-m2-s2-L2-cut1",
    "independent": "v3-m2-s2-L2-cut0",
    "hidden_markov": "hmm-v3-h2-m2-d4-p0.5",
    "sparse": "v2-m2-s2-L1-sparse1",
    "sparse_b": "v2-m2-s2-L1-sparse1b",
    "trees": "trees-v3-s2m2-s3m2-L2",
    "levelled": "pcfg-v2-m2-s2.3-L2",
    "broadcast": "ising-rho0.8-s2-L2",
    "ambiguous": "ambiguous-v3-m2-s2-L2",
    "outside": "palindromes-v3-h2",
}


@cache
def source_of(family: str) -> Source:
    return Grammar.from_name(FAMILIES[family], rules_seed=0 if "pcfg" in FAMILIES[family] else 1)


@dataclass
class World:
    """A source, all its sentences, and what follows from them by counting."""

    source: Source
    family: str

    @cached_property
    def sentences(self) -> tuple[np.ndarray, np.ndarray]:
        return enumerate_sentences(self.source)

    @property
    def tokens(self) -> np.ndarray:
        return self.sentences[0]

    @property
    def probs(self) -> np.ndarray:
        return self.sentences[1]

    @cached_property
    def rows(self) -> list[tuple[int, ...]]:
        lengths = self.source.lengths_of(self.tokens)
        return [tuple(row[:n]) for row, n in zip(self.tokens.tolist(), lengths, strict=True)]

    @property
    def entropy(self) -> float:
        return float(-(self.probs * np.log(self.probs)).sum())

    def following(self, prefix: tuple[int, ...]) -> np.ndarray:
        """The law of what follows a prefix, END last where lengths vary."""
        law = np.zeros(self.source.num_outcomes)
        for row, p in zip(self.rows, self.probs, strict=True):
            if row[: len(prefix)] == prefix and len(row) + self.source.lengths_vary > len(prefix):
                law[row[len(prefix)] if len(row) > len(prefix) else self.source.vocab_size] += p
        return law / law.sum()


@cache
def world_of(family: str) -> World:
    return World(source_of(family), family)


@cache
def small_gpt2(vocab_size: int, positions: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    ids = {"bos_token_id": vocab_size, "eos_token_id": vocab_size, "pad_token_id": vocab_size + 1}
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": positions}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size + 3, **shape, **ids)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(8)  # far from uniform
    return model.double()


def gpt2_for(source: Source) -> GPT2LMHeadModel:
    return small_gpt2(source.vocab_size, (source.max_length or 12) + 2)


def sentence_log_probs(model, world: World) -> np.ndarray:
    """A causal model's log probability of every sentence, one by one, END included where lengths vary."""
    v, found = world.source.vocab_size, []
    for row in world.rows:
        ids = torch.tensor([[v, *row, *([v] if world.source.lengths_vary else [])]])
        with torch.no_grad():
            logs = model(ids).logits[0, :-1].log_softmax(-1)
        found.append(float(logs.gather(1, ids[0, 1:, None]).sum()))
    return np.array(found)


# What there is; each takes a world and a folder, and asserts.


def next_tokens(world, folder):
    laws, valid = prefix_probs(world.source, world.tokens)
    for row, law, possible in zip(world.rows, laws, valid, strict=True):
        for i in range(len(row) + world.source.lengths_vary):
            np.testing.assert_allclose(law[i], world.following(row[:i]), rtol=0, atol=1e-12)
            assert possible[i]


def float32(world, folder):
    single = next_token_probs(world.source, world.tokens, dtype=torch.float32)
    double, valid = next_token_probs(world.source, world.tokens, return_valid=True)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single[valid].double(), double[valid], rtol=0, atol=1e-5)


def aligned_contexts(world, folder):
    source, (tokens, probs) = world.source, world.sentences
    for level in range(source.depth + 1):
        laws, block = next_token_probs(source, tokens, context_level=level), source.block_length(level)
        for i in range(source.sentence_length):
            first = i // block * block
            for row, law in zip(tokens, laws, strict=True):
                agree = (tokens[:, first:i] == row[first:i]).all(1)
                exact = np.bincount(tokens[agree, i], probs[agree], source.vocab_size)
                np.testing.assert_allclose(law[i], exact / exact.sum(), rtol=0, atol=1e-12)
        entropies = position_entropies(source, level)
        assert plateau(source, level) == pytest.approx(float(entropies.mean()), abs=1e-12)
        assert last_token_plateaus(source)[level] == float(entropies[-1])


def windows(world, folder):
    source, (tokens, probs) = world.source, world.sentences
    lengths = source.lengths_of(tokens)
    for window in (0, 1, 2):
        laws = next_token_probs(source, tokens, context_length=window)
        for i in range(tokens.shape[1]):
            first = max(0, i - window)
            for row, n, law in zip(tokens, lengths, laws, strict=True):
                if n < i:
                    continue
                agree = (tokens[:, first:i] == row[first:i]).all(1) & (lengths >= i)
                following = np.where(lengths > i, tokens[:, i].astype(int), source.vocab_size)
                exact = np.bincount(following[agree], probs[agree], source.num_outcomes)
                np.testing.assert_allclose(law[i], exact / exact.sum(), rtol=0, atol=1e-12)


def sentence_probs(world, folder):
    np.testing.assert_allclose(log_prob(world.source, world.tokens).exp().numpy(), world.probs, rtol=1e-11)
    assert world.probs.sum() == pytest.approx(1, abs=1e-12)
    assert len(world.probs) == world.source.num_sentences == len(set(world.rows))
    assert world.source.entropy == pytest.approx(world.entropy, abs=1e-10 + 5 * world.source.entropy_stderr)
    assert world.source.num_derivations >= world.source.num_sentences
    assert world.source.derivation_entropy >= world.source.entropy - 1e-10 - 5 * world.source.entropy_stderr
    lengths = np.array([len(row) for row in world.rows])
    assert world.source.mean_length == pytest.approx(float(lengths @ world.probs), abs=1e-10)


def samples(world, folder):
    drawn = world.source.sample(4000, seed=3, sampling="iid")
    lengths = world.source.lengths_of(drawn)
    known = dict(zip(world.rows, world.probs, strict=True))
    counts: dict[tuple, int] = {}
    for row, n in zip(drawn.tolist(), lengths, strict=True):
        counts[tuple(row[:n])] = counts.get(tuple(row[:n]), 0) + 1
    assert set(counts) <= set(known)
    chi2 = sum((counts.get(row, 0) - 4000 * p) ** 2 / (4000 * p) for row, p in known.items())
    freedom = len(known) - 1
    assert abs(chi2 - freedom) < 6 * math.sqrt(2 * freedom + sum(1 / (4000 * p) for p in known.values()))
    parts = [world.source.sample(1000, seed=3, sampling="iid", start=start) for start in (0, 1000, 2000, 3000)]
    again = [tuple(r[r < world.source.vocab_size]) for part in parts for r in part]
    assert again == [tuple(r[r < world.source.vocab_size]) for r in drawn]


def masked_tokens(world, folder):
    """At known length, where lengths vary."""
    source, (tokens, probs) = world.source, world.sentences
    lengths = source.lengths_of(tokens)
    hidden = (np.arange(tokens.shape[1]) % 2 == 0) & (np.arange(tokens.shape[1]) < lengths[:, None])
    laws = posteriors(source, tokens=tokens, mask=hidden)[0]
    for row, n, law in list(zip(tokens, lengths, laws, strict=True))[::7]:
        agree = (tokens[:, 1::2] == row[1::2]).all(1) & (lengths == n)
        for i in range(n):
            exact = np.bincount(tokens[agree, i], probs[agree], source.vocab_size)
            np.testing.assert_allclose(law[i], exact / exact.sum(), rtol=0, atol=1e-12)


def hidden_symbols(world, folder):
    """Means of posteriors over all sentences are the marginals; drawn derivations follow them; parses agree."""
    source, (tokens, probs) = world.source, world.sentences
    laws, parsed = posteriors(source, tokens=tokens), parse(source, tokens)
    likeliest = most_probable_parse(source, tokens)
    assert len(laws) == len(likeliest) == source.depth + 1
    assert len(parsed) == source.parsed_depth + 1
    for level, law in enumerate(laws):
        marginal = torch.einsum("n,nas->as", torch.from_numpy(probs), law)
        np.testing.assert_allclose(marginal, node_marginals(source, level), rtol=0, atol=1e-12)
        if level <= source.parsed_depth:
            assert torch.equal(parsed[level], law.argmax(-1))
            assert torch.equal(parsed[level], likeliest[level])
            np.testing.assert_array_equal(source.parse(tokens)[level], parsed[level])
    drawn = sample_posterior(source, tokens=tokens, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0], torch.from_numpy(tokens.astype(np.int64)))
    derived = source.derivations(3000, seed=5, sampling="iid")
    for level in range(source.depth + 1):
        found = np.stack([(derived[level] == a).mean(0) for a in range(source.num_symbols_at(level))], -1)
        np.testing.assert_allclose(found, node_marginals(source, level), atol=0.05)


def beliefs_of_prefixes(world, folder):
    """P(ancestor | prefix) is the mean of the posteriors given the sentence over the sentences with that prefix."""
    source, (tokens, probs) = world.source, world.sentences
    beliefs, whole = causal_posteriors(source, tokens), posteriors(source, tokens=tokens)
    for level, law in enumerate(beliefs, start=1):
        for i in range(source.sentence_length):
            node = i // source.block_length(level)
            for row, belief in zip(tokens[:20], law[:20], strict=True):
                agree = torch.from_numpy((tokens[:, : i + 1] == row[: i + 1]).all(1))
                weights = torch.from_numpy(probs)[agree]
                exact = (weights[:, None] * whole[level][agree, node]).sum(0) / weights.sum()
                np.testing.assert_allclose(belief[i], exact, rtol=0, atol=1e-12)


def two_tokens(world, folder):
    source, (tokens, probs) = world.source, world.sentences
    v = source.vocab_size
    for i, j in ((0, 1), (tokens.shape[1] - 1, 0)):
        exact = np.zeros((v, v))
        np.add.at(exact, (tokens[:, i], tokens[:, j]), probs)
        np.testing.assert_allclose(joint_law(source, i, j), exact, rtol=0, atol=1e-12)
    connected = exact_correlation(source, distances=[1])
    exact = np.zeros((v, v))
    np.add.at(exact, (tokens[:, -2], tokens[:, -1]), probs)
    exact -= np.outer(exact.sum(1), exact.sum(0))
    assert connected[0] == pytest.approx(math.sqrt((exact**2).mean()), abs=1e-12)


def tuple_and_token(world, folder):
    source = world.source
    if source.parsed_depth == 0 or source.num_nodes_at(1) == 1:
        pytest.skip("no tuple beside a token")
    law = tuple_joint_law(source, 0, source.sentence_length - 1)
    marginal = node_marginals(source, 0)[-1].numpy()
    np.testing.assert_allclose(law.sum(0), marginal, rtol=0, atol=1e-12)


def entropies_by_context(world, folder):
    source, (tokens, probs) = world.source, world.sentences
    found = conditional_entropies(source, lengths=[1])
    total = 0.0
    for i in range(source.sentence_length):
        first = max(0, i - 1)
        for prefix in {tuple(row) for row in tokens[:, first:i].tolist()}:
            agree = (tokens[:, first:i] == prefix).all(1)
            law = np.bincount(tokens[agree, i], probs[agree], source.vocab_size)
            law = law[law > 0]
            total -= float((law * np.log(law / law.sum())).sum())
    assert found.mean[0] == pytest.approx(total / source.sentence_length, abs=1e-10)


def counted_correlations(world, folder):
    """What is counted in many samples is close to what all sentences say."""
    source, (tokens, probs) = world.source, world.sentences
    lengths, v = source.lengths_of(tokens), source.vocab_size
    drawn = source.sample(20_000, seed=2, sampling="iid")
    drawn = [row[row < v] for row in drawn] if source.lengths_vary else drawn
    counted = token_correlations(drawn, distances=[1], vocab_size=v, anchor="all").correlation[0]
    pairs = np.zeros((v, v))
    for row, n, p in zip(tokens, lengths, probs, strict=True):
        np.add.at(pairs, (row[: n - 1], row[1:n]), p)
    pairs /= pairs.sum()
    connected = pairs - np.outer(pairs.sum(1), pairs.sum(0))
    assert counted == pytest.approx(math.sqrt((connected**2).mean()), abs=0.01)


def causal_kl(world, folder):
    """Per sentence, sum p (log p - log q) of whole sentences, whatever the chain rule makes of it."""
    source, model = world.source, gpt2_for(world.source)
    found = load_metric("rhm_kl").compute(model=model, grammar=source)
    logs = sentence_log_probs(model, world)
    exact = float(world.probs @ (np.log(world.probs) - logs))
    assert found["kl_sentence"] == pytest.approx(exact, abs=1e-9)
    judged = float(world.probs @ [len(row) + source.lengths_vary for row in world.rows])
    assert found["kl"] == pytest.approx(exact / judged, abs=1e-10)
    assert found["entropy"] == pytest.approx(world.entropy / judged, abs=1e-10)
    assert found["kl_stderr"] == 0
    assert found["read_as"] == "causal"
    assert found["bos"] == source.vocab_size


def masked_kl(world, folder):
    source = world.source
    oracle = RHMForMaskedLM.from_grammar(source)
    assert abs(load_metric("rhm_kl").compute(model=oracle, grammar=source)["kl"]) < 1e-9
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    v = source.vocab_size
    model = BertForMaskedLM(BertConfig(vocab_size=v + 3, max_position_embeddings=64, pad_token_id=v + 1, **shape))
    found = load_metric("rhm_kl").compute(model=model, grammar=source)
    assert found["read_as"] == "masked"
    assert 0 < found["kl"] < 10


def causal_oracle(world, folder):
    source = world.source
    oracle = RHMForCausalLM.from_grammar(source)
    oracle.save_pretrained(folder)
    again = RHMForCausalLM.from_pretrained(folder)
    assert again.grammar == source
    np.testing.assert_allclose(sentence_log_probs(again, world), np.log(world.probs), rtol=0, atol=1e-10)
    assert abs(load_metric("rhm_kl").compute(model=again, grammar=source)["kl"]) < 1e-9
    torch.manual_seed(0)
    made = again.generate(torch.full((64, 1), source.vocab_size))[:, 1:]
    rows = {tuple(t for t in row if t < source.vocab_size) for row in made.tolist()}
    assert rows <= set(world.rows)


def classifying_oracle(world, folder):
    source = world.source
    oracle = RHMForSequenceClassification.from_grammar(source)
    with torch.no_grad():
        logits = oracle(torch.from_numpy(world.tokens.astype(np.int64))).logits
    expected = posteriors(source, tokens=world.tokens)[-1][:, 0]
    torch.testing.assert_close(logits.softmax(-1), expected, rtol=0, atol=1e-12)


def grammatical_samples(world, folder):
    source, rng = world.source, np.random.default_rng(0)
    tokens = source.sample(200, seed=4, sampling="iid").astype(np.int64)
    lengths = source.lengths_of(tokens)
    noisy = np.where(rng.random(tokens.shape) < 0.3, rng.integers(source.vocab_size, size=tokens.shape), tokens)
    noisy = np.where(np.arange(tokens.shape[1]) < lengths[:, None], noisy, tokens)
    found = load_metric("grammaticality").compute(input_ids=noisy, grammar=source)
    known = set(world.rows)
    exact = np.mean([tuple(row[:n]) in known for row, n in zip(noisy.tolist(), lengths, strict=True)])
    assert found["valid"] == pytest.approx(exact, abs=1e-12)
    assert load_metric("grammaticality").compute(input_ids=tokens, grammar=source)["valid"] == 1


def memorised(world, folder):
    source = world.source
    tokens = source.sample(120, seed=6, sampling="iid")
    train_rows, made = tokens[:60], tokens[30:]
    found = load_metric("memorisation").compute(input_ids=made, train=train_rows, grammar=source)
    known = {tuple(row) for row in train_rows.tolist()}
    assert found["copied"] == pytest.approx(np.mean([tuple(row) in known for row in made.tolist()]), abs=1e-12)
    if source.has_blocks:
        assert found["levels"] == list(range(min(source.parsed_depth, source.depth - 1) + 1))


def probed_latents(world, folder):
    source = world.source
    found = load_metric("latent_probe").compute(
        model=gpt2_for(source),
        grammar=source,
        num_sentences=64,
        num_train=256,
        input_ids=source.sample(64, seed=1, sampling="iid"),
    )
    assert len(found["accuracy"]) > 0


def probed_representations(world, folder):
    found = load_metric("representation_probe").compute(
        model=gpt2_for(world.source), grammar=world.source, num_sentences=64, num_whitening=64, hide_last=False
    )
    assert found["levels"][0] == 1
    assert found["num_sentences"] == 64


def sensitive_to_synonyms(world, folder):
    """A share of variance, by layers and levels; what is drawn anew at the root leaves the class alone."""
    source = world.source
    found = load_metric("synonym_sensitivity").compute(model=gpt2_for(source), grammar=source, num_sentences=256)
    assert found["levels"] == list(range(1, source.depth + 1))
    assert all(-0.01 < s < 1.6 for layer in found["sensitivity"] for s in layer if s is not None)


def texts_compared(world, folder):
    """Two samples of one law agree as far as can be told."""
    source = world.source
    rows = [source.sample(600, seed=seed, sampling="iid") for seed in (1, 2)]
    if source.lengths_vary:
        rows = [[row[row < source.vocab_size].tolist() for row in sample] for sample in rows]
    found = load_metric("effective_context").compute(corpus=rows[0], generated=rows[1], distances=[1])
    assert found["t_agree"] is None or found["t_agree"] >= 0


def probed_beliefs(world, folder):
    """Of every level; R^2 is at most 1, and None where beliefs do not vary."""
    source = world.source
    found = load_metric("belief_probe").compute(
        model=gpt2_for(source),
        grammar=source,
        num_train=256,
        input_ids=source.sample(64, seed=1, sampling="iid"),
    )
    assert found["levels"] == list(range(1, source.depth + 1))
    assert all(value is None or value < 1 + 1e-9 for row in found["r2"] for value in row)


def learnt_in_context(world, folder):
    """Lines are exact: the uniform law is as far off as entropies say, and who sees a whole block misses nothing."""
    source, v = world.source, world.source.vocab_size
    sizes = {"n_positions": 100, "n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": v, "eos_token_id": v}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, **sizes))
    options = {"max_examples": 4, "num_mappings": 2} | ({} if source.parameters else {"num_grammars": 1})
    found = load_metric("in_context_kl").compute(model=model, grammar=source, **options)
    lines = found["lines"]
    uniform = math.log(v) - found["entropy"]
    assert np.mean(lines["uniform"]["kl"]) == pytest.approx(uniform, abs=1e-9)
    for values in lines.values():
        assert min(values["kl"]) > -1e-12
        np.testing.assert_allclose(np.subtract(values["kl"], found["kl_within"]), values["gain"], atol=1e-12)
    assert lines["ngram"]["kl"][0] == pytest.approx(lines["uniform"]["kl"][0])
    first = [line["per_position"][0][:2] for name, line in lines.items() if name == "previous_token"]
    np.testing.assert_allclose(first, 0, atol=1e-12)  # the first tokens have no more before them


def context_of_a_model(world, folder):
    """The loss in the full context is the model's cross-entropy."""
    model = gpt2_for(world.source)
    rows = [list(row) for row in world.rows if len(row) == max(map(len, world.rows))]
    found = load_metric("context_loss").compute(input_ids=rows, model=model, windows="rows")
    assert found["loss"][0] >= 0


def tasks_train_and_judge(world, folder):
    """Every task of the kinds that a source has: a batch, a loss, columns known at once, the oracle at KL 0."""
    source, refused = world.source, {}
    for name, task_class in TASKS.items():
        try:
            task = task_class(source.vocab_size, source.max_length, source)
        except NotSupported as refusal:
            refused[name] = str(refusal)
            continue
        assert "kl" in task.columns
        if name == "next_token":
            judged = task.judge(RHMForCausalLM.from_grammar(source))
            assert set(judged) == set(task.columns)
            assert abs(judged["kl"]) < 1e-9
            per_token = source.mean_length + source.lengths_vary
            assert judged["entropy"] == pytest.approx(world.entropy / per_token, abs=1e-9 + 5 * source.entropy_stderr)
        if name == "masked":
            judged = task.judge(RHMForMaskedLM.from_grammar(source))
            assert abs(judged["kl"]) < 1e-9
        if name == "classification":
            judged = task.judge(RHMForSequenceClassification.from_grammar(source))
            assert abs(judged["kl"]) < 1e-9
    assert all(source.name in message for message in refused.values())
    assert set(refused) == REFUSED_TASKS.get(world.family, set())


def diffusion(world, folder):
    source = world.source
    for process in (MaskedDiffusion(source.vocab_size), UniformDiffusion(source.vocab_size)):
        found = forward_backward(source, process, 0.5, num_sentences=64)
        assert len(found.survival) == source.depth + 1
        assert 0 < found.survival[0] <= 1
        oracle = RHMForMaskedLM.from_grammar(source)
        bounds = log_likelihood_bound(oracle, process, source.sample(16, seed=1, sampling="iid"), steps=4)
        exact = log_prob(source, source.sample(16, seed=1, sampling="iid"))
        print(bounds, exact)


def dataset(world, folder):
    source, name = world.source, world.source.name
    sizes = {"train_size": 8, "validation_size": 0, "test_size": 4, "sampling": "iid"}
    made = load_dataset("rhm", name, rules_seed=source.parameters.rules_seed, cache_dir=str(folder / "cache"), **sizes)
    tokens, lengths = source.sample(8, sampling="iid", return_lengths=True)
    assert made["train"]["input_ids"][:] == [row[:n] for row, n in zip(tokens.tolist(), lengths, strict=True)]
    if "label" in made["train"].column_names:
        assert made["train"]["label"][:] == source.classes(8, sampling="iid").tolist()
    assert grammar_of(made) == source
    export_parquet(made, folder / "export")
    assert Grammar.from_pretrained(folder / "export") == source
    assert source.name in (folder / "export" / "README.md").read_text()
    assert all(isinstance(value, str) for value in grammar_facts(source).values())


def commands(world, folder):
    run, name, seed = CliRunner(), world.source.name, str(world.source.parameters.rules_seed)
    for command in ("info", "show", "verify"):
        result = run.invoke(app, [command, name, "--rules_seed", seed])
        assert "nan" not in result.output.lower().split()
        if command != "info" and (world.family == "outside" or (command, world.family) == ("verify", "broadcast")):
            # no derivations to show, nobody wrote a brute force
            assert result.exit_code == 1
            assert name in result.output
        else:
            assert result.exit_code == 0, (command, result.output, result.exception)
    RHMForCausalLM.from_grammar(world.source).save_pretrained(folder / "oracle")
    result = run.invoke(app, ["kl", str(folder / "oracle"), name, "--rules_seed", seed, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert abs(json.loads(result.output)["kl"]) < 1e-9


def trained(world, folder):
    source = world.source
    values = {
        "grammar": source.name,
        "rules_seed": source.parameters.rules_seed,
        "num_train": 16,
        "sampling": "iid",
        "num_validation": 8,
        "num_test": 8,
        "task": "next_token",
        "model_type": "gpt2",
        "config_overrides": {"n_embd": 8, "n_layer": 1, "n_head": 2},
        "max_steps": 2,
        "kl_sentences": 32,
        "batch_size": 4,
        "output_dir": str(folder / "run"),
    }
    arguments = Arguments.from_dict(values)
    rows = train(arguments)
    assert all(math.isfinite(row["kl"]) and row["kl"] > 0 for row in rows)
    kept = KeptRun(best_row(rows), arguments)
    assert kept.grammar() == source
    assert kept.model().config.vocab_size >= source.vocab_size


CHECKS = [
    next_tokens,
    float32,
    aligned_contexts,
    windows,
    sentence_probs,
    samples,
    masked_tokens,
    hidden_symbols,
    beliefs_of_prefixes,
    two_tokens,
    tuple_and_token,
    entropies_by_context,
    counted_correlations,
    causal_kl,
    masked_kl,
    causal_oracle,
    classifying_oracle,
    grammatical_samples,
    memorised,
    probed_latents,
    probed_representations,
    sensitive_to_synonyms,
    texts_compared,
    probed_beliefs,
    learnt_in_context,
    context_of_a_model,
    tasks_train_and_judge,
    diffusion,
    dataset,
    commands,
    trained,
]
OF_FIXED_TREES = {
    "aligned_contexts",
    "hidden_symbols",
    "beliefs_of_prefixes",
    "two_tokens",
    "tuple_and_token",
    "entropies_by_context",
    "probed_latents",
    "probed_beliefs",
    "learnt_in_context",
    "diffusion",
}
# What is refused, by check: the families for which nobody computes it.
VARYING = {"trees", "levelled", "outside"}
REFUSALS = dict.fromkeys(OF_FIXED_TREES, VARYING) | {
    "windows": VARYING,
    "probed_representations": VARYING
    | {"uneven", "unary", "independent", "hidden_markov", "sparse", "sparse_b", "broadcast", "ambiguous"},
    "sensitive_to_synonyms": VARYING | {"filtered", "independent", "hidden_markov", "broadcast"},
    "masked_tokens": {"outside"},
    "masked_kl": {"outside"},
    "classifying_oracle": {"levelled", "outside"},
}
REFUSED_TASKS = {
    "trees": {"diffusion"},
    "levelled": {"diffusion", "classification"},
    "outside": {"diffusion", "classification", "masked"},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_family_has_everything_or_says_why_not(check, family, tmp_path):
    world = world_of(family)
    if family not in REFUSALS.get(check.__name__, ()):
        check(world, tmp_path)
        return
    with pytest.raises(NotSupported, match="does not exist for") as refusal:
        check(world, tmp_path)
    assert world.source.name in str(refusal.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_used_source_is_a_fresh_one_to_whoever_hashes_pickles_or_copies_it(family):
    used = source_of(family)
    tokens = used.sample(2, sampling="iid")
    for use in (lambda: used.entropy, lambda: next_token_probs(used, tokens), lambda: used.derivations(1)):
        with contextlib.suppress(NotSupported):
            use()
    fresh = Grammar.from_name(FAMILIES[family], rules_seed=0 if "pcfg" in FAMILIES[family] else 1)
    assert pickle.dumps(used) == pickle.dumps(fresh)
    assert Hasher.hash(used) == Hasher.hash(fresh)
    for other in (pickle.loads(pickle.dumps(used)), copy.deepcopy(used)):
        assert other == fresh
        assert other.name == fresh.name
