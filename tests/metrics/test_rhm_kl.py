"""rhm_kl: closed forms, brute force on small grammars, vocabularies, infinities, and the evaluate interface."""

import math

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification, load_metric
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import plateau, position_entropies
from rhm_hf.judging import ModelIds, compare_tokens, judged_sentences, read_model
from rhm_hf.metrics.rhm_kl import kl_divergence


GRAMMAR = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)


def gpt2(vocab_size=7, bos=4, seed=0, positions=32, scale=1.0):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=vocab_size, n_positions=positions, n_embd=16, n_layer=1, n_head=2)
    config.bos_token_id = config.eos_token_id = bos
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def bert(vocab_size=7, seed=0, scale=1.0):
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=vocab_size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config.intermediate_size = 32
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def enumerated_kl(model, grammar, ids=None, bos=None) -> np.ndarray:
    """KL per position by plain loops: conditionals from sums over all sentences, the model called on one prefix."""
    tokens, probs = enumerate_sentences(grammar)
    ids = np.arange(grammar.vocab_size) if ids is None else np.asarray(ids)
    kl = np.zeros(grammar.sentence_length)
    for i in range(0 if bos is not None else 1, grammar.sentence_length):
        for prefix in np.unique(tokens[:, :i], axis=0):
            same = (tokens[:, :i] == prefix).all(1)
            p = np.bincount(tokens[same, i], probs[same], minlength=grammar.vocab_size) / probs[same].sum()
            inputs = ([] if bos is None else [bos]) + ids[prefix].tolist()
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([inputs])).logits[0, -1].double()
            q = logits.softmax(-1).numpy()[ids]
            kl[i] += probs[same].sum() * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
    return kl


def test_the_oracle_has_no_divergence(small_grammar):
    result = kl_divergence(RHMForCausalLM.from_grammar(small_grammar), small_grammar)
    assert abs(result["kl"]) < 1e-9
    assert result["leaked_mass"] < 1e-15
    assert result["num_infinite"] == 0
    assert result["entropy"] == pytest.approx(small_grammar.entropy / small_grammar.sentence_length, abs=1e-12)


def test_the_oracle_has_no_divergence_on_long_sentences():
    grammar = Grammar.from_name("v32-m8-s2-L6")
    result = kl_divergence(RHMForCausalLM.from_grammar(grammar), grammar, num_sentences=16)
    assert abs(result["kl"]) < 1e-9
    assert result["num_sentences"] == 16
    masked = kl_divergence(RHMForMaskedLM.from_grammar(grammar), grammar, num_sentences=16)
    assert abs(masked["kl"]) < 1e-9


def test_a_uniform_model_has_its_closed_form(small_grammar):
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    result = kl_divergence(gpt2(v + 3, bos=v, scale=0.0), small_grammar)
    assert result["kl"] == pytest.approx(math.log(v + 3) - small_grammar.entropy / d, rel=1e-6)
    assert result["kl_within"] == pytest.approx(math.log(v) - small_grammar.entropy / d, rel=1e-6)
    assert result["leak_cost"] == pytest.approx(math.log((v + 3) / v), rel=1e-6)
    assert result["leaked_mass"] == pytest.approx(3 / (v + 3), rel=1e-6)
    assert result["kl_sentence"] == pytest.approx(d * result["kl"], rel=1e-9)
    assert result["cross_entropy"] == pytest.approx(math.log(v + 3), rel=1e-6)
    assert result["kl_stderr"] == 0


@pytest.mark.parametrize("level", [0, 1, 2])
def test_truncated_oracles_lie_on_the_exact_plateaus(small_grammar, level):
    result = kl_divergence(RHMForCausalLM.from_grammar(small_grammar, context_level=level), small_grammar)
    rate = small_grammar.entropy / small_grammar.sentence_length
    assert result["kl"] == pytest.approx(plateau(small_grammar, level) - rate, abs=1e-12)


def test_any_model_against_plain_loops(small_grammar):
    v = small_grammar.vocab_size
    model = gpt2(v + 3, bos=v, scale=3.0)
    result = kl_divergence(model, small_grammar, batch_size=7)
    expected = enumerated_kl(model, small_grammar, bos=v)
    assert np.allclose(result["kl_per_position"], expected, rtol=1e-5)
    assert result["kl"] == pytest.approx(expected.mean(), rel=1e-5)
    assert result["positions"] == list(range(1, small_grammar.sentence_length + 1))
    assert result["kl"] == pytest.approx(result["kl_within"] + result["leak_cost"], rel=1e-9)


