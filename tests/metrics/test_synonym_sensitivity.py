"""synonym_sensitivity: exact values by enumeration, models of every kind, bad input, the evaluate interface."""

import evaluate
import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf import Grammar, RHMForMaskedLM, load_metric
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.judging.activations import Activations, Standardiser
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity


GRAMMAR = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)


def gpt2(positions=5, vocab_size=7, bos=4):
    torch.manual_seed(0)
    sizes = {"n_positions": positions, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, bos_token_id=bos, eos_token_id=bos, **sizes))


def bert(auto=BertForMaskedLM, vocab_size=7, **kwargs):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    return auto(BertConfig(vocab_size=vocab_size, **sizes, **kwargs))


def enumerated_sensitivity(grammar, features) -> list[float]:
    """E Var(f | level-l symbols) / Var(f) for l = 1..L, from all sentences: `features` maps tokens to vectors."""
    tokens, probs = enumerate_sentences(grammar)
    values, levels = features(tokens), grammar.parse(tokens)
    second = probs @ (values**2).sum(1)
    variance = second - ((probs @ values) ** 2).sum()
    found = []
    for symbols in levels[1:]:
        _, group = np.unique(symbols, axis=0, return_inverse=True)
        weight = np.bincount(group.ravel(), probs)
        means = np.stack([np.bincount(group.ravel(), probs * column) for column in values.T], 1) / weight[:, None]
        found.append((second - weight @ (means**2).sum(1)) / variance)
    return found


def test_layers_that_hold_latent_symbols_have_their_exact_sensitivities(small_grammar):
    model = ParsingForSequenceClassification.from_grammar(small_grammar)
    result = synonym_sensitivity(model, small_grammar, num_sentences=3000)
    assert result["layers"] == ["hidden_states[0]", "hidden_states[1]", "hidden_states[2]", "logits"]
    assert (result["levels"], result["num_sentences"]) == ([1, 2], 3000)
    for k, (row, errors) in enumerate(zip(result["sensitivity"], result["stderr"], strict=True)):
        height = min(k, small_grammar.depth)  # the logits are the class, too

        def symbols(tokens, height=height):
            one_hot = np.eye(small_grammar.num_symbols_at(height))[small_grammar.parse(tokens)[height]]
            return one_hot.reshape(len(tokens), -1)

        exact = enumerated_sensitivity(small_grammar, symbols)
        for level, (value, error, expected) in enumerate(zip(row, errors, exact, strict=True), 1):
            if level <= height:  # synonyms below the layer's level change nothing at all
                assert (value, error) == (0, 0)
                assert expected == pytest.approx(0, abs=1e-12)
            else:
                assert expected > 0.1
                assert abs(value - expected) < 4.5 * error < 0.2


def test_any_model_has_the_sensitivity_of_its_activations(small_grammar):
    v, d = small_grammar.vocab_size, small_grammar.sentence_length
    model = gpt2(d + 1, v + 3, bos=v).eval()
    result = synonym_sensitivity(model, small_grammar, num_sentences=2000)
    for k, row in enumerate(result["sensitivity"]):

        def read(tokens, k=k):
            inputs = np.concatenate([np.full((len(tokens), 1), v), tokens.astype(np.int64)], 1)
            with torch.no_grad():
                out = model(input_ids=torch.from_numpy(inputs), output_hidden_states=True)
            return [*out.hidden_states, out.logits][k][:, 1:].flatten(1).double().numpy()

        exact = enumerated_sensitivity(small_grammar, read)
        assert np.allclose(row, exact, rtol=0, atol=4.5 * max(result["stderr"][k]))
        assert max(result["stderr"][k]) < 0.05


@pytest.mark.parametrize("positions", ["all", "last", "mean"])
@pytest.mark.parametrize("hide_last", [False, True])
def test_models_of_every_kind_are_read_where_they_should_be(positions, hide_last):
    tokens = GRAMMAR.sample(6, sampling="iid").astype(np.int64)
    masked_tokens = tokens.copy()
    masked_tokens[:, -1] = 6
    bos = np.full((6, 1), 4)
    cases = [
        (gpt2(5 - hide_last), np.concatenate([bos, tokens[:, : 4 - hide_last]], 1), True),
        (bert(), masked_tokens if hide_last else tokens, False),
        (bert(bos_token_id=4), np.concatenate([bos, masked_tokens if hide_last else tokens], 1), True),
        (bert(bos_token_id=4, max_position_embeddings=4), masked_tokens if hide_last else tokens, False),
        (bert(BertForSequenceClassification, bos_token_id=4), masked_tokens if hide_last else tokens, False),
    ]
    for model, inputs, has_bos in cases:
        model.eval()
        found = Activations.of(model, GRAMMAR, positions=positions, hide_last=hide_last)(tokens)
        with torch.no_grad():
            out = model(input_ids=torch.from_numpy(inputs), output_hidden_states=True)
        expected = [h[:, has_bos:] for h in out.hidden_states]
        take = {"all": lambda h: h.flatten(1), "last": lambda h: h[:, -1], "mean": lambda h: h.mean(1)}[positions]
        for k, values in enumerate(expected):
            assert torch.allclose(found[f"hidden_states[{k}]"], take(values), atol=1e-6)
        logits = out.logits
        if logits.ndim == 3:
            logits = logits[:, -1] if hide_last else take(logits[:, has_bos:])
        assert torch.allclose(found["logits"], logits, atol=1e-6)


