"""belief_probe: plain loops over all derivations, models whose layers are beliefs, noise, and what is refused."""

import evaluate
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from hub_cards.believing_model import BelievingForCausalLM
from rhm_hf import Grammar, RHMForCausalLM, load_metric
from rhm_hf.grammar import PCFG, NotSupported, TreeGrammar
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import causal_posteriors
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.metrics.belief_probe.belief_maps import _beliefs


GRAMMAR = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
FAMILIES = ["v4-m2-s2-L2", "v3-m2-s3-L2", "v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d5-p0.5", "v2-m2-s2-L2-sparse1"]


def gpt2(grammar=GRAMMAR, **sizes):
    torch.manual_seed(0)
    v = grammar.vocab_size
    sizes = {"n_positions": grammar.sentence_length + 1, "n_embd": 8, "n_layer": 1, "n_head": 2} | sizes
    return GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, bos_token_id=v, eos_token_id=v, **sizes))


class Believer(PreTrainedModel):
    """Holds, at every token, an affine image of the exact beliefs; and noise in the layer before."""

    config_class = PretrainedConfig

    def __init__(self, grammar, noise=0.0):
        v = grammar.vocab_size
        super().__init__(PretrainedConfig(vocab_size=v + 3, bos_token_id=v, eos_token_id=v, num_symbols=v))
        self.grammar, self.noise, self.anchor = grammar, noise, torch.nn.Parameter(torch.zeros(()))
        width = sum(grammar.num_symbols_at(level) for level in range(1, grammar.depth + 1))
        self.image = torch.randn(width, width + 3, generator=torch.Generator().manual_seed(3)).double()

    def forward(self, input_ids, output_hidden_states=False, **kwargs):
        v, d = self.grammar.vocab_size, self.grammar.sentence_length
        # An id's place in an ordinary context decides its logits, as of any causal model.
        logits = torch.nn.functional.one_hot(input_ids, v + 3).float().cumsum(1)
        tokens = input_ids[:, 1 : d + 1].clamp(max=v - 1)
        beliefs = torch.cat(causal_posteriors(self.grammar, tokens), -1)
        held = torch.cat([torch.zeros(len(beliefs), 1, self.image.shape[1]), 5 + beliefs @ self.image], 1)
        blind = torch.randn(held.shape, generator=torch.Generator().manual_seed(int(input_ids.sum()))).double()
        return CausalLMOutput(logits=logits, hidden_states=(blind, held) if output_hidden_states else None)


def regularised_least_squares(x, y, regularisation):
    """Ridge regression on standardised features, as least squares with rows added; numpy only."""
    mean, scale = x.mean(0), x.std(0)
    x = (x - mean) / scale
    rows = np.concatenate([x, np.sqrt(len(x) * regularisation) * np.eye(x.shape[1])])
    wanted = np.concatenate([y - y.mean(0), np.zeros((x.shape[1], y.shape[1]))])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return lambda new: (new - mean) / scale @ weights + y.mean(0)


