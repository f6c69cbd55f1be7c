"""latent_probe: the closed form, plain loops, models that hold the latent symbols and models that hold nothing."""

import evaluate
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf import Grammar, load_metric
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.metrics.latent_probe import latent_probe, ridge


GRAMMAR = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)


def gpt2():
    torch.manual_seed(0)
    sizes = {"n_positions": 5, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=7, bos_token_id=4, eos_token_id=4, **sizes))


def least_squares(x, y, regularisation):
    """Ridge regression as least squares with rows added; numpy only."""
    centred, width = x - x.mean(0), x.shape[1]
    rows = np.concatenate([centred, np.sqrt(len(x) * regularisation) * np.eye(width)])
    weights = np.linalg.lstsq(rows, np.concatenate([y - y.mean(0), np.zeros((width, y.shape[1]))]), rcond=None)[0]
    return weights, y.mean(0) - x.mean(0) @ weights


@pytest.mark.parametrize(("num", "width"), [(60, 7), (20, 45)])
def test_ridge_is_the_regularised_least_squares_solution(num, width):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(num, width)) + 2, rng.normal(size=(num, 3)) - 1
    found = ridge(torch.from_numpy(x), torch.from_numpy(y), 0.02)
    for one, other in zip(found, least_squares(x, y, 0.02), strict=True):
        assert np.allclose(one.numpy(), other, rtol=0, atol=1e-12)


def test_a_layer_that_holds_the_symbols_of_a_level_gives_them_away(small_grammar):
    model = ParsingForSequenceClassification.from_grammar(small_grammar)
    result = latent_probe(model, small_grammar, num_train=600, num_sentences=400)
    for k in range(small_grammar.depth + 1):
        assert result["accuracy"][k][k] == 1
        assert result["stderr"][k][k] == 0
        assert result["accuracy_per_node"][k][k] == [1.0] * small_grammar.num_nodes_at(k)
    # The class says nothing that the class does not imply: far from all tokens.
    assert result["accuracy"][-1][0] < 0.9
    assert result["layers"] == ["hidden_states[0]", "hidden_states[1]", "hidden_states[2]", "logits"]
    assert (result["levels"], result["num_train"], result["num_sentences"]) == ([0, 1, 2], 600, 400)


def test_chance_is_the_share_of_the_most_likely_symbol(small_grammar):
    model = ParsingForSequenceClassification.from_grammar(small_grammar)
    result = latent_probe(model, small_grammar, num_train=10, num_sentences=10)
    tokens, probs = enumerate_sentences(small_grammar)
    for level, symbols in enumerate(small_grammar.parse(tokens)):
        exact = [np.bincount(column, probs).max() for column in symbols.T]
        assert np.allclose(result["chance_per_node"][level], exact, rtol=0, atol=1e-12)
        assert result["chance"][level] == pytest.approx(np.mean(exact), abs=1e-12)


def test_a_model_that_is_blind_is_at_chance():
    rules = [[[[0, 1], [1, 0]], [[1, 2], [2, 2]]], [[[0, 0], [2, 2]], [[1, 2], [2, 1]], [[0, 2], [1, 1]]]]
    grammar = Grammar.from_rules(rules, root_probs=[0.7, 0.3], vocab_size=4)
    model = gpt2()
    with torch.no_grad():
        model.transformer.wte.weight.fill_(0.3)
    result = latent_probe(model, grammar, num_train=2000, num_sentences=2000)
    for row, errors in zip(result["accuracy"], result["stderr"], strict=True):
        assert row == result["accuracy"][0]
        for value, error, chance in zip(row, errors, result["chance"], strict=True):
            assert abs(value - chance) < 4.5 * error
    assert result["chance"][2] == 0.7