def test_the_hidden_last_token_has_no_influence():
    tokens = GRAMMAR.sample(50, sampling="iid")
    changed = tokens.copy()
    changed[:, -1] = (changed[:, -1] + 1) % 4
    for model in (gpt2(4), bert()):
        reader = Activations.of(model.eval(), GRAMMAR, hide_last=True)
        one, other = reader(tokens), reader(changed)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_batches_and_training_mode_do_not_matter():
    model = gpt2().train()
    results = [synonym_sensitivity(model, GRAMMAR, num_sentences=100, batch_size=size) for size in (7, 100)]
    assert model.training
    assert np.allclose(results[0]["sensitivity"], results[1]["sensitivity"], rtol=1e-5)
    assert np.allclose(results[0]["stderr"], results[1]["stderr"], rtol=1e-4)


def test_layers_that_do_not_depend_on_the_sentence_have_no_sensitivity():
    model = gpt2()
    with torch.no_grad():
        model.transformer.wte.weight.fill_(0.5)
    result = synonym_sensitivity(model, GRAMMAR, num_sentences=64)
    assert result["sensitivity"][0] == result["stderr"][0] == [None, None]


def test_features_of_rounding_noise_are_left_out():
    features = torch.tensor([[1.0, 5.0, 3.0], [2.0, 5.0, 3.00001], [3.0, 5.0, 3.0]])
    out = Standardiser.of(features)(features)
    assert torch.allclose(out[:, 0], torch.tensor([-(1.5**0.5), 0, 1.5**0.5], dtype=torch.float64))
    assert not out[:, 1:].any()


@pytest.mark.parametrize(
    ("model", "kwargs", "match"),
    [
        (gpt2, {"positions": "first"}, "positions='first' is unknown"),
        (gpt2, {"num_sentences": 1}, "num_sentences=1"),
        (gpt2, {"batch_size": 0}, "batch_size=0"),
        (lambda: gpt2(4), {}, "at most 4 ids.*need 5.*hide_last=True"),
        (lambda: gpt2(vocab_size=50, bos=9), {}, "pass token_ids="),
        (lambda: gpt2(bos=1), {}, "bos=False"),
        (lambda: bert(vocab_size=6), {"hide_last": True}, "mask_token_id=None"),
        (lambda: RHMForMaskedLM.from_grammar(GRAMMAR), {}, "RHMForMaskedLM, which returns no hidden states"),
        (gpt2, {"input_ids": [[0, 1, 2]]}, r"input_ids has shape \(1, 3\)"),
        (gpt2, {"input_ids": [[0, 0, 0, 9]] * 2}, "out of range"),
    ],
    ids=range(10),
)
def test_bad_input_is_named(model, kwargs, match):
    with pytest.raises(ValueError, match=match):
        synonym_sensitivity(model(), GRAMMAR, **kwargs)


def test_broken_weights_are_named():
    model = gpt2()
    torch.nn.init.constant_(model.transformer.h[1].mlp.c_fc.weight, float("nan"))
    with pytest.raises(ValueError, match="the model's logits are NaN"):
        synonym_sensitivity(model, GRAMMAR)


def test_evaluate_loads_the_metric_and_models_of_every_kind_from_their_directories(tmp_path):
    metric = evaluate.load("synonym_sensitivity")
    for model in (gpt2(), bert(), bert(BertForSequenceClassification)):
        expected = synonym_sensitivity(model, GRAMMAR, num_sentences=50)
        folder = tmp_path / type(model).__name__
        model.save_pretrained(folder)
        GRAMMAR.save_pretrained(folder / "grammar")
        found = metric.compute(model=str(folder), num_sentences=50)
        assert found["layers"] == expected["layers"]
        assert np.allclose(found["sensitivity"], expected["sensitivity"], rtol=1e-5)
    tokens = GRAMMAR.sample(20, sampling="iid")
    given = synonym_sensitivity(model, GRAMMAR, tokens)
    metric.add_batch(input_ids=tokens.tolist())
    assert metric.compute(model=model, grammar=GRAMMAR) == given
    assert given["num_sentences"] == 20
    with pytest.raises(ValueError, match="model=None"):
        load_metric("synonym_sensitivity").compute(grammar=GRAMMAR)