def beliefs_by_enumeration(grammar, rows, nodes="ancestors"):
    """P(node = . | prefix) by adding up all sentences, `(levels)(n, t, symbols)`: of the ancestor of the prefix's last
    token, or of all nodes, side by side."""
    tokens, probs = enumerate_sentences(grammar)
    found = []
    for level, symbols in enumerate(grammar.parse(tokens)[1:], start=1):
        one_hot = np.eye(grammar.num_symbols_at(level))[symbols]  # (sentences, nodes, symbols)
        laws = np.zeros((*rows.shape, *one_hot.shape[1:]))
        for row, sentence in enumerate(rows):
            for i in range(len(sentence)):
                fits = (tokens[:, : i + 1] == sentence[: i + 1]).all(1)
                laws[row, i] = np.tensordot(probs[fits], one_hot[fits], 1) / probs[fits].sum()
        own = np.arange(rows.shape[1]) // grammar.block_length(level)
        found.append(laws.reshape(*rows.shape, -1) if nodes == "all" else laws[:, range(rows.shape[1]), own])
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_layer_that_is_an_affine_image_of_the_beliefs_has_r2_one(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    found = belief_probe(Believer(grammar), grammar, num_train=400, num_sentences=200)
    assert found["layers"] == ["hidden_states[0]", "hidden_states[1]", "logits"]
    assert found["levels"] == list(range(1, grammar.depth + 1))
    assert found["r2"][1] == pytest.approx([1.0] * grammar.depth, abs=1e-6)
    for row, errors in (("r2", "stderr"), ("control", "control_stderr")):  # noise
        for value, error in zip(found[row][0], found[errors][0], strict=True):
            assert -0.15 < value < 4.5 * error + 0.02
    assert max(found["control"][1]) < 0.3  # what position alone gives, and overfitting


def test_the_model_of_the_card_is_optimal_and_its_last_layer_is_its_beliefs():
    model = BelievingForCausalLM.from_grammar(GRAMMAR)
    found = belief_probe(model, GRAMMAR, num_train=400, num_sentences=200)
    assert found["r2"][1] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert found["stderr"][1] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert max(found["r2"][0]) < 0.9  # the token alone
    assert load_metric("rhm_kl").compute(model=model, grammar=GRAMMAR)["kl"] < 1e-6


PLACES = [("all", False), ("all", True), ("last", False), ("last", True)]


@pytest.mark.parametrize("nodes", ["ancestors", "all"])
@pytest.mark.parametrize(("positions", "hide_last"), PLACES)
def test_any_model_against_a_plain_computation(positions, hide_last, nodes):
    model = gpt2().eval()
    judged = GRAMMAR.sample(50, seed=9, sampling="iid")
    options = {"positions": positions, "hide_last": hide_last, "nodes": nodes, "regularisation": 0.01}
    found = belief_probe(model, GRAMMAR, judged, num_train=200, seed=3, **options)
    train = GRAMMAR.sample(200, seed=3, split="evaluation", sampling="iid", start=50)
    read = slice(4 - hide_last)
    place = slice(-1, None) if positions == "last" else slice(None)

    def layers(tokens):
        inputs = np.concatenate([np.full((len(tokens), 1), 4), tokens[:, read].astype(np.int64)], 1)
        with torch.no_grad():
            out = model(input_ids=torch.from_numpy(inputs), output_hidden_states=True)
        return [h[:, 1:][:, place].double().numpy() for h in (*out.hidden_states, out.logits)]

    wanted = [beliefs_by_enumeration(GRAMMAR, rows[:, read], nodes) for rows in (train, judged)]
    for k, (x, new) in enumerate(zip(layers(train), layers(judged), strict=True)):
        for j, (fit, law) in enumerate(zip(*wanted, strict=True)):
            fit, law = fit[:, place], law[:, place]
            flat = fit.reshape(-1, fit.shape[-1])
            fitted = regularised_least_squares(x.reshape(-1, x.shape[-1]), flat, 0.01)
            guess = fitted(new.reshape(-1, x.shape[-1])).reshape(law.shape)
            errors, spread = ((law - guess) ** 2).sum(-1), ((law - flat.mean(0)) ** 2).sum(-1)
            ratio = errors.sum() / spread.sum()
            assert found["r2"][k][j] == pytest.approx(1 - ratio, abs=1e-9)
            assert found["variance"][j] == pytest.approx(spread.mean())
            residual = errors.sum(1) - ratio * spread.sum(1)
            stderr = np.sqrt((residual**2).mean() / (len(residual) - 1)) / spread.sum(1).mean()
            assert found["stderr"][k][j] == pytest.approx(stderr, abs=1e-9)
            per_position = 1 - errors.sum(0) / spread.sum(0)
            assert found["r2_per_position"][k][j] == pytest.approx(per_position.tolist(), abs=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_beliefs_about_all_nodes_hold_those_about_ancestors(name):
    """And at the root, of which there is one, they are the same."""
    grammar = Grammar.from_name(name, rules_seed=1)
    rows = grammar.sample(20, sampling="iid")
    num_read, width = grammar.sentence_length - 1, [grammar.num_symbols_at(n) for n in range(1, grammar.depth + 1)]
    every, own = (_beliefs(grammar, rows, num_read, 8, nodes) for nodes in ("all", "ancestors"))
    columns = [size * grammar.num_nodes_at(level) for level, size in enumerate(width, start=1)]
    for level, (laws, law) in enumerate(zip(every.split(columns, -1), own.split(width, -1), strict=True), start=1):
        places = torch.arange(num_read)
        laws = laws.reshape(20, num_read, -1, law.shape[-1])[:, places, places // grammar.block_length(level)]
        torch.testing.assert_close(laws, law, atol=1e-12, rtol=0)
    options = {"input_ids": rows, "num_train": 100}
    own, every = (belief_probe(gpt2(grammar), grammar, nodes=nodes, **options) for nodes in ("ancestors", "all"))
    for name in ("r2", "stderr", "control"):
        assert [row[-1] for row in every[name]] == pytest.approx([row[-1] for row in own[name]], abs=1e-9)


@pytest.mark.parametrize("name", ["v4-m2-s2-L2", "v3-m2-s3-L2", "v2-m2-s2-L2-sparse1"])
def test_beliefs_about_all_nodes_are_those_of_all_sentences(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    rows = grammar.sample(20, sampling="iid")
    wanted = np.concatenate(beliefs_by_enumeration(grammar, rows[:, :-1], "all"), -1)
    np.testing.assert_allclose(_beliefs(grammar, rows, grammar.sentence_length - 1, 8, "all"), wanted, atol=1e-12)


def test_the_token_and_its_place_give_what_the_embeddings_give():
    """At the first token beliefs are a function of it: an embedding of full rank holds them there, at any P."""
    found = belief_probe(gpt2(n_embd=12), GRAMMAR, num_train=2000, num_sentences=500)
    one_hot = belief_probe(gpt2(n_embd=12), GRAMMAR, num_train=2000, num_sentences=500, positions="last")
    for value in (*found["r2"][0], *one_hot["r2"][0]):
        assert 0.02 < value < 0.98
    assert one_hot["positions"] == "last"


def test_beliefs_that_do_not_vary_have_no_r2():
    """One class and one rule above: the root is known before anything is read."""
    grammar = Grammar.from_rules([[[[0, 1]]], [[[0, 0], [1, 1]], [[0, 1], [1, 0]]]])
    found = belief_probe(gpt2(grammar), grammar, num_train=50, num_sentences=20)
    assert [row[1] for row in found["r2"]] == [None] * 3
    assert [row[1] for row in found["stderr"]] == [None] * 3
    assert all(row[0] is not None for row in found["r2"])


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"regularisation": 0}, "regularisation=0"),
        ({"num_train": 1}, "num_train=1"),
        ({"num_sentences": 1}, "num_sentences=1"),
        ({"positions": "mean"}, "positions='mean'"),
        ({"nodes": "root"}, "nodes='root'"),
        ({"input_ids": GRAMMAR.sample(1)}, "input_ids holds 1 sentence"),
        ({"input_ids": [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]}, "is no sentence"),
    ],
)
def test_bad_input_is_named(kwargs, match):
    with pytest.raises(ValueError, match=match):
        belief_probe(gpt2(), GRAMMAR, **kwargs)