def test_without_bos_the_first_token_is_not_judged():
    model = gpt2(scale=3.0)
    result = kl_divergence(model, GRAMMAR, bos=False)
    expected = enumerated_kl(model, GRAMMAR, bos=None)
    assert result["positions"] == [2, 3, 4]
    assert np.allclose(result["kl_per_position"], expected[1:], rtol=1e-5)
    assert result["kl"] == pytest.approx(expected[1:].mean(), rel=1e-5)


def test_token_ids_map_symbols_into_a_larger_padded_vocabulary():
    model = gpt2(vocab_size=50, bos=9, scale=3.0)
    ids = [30, 2, 49, 17]
    result = kl_divergence(model, GRAMMAR, token_ids=ids)
    assert np.allclose(result["kl_per_position"], enumerated_kl(model, GRAMMAR, ids, bos=9), rtol=1e-5)
    assert 0.5 < result["leaked_mass"] < 1


def test_a_sample_agrees_with_all_sentences_within_its_standard_error():
    model = gpt2(scale=4.0)
    everything = kl_divergence(model, GRAMMAR)
    sample = GRAMMAR.sample(2000, seed=3, sampling="iid")
    sampled = kl_divergence(model, GRAMMAR, sample)
    assert sampled["kl_stderr"] > 0
    assert abs(sampled["kl"] - everything["kl"]) < 5 * sampled["kl_stderr"]
    assert sampled["num_sentences"] == 2000
    for exact, mean, error in zip(
        everything["kl_per_position"], sampled["kl_per_position"], sampled["kl_stderr_per_position"], strict=True
    ):
        assert abs(exact - mean) <= 5 * error + 1e-6  # the first token has one context only, and no error


def test_batches_do_not_change_the_result():
    model = gpt2(scale=4.0)
    tokens = GRAMMAR.sample(100, sampling="iid")
    results = [kl_divergence(model, GRAMMAR, tokens, batch_size=size)["kl"] for size in (1, 17, 100, None)]
    assert np.ptp(results) < 1e-7


def test_infinite_divergence_is_reported_as_infinite_with_its_count():
    other = RHMForCausalLM.from_grammar(Grammar.from_name("v4-m2-s2-L2", rules_seed=7))
    result = kl_divergence(other, GRAMMAR)
    assert result["kl"] == math.inf
    assert 0 < result["num_infinite"] <= GRAMMAR.num_sentences
    assert result["cross_entropy"] == math.inf
    assert not any(math.isnan(x) for x in result.values() if isinstance(x, float))


def test_symbols_that_get_no_mass_at_all_are_infinite_not_nan():
    class Deaf(torch.nn.Module):  # all mass on BOS
        def __init__(self, model):
            super().__init__()
            self.config, self.device, self.inner = model.config, model.device, model
            self.get_output_embeddings = model.get_output_embeddings

        def forward(self, input_ids, attention_mask):
            out = self.inner(input_ids)
            out.logits = torch.full_like(out.logits, -math.inf)
            out.logits[..., 4] = 0
            return out

    result = kl_divergence(Deaf(gpt2()), GRAMMAR)
    assert result["leaked_mass"] == 1
    assert result["kl"] == result["leak_cost"] == math.inf
    assert not any(math.isnan(x) for x in result.values() if isinstance(x, float))


def test_masked_models_against_plain_loops(small_grammar):
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    model = bert(v + 3, scale=3.0)
    tokens = small_grammar.sample(12, sampling="iid", seed=5).astype(np.int64)
    result = kl_divergence(model, small_grammar, tokens, mask_probability=0.4, mask_seed=11)
    numbers = torch.rand((12, d), generator=torch.Generator().manual_seed(11), dtype=torch.float64).numpy()
    hidden = (numbers < 0.4) | (numbers == numbers.min(1, keepdims=True))
    sentences, probs = enumerate_sentences(small_grammar)
    terms = []
    for row, mask in zip(tokens, hidden, strict=True):
        fits = (sentences[:, ~mask] == row[~mask]).all(1)
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(np.where(mask, v + 2, row)[None])).logits[0].double()
        for i in np.flatnonzero(mask):
            p = np.bincount(sentences[fits, i], probs[fits], minlength=v) / probs[fits].sum()
            q = logits[i].softmax(-1).numpy()[:v]
            terms.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    assert result["kl"] == pytest.approx(np.mean(terms), rel=1e-5)


