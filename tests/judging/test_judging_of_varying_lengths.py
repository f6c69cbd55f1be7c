"""Sentences of different lengths: END is judged, padding is not, in rhm_kl and in every task, by plain loops."""

import math

import numpy as np
import pytest
import torch
from listed_source import ListedSource, palindromes
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from rhm_hf.diffusion import MaskedDiffusion, judge_samples, log_likelihood_bound, one_step_kl, revealing_law
from rhm_hf.grammar import NotSupported
from rhm_hf.judging import given_sentences, judged_sentences
from rhm_hf.metrics.grammaticality import grammaticality
from rhm_hf.metrics.latent_probe import latent_probe
from rhm_hf.metrics.memorisation import memorisation
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.tasks import Classification, Diffusion, LastToken, Masked, NextToken


SOURCE = palindromes()
V, D = SOURCE.vocab_size, SOURCE.max_length


def scaled(model, scale=3.0):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.eval()


def gpt2(vocab_size=V + 3, end=V, seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=vocab_size, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id, config.eos_token_id = V if vocab_size == V + 3 else vocab_size - 1, end
    return scaled(GPT2LMHeadModel(config))


def bert(kind=BertForMaskedLM, **kwargs):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return scaled(
        kind(BertConfig(vocab_size=V + 3, max_position_embeddings=16, pad_token_id=V + 1, **sizes, **kwargs))
    )


def law_after(prefix) -> np.ndarray:
    """P(. or END | prefix), from the list."""
    law = np.zeros(V + 1)
    for sentence, p in zip(SOURCE.sentences, SOURCE.probs, strict=True):
        if sentence[: len(prefix)] == tuple(prefix):
            law[sentence[len(prefix)] if len(sentence) > len(prefix) else V] += p
    return law / law.sum()


def divergence(p, q) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def causal_kls(model, ids=range(V + 1), bos=V) -> list[list[float]]:
    """KL at every position of every sentence, END's among them, one prefix at a time."""
    kls, ids = [], list(ids)
    for sentence in SOURCE.sentences:
        row = []
        for i in range(len(sentence) + 1):
            inputs = torch.tensor([[bos] + [ids[x] for x in sentence[:i]]])
            with torch.no_grad():
                q = model(input_ids=inputs).logits[0, -1].double().softmax(-1)[ids].numpy()
            row.append(divergence(law_after(sentence[:i]), q))
        kls.append(row)
    return kls


@pytest.mark.parametrize("batch_size", [None, 7])
def test_causal_models_are_judged_at_end_and_not_at_padding(batch_size):
    model = gpt2()
    result, kls = kl_divergence(model, SOURCE, batch_size=batch_size), causal_kls(model)
    total = sum(p * sum(row) for p, row in zip(SOURCE.probs, kls, strict=True))
    count = sum(p * len(row) for p, row in zip(SOURCE.probs, kls, strict=True))
    assert result["kl"] == pytest.approx(total / count, rel=1e-5)
    assert result["kl_sentence"] == pytest.approx(total, rel=1e-5)
    assert result["entropy"] * count == pytest.approx(SOURCE.entropy, abs=1e-12)  # the chain rule, END included
    assert result["positions"] == list(range(1, D + 2))
    for i, found in enumerate(result["kl_per_position"]):
        reached = [(p, row[i]) for p, row in zip(SOURCE.probs, kls, strict=True) if len(row) > i]
        expected = sum(p * kl for p, kl in reached) / sum(p for p, _ in reached)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert result["kl_end"] == pytest.approx(
        sum(p * row[-1] for p, row in zip(SOURCE.probs, kls, strict=True)), rel=1e-5
    )
    assert (result["kl_stderr"], result["kl_end_stderr"], result["read_as"], result["bos"]) == (0, 0, "causal", V)
    assert "kl_by_level" not in result
    assert 0 < result["leaked_mass"] < 1  # PAD and MASK; END is no leak


def test_without_bos_and_with_other_ids():
    model, ids = gpt2(vocab_size=20, end=50256), [11, 2, 7, 4]  # the last one ends a sentence
    found = kl_divergence(model, SOURCE, token_ids=ids)
    kls = causal_kls(model, ids, bos=19)
    count = sum(p * len(row) for p, row in zip(SOURCE.probs, kls, strict=True))
    expected = sum(p * sum(row) for p, row in zip(SOURCE.probs, kls, strict=True)) / count
    assert found["kl"] == pytest.approx(expected, rel=1e-5)
    without = kl_divergence(model, SOURCE, token_ids=ids, bos=False)
    assert without["positions"] == list(range(2, D + 2))
    assert without["bos"] is None
    with pytest.raises(ValueError, match=r"no id of the model ends them.*token_ids= with 4 entries"):
        kl_divergence(model, SOURCE, token_ids=ids[:3])
    own = gpt2(vocab_size=20, end=4)  # the model's EOS is END
    assert kl_divergence(own, SOURCE, token_ids=ids[:3]) == kl_divergence(own, SOURCE, token_ids=ids)


def test_given_and_fresh_sentences_of_different_lengths():
    model = gpt2()
    rows = [list(s) for s in SOURCE.sentences[::3]]
    given = kl_divergence(model, SOURCE, rows)
    padded = np.full((len(rows), D), V + 1, dtype=np.uint8)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    assert kl_divergence(model, SOURCE, padded) == given
    kls = causal_kls(model)[::3]
    assert given["kl"] == pytest.approx(sum(map(sum, kls)) / sum(map(len, kls)), rel=1e-5)
    assert given["kl_stderr"] > 0
    many = kl_divergence(model, SOURCE, SOURCE.sample(4000, seed=3))
    assert abs(many["kl"] - kl_divergence(model, SOURCE)["kl"]) < 5 * many["kl_stderr"]
    with pytest.raises(ValueError, match=r"input_ids\[1\] = \[0, 1\] is no sentence"):
        kl_divergence(model, SOURCE, [[0], [0, 1]])
    with pytest.raises(ValueError, match=r"input_ids\[1\] holds 0 after PAD = 4"):
        kl_divergence(model, SOURCE, [[0, 0, 0], [0, V + 1, 0]])


def test_masked_models_hide_tokens_and_never_padding():
    model = bert()
    rows = SOURCE.sample(40, seed=2)
    result = kl_divergence(model, SOURCE, rows, mask_probability=0.4, mask_seed=5)
    numbers = torch.rand(rows.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).numpy()
    terms = []
    for row, u, n in zip(rows.tolist(), numbers, SOURCE.lengths_of(rows), strict=True):
        hidden = (u[:n] < 0.4) | (u[:n] == u[:n].min())
        inputs = [V + 2 if h else x for x, h in zip(row[:n], hidden, strict=True)]  # the model has no BOS
        with torch.no_grad():
            q = model(input_ids=torch.tensor([inputs])).logits[0].double().softmax(-1).numpy()
        for i in np.flatnonzero(hidden):
            law = np.zeros(V)
            for sentence, p in zip(SOURCE.sentences, SOURCE.probs, strict=True):
                if len(sentence) == n and all(h or a == b for a, b, h in zip(row, sentence, hidden, strict=False)):
                    law[sentence[i]] += p
            terms.append(divergence(law / law.sum(), q[i, :V]))
    assert result["kl"] == pytest.approx(np.mean(terms), rel=1e-5)
    assert result["read_as"] == "masked"


def batch_of(task, num=50, classes=False):
    rows = SOURCE.sample(num, seed=4).astype(np.int64)
    rows = np.pad(rows, ((0, 0), (0, D - rows.shape[1])), constant_values=V + 1)
    if classes:
        rows = np.concatenate([rows, SOURCE.classes(num, seed=4)[:, None]], 1)
    noise = torch.rand(num, task.noise_per_row, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.from_numpy(rows), task.collate(torch.from_numpy(rows), noise)


def test_next_token_trains_on_end_and_not_on_padding():
    task, model = NextToken(V, D, SOURCE), gpt2()
    rows, batch = batch_of(task)
    for row, labels, inputs, seen in zip(
        rows.tolist(),
        batch["labels"].tolist(),
        batch["input_ids"].tolist(),
        batch["attention_mask"].tolist(),
        strict=True,
    ):
        n = row.index(V + 1) if V + 1 in row else D
        assert labels == [*row[:n], V] + [-100] * (D - n)
        assert inputs == [V, *row[:n]] + [V + 1] * (D - n)
        assert seen == [1] * (n + 1) + [0] * (D - n)
    expected = sum(p * (len(s) + 1) for s, p in zip(SOURCE.sentences, SOURCE.probs, strict=True))
    assert task.targets_per_row == pytest.approx(expected, rel=0.05)
    found, kl = task.judge(model), kl_divergence(model, SOURCE)
    assert tuple(found) == task.columns
    assert found == {name: kl[name] for name in task.columns}
    assert task.context_length == D + 1


@pytest.mark.parametrize(
    "kind", ["AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"]
)
def test_last_token_is_the_last_before_end(kind):
    task = LastToken(V, D, SOURCE, kind)
    rows, batch = batch_of(task)
    model = {
        "AutoModelForCausalLM": gpt2,
        "AutoModelForMaskedLM": bert,
        "AutoModelForSequenceClassification": lambda: bert(BertForSequenceClassification, num_labels=V),
    }[kind]()
    logits, labels = task.predictions(model, batch)
    lengths = (rows != V + 1).sum(1)
    for row, n, label, logit in zip(rows, lengths.tolist(), labels.tolist(), logits, strict=True):
        assert label == row[n - 1]
        seen = row[: n - 1].tolist()
        inputs = [V, *seen] if kind == "AutoModelForCausalLM" else [*seen, V + 2]
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([inputs])).logits
        torch.testing.assert_close(logit, alone[0, -1] if alone.ndim == 3 else alone[0], rtol=1e-4, atol=1e-5)
    found = task.judge(model)
    assert tuple(found) == task.columns
    kls = []
    for sentence in SOURCE.sentences:
        law = np.zeros(V)
        for other, p in zip(SOURCE.sentences, SOURCE.probs, strict=True):
            if len(other) == len(sentence) and other[:-1] == sentence[:-1]:
                law[other[-1]] += p
        batch = task.collate(torch.tensor([[*sentence] + [V + 1] * (D - len(sentence))]))
        q = task.predictions(model, batch)[0][0].double().softmax(-1).detach().numpy()[:V]
        kls.append(divergence(law / law.sum(), q))
    assert found["kl"] == pytest.approx(SOURCE.probs @ kls, rel=1e-5)
    with pytest.raises(NotSupported, match="visible_tokens=1 does not exist"):
        LastToken(V, D, SOURCE, kind, visible_tokens=1)


def test_the_masked_task_sees_lengths_and_hides_tokens_alone():
    task, model = Masked(V, D, SOURCE, mask_probability=0.3, kl_sentences=64), bert()
    rows, batch = batch_of(task, 400)
    padding = rows == V + 1
    hidden = batch["labels"][:, 1:] != -100
    assert not (hidden & padding).any()
    assert hidden.any(1).all()
    assert torch.equal(batch["attention_mask"][:, 1:] == 0, padding)
    assert task.targets_per_row == pytest.approx(hidden.sum(1).double().mean().item(), rel=0.1)
    found = task.judge(model)
    assert tuple(found) == task.columns == ("kl", "kl_stderr", "entropy", "accuracy", "bayes_accuracy")
    judged, terms = task.judged, []
    for row, n, mask, weight, law in zip(
        judged.rows, judged.sentences.lengths, judged.counted, judged.weights, judged.laws[-1], strict=True
    ):
        inputs = torch.where(mask, V + 2, row)[:n]
        with torch.no_grad():
            q = model(input_ids=torch.tensor([[V, *inputs.tolist()]])).logits[0, 1:].double().softmax(-1)
        kl = sum(divergence(law[i].tolist(), q[i, :V].tolist()) for i in mask.nonzero()[:, 0].tolist())
        terms.append((float(weight) * kl, float(weight) * int(mask.sum())))
    assert found["kl"] == pytest.approx(sum(a for a, _ in terms) / sum(b for _, b in terms), rel=1e-5)


def test_classification_pads_and_is_judged_by_the_posterior_of_the_class():
    task, model = Classification(V, D, SOURCE), bert(BertForSequenceClassification, num_labels=2)
    rows, batch = batch_of(task, classes=True)
    assert torch.equal(batch["attention_mask"], (rows[:, :D] != V + 1).long())
    assert torch.equal(batch["labels"], rows[:, D])
    found = task.judge(model)
    kls = []
    for sentence, root in zip(SOURCE.sentences, SOURCE.class_of, strict=True):
        with torch.no_grad():
            q = model(input_ids=torch.tensor([sentence])).logits[0].double().log_softmax(-1)
        kls.append(-q[root].item())  # a sentence has one class here
    assert found["kl"] == pytest.approx(SOURCE.probs @ kls, rel=1e-5)
    assert found["bayes_accuracy"] == pytest.approx(1)


def test_what_needs_one_length_is_refused():
    with pytest.raises(NotSupported, match=r"task='diffusion' does not exist for custom-.*one length"):
        Diffusion(V, D, SOURCE)
    process, rows = MaskedDiffusion(V), SOURCE.sample(4)
    for call in (
        lambda: one_step_kl(bert(), SOURCE, process, rows),
        lambda: log_likelihood_bound(SOURCE, process, rows),
        lambda: revealing_law(bert(), SOURCE, process),
        lambda: latent_probe(gpt2(), SOURCE),
    ):
        with pytest.raises(NotSupported, match=r"does not exist for custom-\w+ \(family 'listed'\)"):
            call()
    single = ListedSource([(0,), (1, 0)], [0.5, 0.5])
    with pytest.raises(NotSupported, match=r"classification.*its sentences have no classes"):
        Classification(V, 2, single)


@pytest.mark.parametrize("task", [NextToken, LastToken, Masked, Classification])
def test_sentences_longer_than_the_rows_are_refused(task):
    with pytest.raises(ValueError, match=r"length=3: sentences of custom-\w+ that a model is judged at have up to 5"):
        task(V, 3, SOURCE).judge(gpt2())


def test_generated_sentences_of_different_lengths_are_counted():
    rows = SOURCE.sample(10, seed=3).astype(np.int64)
    found = judge_samples(SOURCE, rows)
    assert found["fraction_grammatical"] == 1
    rows[0, 0] = V + 2
    rows[1] = V + 1
    rows[1, -1] = 0  # padding first
    assert judge_samples(SOURCE, rows)["fraction_grammatical"] == 0.8
    assert memorisation(rows, [[0]], SOURCE)["valid"] == 0.8
    assert grammaticality(rows, SOURCE)["valid"] == 0.8


def test_grammaticality_says_how_far_sentences_are_possible():
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, V + 1, rng.integers(1, D + 1)).tolist() for _ in range(200)]
    samples.append([0, V + 1, 0])  # PAD within a sentence is no symbol
    found = grammaticality(samples, SOURCE)
    valid = [tuple(s) in SOURCE.sentences for s in samples]
    share = []
    for sample in samples:
        known = max(k for k in range(len(sample) + 1) if any(s[:k] == tuple(sample[:k]) for s in SOURCE.sentences))
        share.append(known / len(sample))
    assert found["valid"] == pytest.approx(np.mean(valid))
    assert found["possible"] == pytest.approx(np.mean(share))
    assert found["levels"] == found["correct"] == []
    logs = [math.log(SOURCE.probs[SOURCE.sentences.index(tuple(s))]) for s, v in zip(samples, valid, strict=True) if v]
    assert found["log_prob"] == pytest.approx(np.mean(logs))


def test_memorisation_compares_tokens_in_place():
    train, samples = [[0], [1, 0, 1], [2, 2]], [[0], [1, 1, 1], [2, 2, 2, 2], [0, 1, 0]]
    found = memorisation(samples, train, SOURCE)
    assert found["copied"] == 0.25
    assert found["overlap"] == [pytest.approx((1 + 2 / 3 + 2 / 4 + 1 / 3) / 4)]
    assert (found["levels"], found["valid"], found["novel"], found["num_train"]) == ([0], 1, 0.75, 3)
    chance = sum(SOURCE.probs[SOURCE.sentences.index(tuple(s))] for s in train)
    assert found["chance_of_copy"] == pytest.approx(chance)


def test_sentences_are_padded_and_weighted():
    everything = judged_sentences(SOURCE, 10, length=D + 2)
    assert everything.exhaustive
    assert everything.tokens.shape == (SOURCE.num_sentences, D + 2)
    assert everything.weights.sum() == pytest.approx(1)
    fresh = judged_sentences(SOURCE, 10, limit=5)
    assert (len(fresh), fresh.exhaustive) == (10, False)
    assert given_sentences(SOURCE, [[0], [1, 0, 1]]).lengths.tolist() == [1, 3]