def test_models_that_are_not_causal_and_laws_without_layers_are_refused():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with pytest.raises(ValueError, match="causal"):
        belief_probe(BertForMaskedLM(BertConfig(vocab_size=7, **sizes)), GRAMMAR)
    with pytest.raises(ValueError, match="no hidden states"):
        belief_probe(RHMForCausalLM.from_grammar(GRAMMAR), GRAMMAR)


@pytest.mark.parametrize("source", ["trees", "pcfg"])
def test_sources_without_blocks_are_refused(source):
    if source == "trees":
        grammar = TreeGrammar.from_name("trees-v4-s2m2-s3m2-L2")
    else:
        grammar = PCFG.from_text("S -> a S b [0.4] | a b [0.6]")
    with pytest.raises(NotSupported, match="belief_probe"):
        belief_probe(gpt2(), grammar)


def test_evaluate_loads_the_metric(tmp_path):
    model, tokens = gpt2(), GRAMMAR.sample(20, sampling="iid")
    expected = belief_probe(model, GRAMMAR, tokens, num_train=50)
    metric = evaluate.load("belief_probe")
    assert metric.compute(input_ids=tokens, model=model, grammar=GRAMMAR, num_train=50) == expected
    model.save_pretrained(tmp_path)
    assert metric.compute(input_ids=tokens.tolist(), model=tmp_path, grammar=GRAMMAR, num_train=50) == expected
    with pytest.raises(ValueError, match="model=None"):
        load_metric("belief_probe").compute(grammar=GRAMMAR)