def test_the_masked_oracle_has_no_divergence_and_bos_is_optional(small_grammar):
    oracle = RHMForMaskedLM.from_grammar(small_grammar)
    tokens = small_grammar.sample(50, sampling="iid")
    with_bos = kl_divergence(oracle, small_grammar, tokens)
    without = kl_divergence(oracle, small_grammar, tokens, bos=False)
    assert abs(with_bos["kl"]) < 1e-9
    assert with_bos["entropy"] == without["entropy"]


def test_a_sample_as_large_as_the_law_is_a_sample():
    model = gpt2(scale=4.0)
    tokens = GRAMMAR.sample(GRAMMAR.num_sentences, sampling="iid")
    assert kl_divergence(model, GRAMMAR, tokens)["kl_stderr"] > 0
    fresh = judged_sentences(GRAMMAR, int(GRAMMAR.num_sentences), limit=3)  # drawn with replacement
    ids = ModelIds.of(model, GRAMMAR, masked=False)
    assert compare_tokens(read_model(model), GRAMMAR, fresh, ids)["kl_stderr"] > 0
    assert kl_divergence(model, GRAMMAR)["kl_stderr"] == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [gpt2, bert])
def test_a_model_without_a_law_is_refused(make, value):
    class Broken(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.config, self.device, self.inner = model.config, model.device, model
            self.get_output_embeddings = model.get_output_embeddings

        def forward(self, input_ids, attention_mask):
            out = self.inner(input_ids)
            if len(input_ids) > 3:
                out.logits[3] = value
            return out

    class BrokenForMaskedLM(Broken):
        pass

    model = (Broken if make is gpt2 else BrokenForMaskedLM)(make())
    with pytest.raises(ValueError, match="has no law at judged tokens: its logits are NaN or infinite"):
        kl_divergence(model, GRAMMAR)
    assert math.isfinite(kl_divergence(model, GRAMMAR, GRAMMAR.sample(3, sampling="iid"))["kl"])  # row 3 is not there


def test_the_result_says_how_the_model_was_read():
    causal, masked = kl_divergence(gpt2(), GRAMMAR), kl_divergence(bert(), GRAMMAR)
    assert (causal["read_as"], causal["bos"], causal["positions"]) == ("causal", 4, [1, 2, 3, 4])
    assert (masked["read_as"], masked["bos"], masked["positions"]) == ("masked", None, [1, 2, 3, 4])
    assert kl_divergence(gpt2(), GRAMMAR, bos=False)["bos"] is None


@pytest.mark.parametrize(
    "name", ["v4-m2-s2-L3", "v3-m2-s3-L2", "v4-m3-s2-L3-cut2", "hmm-v4-h3-m2-d5-p0.5", "v2-m2-s2-L2-sparse1"]
)
def test_the_split_by_level_adds_up_to_the_whole(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    v, d = grammar.vocab_size, grammar.sentence_length
    model = gpt2(v + 3, bos=v, scale=3.0)
    for options in ({}, {"bos": False}, {"input_ids": grammar.sample(20, sampling="iid")}):
        result = kl_divergence(model, grammar, **options)
        assert sum(result["kl_by_level"]) == pytest.approx(result["kl"], rel=1e-9)
        assert len(result["kl_by_level"]) == grammar.depth + 1
        split = [0.0] * (grammar.depth + 1)
        for place, kl in zip(result["positions"], result["kl_per_position"], strict=True):
            opened = max(k for k in range(grammar.depth + 1) if (place - 1) % grammar.block_length(k) == 0)
            split[opened] += kl / len(result["positions"])
        assert result["kl_by_level"] == pytest.approx(split, rel=1e-9, abs=1e-15)
    masked = kl_divergence(bert(v + 3, scale=3.0), grammar, grammar.sample(20, sampling="iid"))
    assert sum(masked["kl_by_level"]) == pytest.approx(masked["kl"], rel=1e-9)
    assert d >= 4


def test_a_truncated_oracle_loses_where_blocks_above_its_context_open():
    grammar = Grammar.from_name("v4-m2-s2-L3")
    result = kl_divergence(RHMForCausalLM.from_grammar(grammar, context_level=1), grammar)
    by_level = result["kl_by_level"]
    lost = (position_entropies(grammar, 1) - position_entropies(grammar, 3)).tolist()
    opened = [3, 0, 1, 0, 2, 0, 1, 0]  # by the eight tokens
    expected = [sum(x for x, k in zip(lost, opened, strict=True) if k == level) / 8 for level in range(4)]
    assert by_level == pytest.approx(expected, abs=1e-12)
    assert by_level[3] == pytest.approx(0, abs=1e-12)  # the first token has no context to lose
    assert min(by_level[1:3]) > 0.005
    other = RHMForCausalLM.from_grammar(Grammar.from_name("v4-m2-s2-L3", rules_seed=7))
    assert math.inf in kl_divergence(other, grammar)["kl_by_level"]


def test_a_training_model_stays_in_training_mode():
    model = gpt2().train()
    kl_divergence(model, GRAMMAR)
    assert model.training


class _Share:
    """One process of an accelerator; `reduce` collects what it is given."""

    def __init__(self, index, of, collected):
        self.process_index, self.num_processes, self.collected = index, of, collected

    def unwrap_model(self, model):
        return model

    def reduce(self, tensor, reduction):
        assert reduction == "sum"
        self.collected.append(tensor.clone())
        return tensor


def test_the_shares_of_several_processes_add_up_to_the_whole():
    from rhm_hf.statistics import Accumulator

    model, tokens = gpt2(scale=4.0), GRAMMAR.sample(101, sampling="iid")
    whole = kl_divergence(model, GRAMMAR, tokens)
    states = []
    for index in range(3):
        collected = []
        kl_divergence(model, GRAMMAR, tokens, accelerator=_Share(index, 3, collected))
        states.append(collected[0])  # the accumulator of kl is reduced first
    merged = Accumulator()
    merged.state = sum(states)
    assert merged.mean.item() == pytest.approx(whole["kl"], rel=1e-6)
    assert merged.stderr.item() == pytest.approx(whole["kl_stderr"], rel=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"model": lambda: gpt2(50, bos=9)}, r"50 ids.*4 symbols.*pass token_ids="),
        ({"model": lambda: gpt2(3, bos=2)}, r"3 ids.*pass token_ids="),
        ({"model": lambda: gpt2(50, bos=9), "token_ids": [1, 2, 3]}, "token_ids has 3 entries"),
        ({"model": lambda: gpt2(50, bos=9), "token_ids": [1, 2, 3, 3]}, "3 of them different"),
        ({"model": lambda: gpt2(50, bos=9), "token_ids": [1, 2, 3, 50]}, "token_ids holds 50"),
        ({"model": lambda: gpt2(bos=1)}, "is a symbol's id.*bos=False"),
        ({"model": lambda: gpt2(bos=50256)}, "is 50256, no id of the model.*bos=False"),
        ({"model": gpt2, "bos": 2}, "bos=2 must be"),
        ({"model": gpt2, "bos": True}, "bos=True must be"),
        ({"model": gpt2, "input_ids": [[0, 1, 2]]}, r"input_ids has shape \(1, 3\)"),
        ({"model": gpt2, "input_ids": [[0, 0, 0, 9]]}, "0 to 3"),
        ({"model": gpt2, "batch_size": 0}, "batch_size=0"),
        ({"model": gpt2, "batch_size": 2.5}, "batch_size=2.5"),
        ({"model": gpt2, "num_sentences": 0}, "num_sentences=0"),
        ({"model": gpt2, "num_sentences": 1e3}, "num_sentences=1000.0"),
        ({"model": gpt2, "seed": -1}, "seed=-1"),
        ({"model": gpt2, "bos": "yes"}, "bos='yes' must be"),
        ({"model": gpt2, "bos": 4.0}, "bos=4.0 is not an integer"),
        ({"model": gpt2, "token_ids": {0: 3, 1: 2, 2: 1, 3: 0}}, "token_ids=.* it must be a list of integers"),
        ({"model": gpt2, "input_ids": [[0.0, 1.0, 2.0, 3.0]]}, "input_ids has dtype float64"),
        ({"model": gpt2, "input_ids": []}, r"input_ids has shape \(0,\)"),
        ({"model": bert, "mask_probability": math.nan}, "mask_probability=nan"),
        ({"model": bert, "mask_probability": 1.5}, "mask_probability=1.5"),
        ({"model": bert, "mask_seed": 0.5}, "mask_seed=0.5"),
        ({"model": bert, "mask_token_id": 6.0}, "mask_token_id=6.0"),
        ({"model": lambda: gpt2(positions=3)}, "at most 3 ids.*need 4"),
        ({"model": bert, "mask_probability": 0}, "mask_probability=0"),
        ({"model": bert, "mask_token_id": 2}, "mask_token_id=2"),
        ({"model": lambda: bert(6)}, "mask_token_id=None"),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(kwargs, match):
    kwargs = dict(kwargs)
    with pytest.raises(ValueError, match=match):
        kl_divergence(kwargs.pop("model")(), GRAMMAR, **kwargs)


def test_ungrammatical_sentences_are_named():
    wrong = GRAMMAR.sample(3, sampling="iid").astype(int)
    possible = {tuple(s) for s in enumerate_sentences(GRAMMAR)[0].tolist()}
    wrong[1] = next(s for s in np.ndindex(4, 4, 4, 4) if s not in possible)
    with pytest.raises(ValueError, match=r"input_ids\[1\].*1 of 3 are not"):
        kl_divergence(gpt2(), GRAMMAR, wrong)


def test_evaluate_loads_the_metric_by_name_and_judges_models_and_paths(tmp_path):
    import evaluate

    metric = evaluate.load("rhm_kl")
    model = gpt2(scale=3.0)
    expected = kl_divergence(model, GRAMMAR)
    assert metric.compute(model=model, grammar=GRAMMAR) == expected
    tokens = GRAMMAR.sample(20, sampling="iid")
    given = kl_divergence(model, GRAMMAR, tokens)
    assert metric.compute(input_ids=tokens, model=model, grammar=GRAMMAR) == given
    assert metric.compute(input_ids=tokens.tolist(), model=model, grammar=GRAMMAR) == given
    metric.add_batch(input_ids=tokens[:10].tolist())
    metric.add_batch(input_ids=tokens[10:].tolist())
    assert metric.compute(model=model, grammar=GRAMMAR) == given

    model.save_pretrained(tmp_path)
    GRAMMAR.save_pretrained(tmp_path / "grammar")
    assert metric.compute(model=str(tmp_path)) == expected
    first = metric.models._model
    assert metric.compute(model=str(tmp_path)) == expected
    assert metric.models._model is first  # not reloaded
    gpt2(seed=1, scale=3.0).save_pretrained(tmp_path)
    assert metric.compute(model=str(tmp_path)) != expected  # but a model saved again is


def test_masked_models_and_oracles_load_from_their_directories(tmp_path):
    metric = load_metric("rhm_kl")
    RHMForCausalLM.from_grammar(GRAMMAR).save_pretrained(tmp_path / "causal")
    RHMForMaskedLM.from_grammar(GRAMMAR).save_pretrained(tmp_path / "masked")
    assert abs(metric.compute(model=str(tmp_path / "causal"))["kl"]) < 1e-9
    result = metric.compute(model=tmp_path / "masked", input_ids=GRAMMAR.sample(9, sampling="iid"))
    assert abs(result["kl"]) < 1e-9


def test_a_model_without_a_grammar_beside_it_asks_for_one(tmp_path):
    gpt2().save_pretrained(tmp_path)
    metric = load_metric("rhm_kl")
    with pytest.raises(ValueError, match=r"grammar=None.*pass grammar="):
        metric.compute(model=str(tmp_path))
    with pytest.raises(ValueError, match=r"grammar=None.*pass grammar="):
        metric.compute(model=gpt2())
    classifier = RHMForSequenceClassification.from_grammar(GRAMMAR)
    with pytest.raises(ValueError, match="model is a RHMForSequenceClassification, without a law of tokens"):
        metric.compute(model=classifier)
    with pytest.raises(ValueError, match="model=None"):
        metric.compute(grammar=GRAMMAR)
