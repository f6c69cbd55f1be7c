"""representation_probe: models that hold the latent symbols, plain loops for any other, bad input, evaluate."""

import evaluate
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from hub_cards.parsing_model import ParsingForSequenceClassification
from rhm_hf import Grammar, load_metric
from rhm_hf.grammar import redraw_rule, replace_symbol
from rhm_hf.metrics.representation_probe import representation_probe
from rhm_hf.metrics.representation_probe.similarity import whitening_seed


GRAMMAR = Grammar.from_name("v6-m3-s2-L3", rules_seed=1)
SKEWED = Grammar.from_rules(  # level 1: symbol 1 has no synonym
    [[[[0, 1], [1, 0]], [[1, 1], [0, 0]]], [[[0, 0], [2, 2]], [[1, 2], [2, 1]]]],
    [[[0.5, 0.5], [0.9, 0.1]], [[0.4, 0.6], [1.0, 0.0]]],
)


def gpt2(num_symbols=6, length=8):
    torch.manual_seed(0)
    sizes = {"n_positions": length, "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": num_symbols + 3}
    return GPT2LMHeadModel(GPT2Config(bos_token_id=num_symbols, eos_token_id=num_symbols, **sizes)).eval()


def bert(num_symbols=6):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertForMaskedLM(BertConfig(vocab_size=num_symbols + 3, **sizes)).eval()


def hidden_layers(model, tokens):
    """Layers of a model that predicts the last token, without BOS; the logits of the last position."""
    inputs, bos = tokens.astype(np.int64), model.config.bos_token_id
    if isinstance(model, GPT2LMHeadModel):
        inputs = np.concatenate([np.full((len(inputs), 1), bos), inputs[:, :-1]], 1)
    else:
        inputs[:, -1] = model.config.vocab_size - 1
    with torch.no_grad():
        out = model(input_ids=torch.from_numpy(inputs), output_hidden_states=True)
    layers = [h[:, 1:] if isinstance(model, GPT2LMHeadModel) else h for h in out.hidden_states]
    return [h.double().numpy() for h in layers], out.logits.double().numpy()


def cosines(before, after, reference):
    """Cosines of activations after batch normalisation with the statistics of `reference`."""
    mean, scale = reference.mean(0), reference.std(0)
    keep = scale > 1e-9
    a, b = ((x[:, keep] - mean[keep]) / scale[keep] for x in (before, after))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def references(model, grammar, seed, num=300):
    """Layers and last logits of the sentences that are whitened by."""
    others = grammar.sample(num, seed=whitening_seed(seed), split="evaluation", sampling="iid")
    layers, logits = hidden_layers(model, others)
    return [*layers, logits[:, -1]]


def ratio_and_error(numerator, denominator):
    ratio = numerator.sum() / denominator.sum()
    n = len(numerator)
    return ratio, np.sqrt(((numerator - ratio * denominator) ** 2).sum() / (n - 1) / n) / denominator.mean()


def test_a_layer_that_holds_the_symbols_does_not_see_a_redrawn_rule():
    model = ParsingForSequenceClassification.from_grammar(GRAMMAR)
    result = representation_probe(model, GRAMMAR, num_sentences=500, nodes="all")
    assert result["levels"] == [1, 2]
    assert result["layers"] == [f"hidden_states[{k}]" for k in range(4)] + ["logits"]
    for k, row in enumerate(result["ratio"]):
        for level, ratio in enumerate(row, 1):
            if k >= 3:  # the class is hidden with the last token
                assert ratio is None
            elif k >= level:
                assert (ratio, result["similarity_redrawn"][k][level - 1]) == (0, 1)
            else:
                assert 0.4 < ratio < 1.2
                assert result["similarity_replaced"][k][level - 1] < 0.9
    # Nothing of the nearest pair reaches level 2: its parent is hidden with the last token.
    nearest = representation_probe(model, GRAMMAR, num_sentences=100)
    assert [row[0] for row in nearest["ratio"]] == [pytest.approx(1, abs=0.2), 0, None, None, None]