@pytest.mark.parametrize("hide_last", [False, True])
def test_any_model_against_a_plain_computation(hide_last):
    model = gpt2().eval()
    judged = GRAMMAR.sample(50, seed=9, sampling="iid")
    result = latent_probe(model, GRAMMAR, judged, num_train=100, seed=3, regularisation=0.05, hide_last=hide_last)
    train = GRAMMAR.sample(100, seed=3, split="evaluation", start=50)

    def read(tokens):
        inputs = np.concatenate([np.full((len(tokens), 1), 4), tokens.astype(np.int64)], 1)
        with torch.no_grad():
            out = model(input_ids=torch.from_numpy(inputs[:, : 5 - hide_last]), output_hidden_states=True)
        logits = out.logits[:, -1:] if hide_last else out.logits[:, 1:]
        return [h.flatten(1).double().numpy() for h in [*(h[:, 1:] for h in out.hidden_states), logits]]

    for k, (x, new) in enumerate(zip(read(train), read(judged), strict=True)):
        mean, scale = x.mean(0), x.std(0)
        x, new = (x - mean) / scale, (new - mean) / scale
        for level, (symbols, wanted) in enumerate(zip(GRAMMAR.parse(train), GRAMMAR.parse(judged), strict=True)):
            right = np.empty(wanted.shape)
            for node in range(wanted.shape[1]):
                weights, intercept = least_squares(x, np.eye(4)[symbols[:, node]], 0.05)
                right[:, node] = (new @ weights + intercept).argmax(1) == wanted[:, node]
            assert result["accuracy_per_node"][k][level] == pytest.approx(right.mean(0).tolist())
            assert result["accuracy"][k][level] == pytest.approx(right.mean())
            assert result["stderr"][k][level] == pytest.approx(right.mean(1).std(ddof=1) / 50**0.5)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"regularisation": 0}, "regularisation=0"),
        ({"regularisation": float("nan")}, "regularisation=nan"),
        ({"num_train": 1}, "num_train=1"),
        ({"num_sentences": 1}, "num_sentences=1"),
        ({"positions": "none"}, "positions='none'"),
    ],
)
def test_bad_input_is_named(kwargs, match):
    with pytest.raises(ValueError, match=match):
        latent_probe(gpt2(), GRAMMAR, **kwargs)


def test_evaluate_loads_the_metric(tmp_path):
    model, tokens = gpt2(), GRAMMAR.sample(20, sampling="iid")
    expected = latent_probe(model, GRAMMAR, tokens, num_train=50)
    metric = evaluate.load("latent_probe")
    assert metric.compute(input_ids=tokens, model=model, grammar=GRAMMAR, num_train=50) == expected
    model.save_pretrained(tmp_path)
    assert metric.compute(input_ids=tokens.tolist(), model=tmp_path, grammar=GRAMMAR, num_train=50) == expected
    with pytest.raises(ValueError, match="model=None"):
        load_metric("latent_probe").compute(grammar=GRAMMAR)


@pytest.mark.parametrize("name", ["v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d5-p0.5", "v2-m2-s2-L2-sparse1"])
def test_given_sentences_of_every_family_are_probed_at_every_level(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    v, d = grammar.vocab_size, grammar.sentence_length
    torch.manual_seed(0)
    sizes = {"n_positions": d + 1, "n_embd": 32, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, bos_token_id=v, eos_token_id=v, **sizes))
    tokens = grammar.sample(1000, seed=9, sampling="iid")
    options = {"num_train": 1000, "num_sentences": 1000}
    given, fresh = latent_probe(model, grammar, tokens, **options), latent_probe(model, grammar, **options)
    assert given["levels"] == list(range(grammar.depth + 1))
    assert given["num_sentences"] == 1000
    for layer in range(len(given["layers"])):
        for level in given["levels"]:  # sentences of one law, with hidden symbols of one law
            error = given["stderr"][layer][level] + fresh["stderr"][layer][level]
            assert abs(given["accuracy"][layer][level] - fresh["accuracy"][layer][level]) <= 4.5 * error + 1e-12
    assert given["accuracy"][0][0] == pytest.approx(1)  # the tokens themselves
    with pytest.raises(ValueError, match="input_ids holds 1 sentence"):
        latent_probe(model, grammar, tokens[:1])