@pytest.mark.parametrize("nodes", ["nearest", "all"])
@pytest.mark.parametrize("make", [gpt2, bert])
def test_any_model_against_a_plain_computation(make, nodes):
    model, tokens = make(), GRAMMAR.sample(60, seed=9, sampling="iid")
    result = representation_probe(model, GRAMMAR, tokens, num_whitening=300, seed=3, nodes=nodes, batch_size=17)
    fixed = [layer.reshape(300, -1) for layer in references(model, GRAMMAR, 3)]
    levels = GRAMMAR.parse(tokens)
    for column, level in enumerate((1, 2)):
        last = GRAMMAR.num_nodes_at(level) - 1
        chosen = range(last) if nodes == "all" else [last - 1]
        by_symbol, by_rule = [], []
        for node in chosen:
            for found, change in ((by_symbol, replace_symbol), (by_rule, redraw_rule)):
                new = change(GRAMMAR, levels, level, node, 3)[0]
                width = 2**level
                assert np.array_equal(
                    np.delete(new, range(node * width, (node + 1) * width), 1)[:, -width:], tokens[:, -width:]
                )
                (here, logits), (there, new_logits) = hidden_layers(model, tokens), hidden_layers(model, new)
                here.append(logits[:, -1])
                there.append(new_logits[:, -1])
                flat = [(a.reshape(60, -1), b.reshape(60, -1)) for a, b in zip(here, there, strict=True)]
                found.append([cosines(a, b, c) for (a, b), c in zip(flat, fixed, strict=True)])
        by_symbol, by_rule = (np.array(found).mean(0) for found in (by_symbol, by_rule))  # (layers, sentences)
        for k in range(len(by_symbol)):
            expected = ratio_and_error(1 - by_rule[k], 1 - by_symbol[k])
            assert result["ratio"][k][column] == pytest.approx(expected[0], rel=1e-4)
            assert result["ratio_stderr"][k][column] == pytest.approx(expected[1], rel=1e-3)
            assert result["similarity_replaced"][k][column] == pytest.approx(by_symbol[k].mean(), abs=1e-5)
            assert result["similarity_redrawn"][k][column] == pytest.approx(by_rule[k].mean(), abs=1e-5)
            assert result["similarity_redrawn_stderr"][k][column] == pytest.approx(
                by_rule[k].std(ddof=1) / 60**0.5, rel=1e-3
            )


def test_sentences_without_a_synonym_do_not_count():
    model, tokens = gpt2(3, 4), SKEWED.sample(200, seed=9)
    levels = SKEWED.parse(tokens)
    keep = levels[1][:, 0] == 0
    assert 20 < keep.sum() < 180
    result = representation_probe(model, SKEWED, tokens, num_whitening=300, positions="last")
    fixed = references(model, SKEWED, 0)
    new = [change(SKEWED, levels, 1, 0)[0] for change in (redraw_rule, replace_symbol)]
    here, there = hidden_layers(model, tokens)[0], [hidden_layers(model, t)[0] for t in new]
    for k in (1, 2):
        rule, symbol = (cosines(here[k][:, -1], t[k][:, -1], fixed[k][:, -1])[keep] for t in there)
        assert result["ratio"][k][0] == pytest.approx((1 - rule).sum() / (1 - symbol).sum(), rel=1e-4)
    assert result["num_sentences"] == 200


def test_the_ratio_has_no_bias_at_few_sentences_and_errors_of_its_own_spread():
    model = gpt2()
    options = {"positions": "last", "num_whitening": 1024}
    whole = np.array(representation_probe(model, GRAMMAR, num_sentences=4096, seed=99, **options)["ratio"][1:])
    found = [representation_probe(model, GRAMMAR, num_sentences=64, seed=seed, **options) for seed in range(40)]
    ratios, errors = (np.array([f[name][1:] for f in found], dtype=float) for name in ("ratio", "ratio_stderr"))
    spread = ratios.std(0, ddof=1)
    assert (np.abs(ratios.mean(0) - whole) < 3.5 * spread / np.sqrt(40)).all()
    assert np.sqrt((errors**2).mean(0) / spread**2).mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("grammar", "kwargs", "match"),
    [
        (GRAMMAR, {"nodes": "last"}, "nodes='last' is unknown"),
        (Grammar.from_name("v6-m3-s2-L1"), {}, "no level below its root with synonyms"),
        (GRAMMAR, {"num_sentences": 1}, "num_sentences=1"),
        (GRAMMAR, {"num_whitening": 1}, "num_whitening=1"),
        (GRAMMAR, {"seed": -1}, "seed=-1"),
        (GRAMMAR, {"hide_last": False}, "at most 8 ids.*hide_last=True"),
    ],
    ids=range(6),
)
def test_bad_input_is_named(grammar, kwargs, match):
    with pytest.raises(ValueError, match=match):
        representation_probe(gpt2(), grammar, **kwargs)


def test_evaluate_loads_the_metric(tmp_path):
    model, tokens = gpt2(), GRAMMAR.sample(20, sampling="iid")
    expected = representation_probe(model, GRAMMAR, tokens)
    metric = evaluate.load("representation_probe")
    assert metric.compute(input_ids=tokens, model=model, grammar=GRAMMAR) == expected
    model.save_pretrained(tmp_path)
    assert metric.compute(input_ids=tokens.tolist(), model=tmp_path, grammar=GRAMMAR) == expected
    with pytest.raises(ValueError, match="model=None"):
        load_metric("representation_probe").compute(grammar=GRAMMAR)
