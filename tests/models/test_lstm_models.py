"""The LSTM against one written out in numpy; padding, generation, what it reads."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rhm_hf import Grammar, LSTMConfig, load_metric


V = 5
AUTOS = {"causal": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification}


def model_of(kind, seed=0, **kwargs):
    sizes = {"vocab_size": V + 3, "max_position_embeddings": 7, "hidden_size": 6, "num_hidden_layers": 2}
    torch.manual_seed(seed)
    return AUTOS[kind].from_config(LSTMConfig(**{**sizes, **kwargs})).eval()


def inputs(batch=3, length=6):
    return torch.randint(V, (batch, length), generator=torch.Generator().manual_seed(1))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_network(model, sentence):
    """Logits of every position of one sentence, step by step."""
    weights = {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}
    states = weights["embed_tokens.weight"][sentence]
    for layer in range(model.config.num_hidden_layers):
        w, u, b, c = (weights[f"layers.{layer}.{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        hidden = cell = np.zeros(model.config.hidden_size)
        found = []
        for x in states:
            enter, forget, new, out = np.split(w @ x + b + u @ hidden + c, 4)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(out) * np.tanh(cell)
            found.append(hidden)
        states = np.array(found)
    return states @ weights["readout.weight"].T + weights["readout.bias"]


def test_outputs_are_those_of_the_equations():
    model, ids = model_of("causal"), inputs()
    logits = model(ids).logits.detach().numpy()
    for row, sentence in zip(logits, ids.tolist(), strict=True):
        np.testing.assert_allclose(row, plain_network(model, sentence), rtol=1e-4, atol=1e-5)
    classifier = model_of("classifier", num_labels=4)
    np.testing.assert_allclose(
        classifier(ids).logits.detach().numpy()[0],
        plain_network(classifier, ids[0].tolist())[-1],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    ids, pad = inputs(), torch.full((3, 1), V + 1)
    padded = torch.cat([pad, ids] if side == "left" else [ids, pad], 1)
    mask = (padded != V + 1).long()
    inside = slice(1, None) if side == "left" else slice(0, -1)
    model, classifier = model_of("causal"), model_of("classifier")
    torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, inside], model(ids).logits)
    torch.testing.assert_close(classifier(padded, attention_mask=mask).logits, classifier(ids).logits)


def test_loss_is_the_mean_of_the_labels_and_states_are_given():
    model, ids = model_of("causal"), inputs()
    out = model(ids, labels=ids, output_hidden_states=True)
    log_q = out.logits[:, :-1].log_softmax(-1)
    torch.testing.assert_close(out.loss, -log_q.gather(-1, ids[:, 1:, None]).mean())
    assert [state.shape for state in out.hidden_states] == [(3, 6, 6)] * 3


def test_it_is_judged_saved_and_sampled_like_any_other(tmp_path):
    grammar = Grammar.from_name("v5-m2-s2-L2")
    model = model_of("causal")
    found = load_metric("rhm_kl").compute(model=model, grammar=grammar, num_sentences=64)
    assert found["kl"] > 0
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(inputs()).logits, model(inputs()).logits)
    ids = model.generate(torch.full((2, 1), V), max_new_tokens=4, do_sample=True, top_k=0, pad_token_id=V + 1)
    assert ids.shape[1] <= 5


def test_mistakes_name_what_is_wrong():
    with pytest.raises(ValueError, match="from 1 to 7"):
        model_of("causal")(inputs(length=8))
    with pytest.raises(ValueError, match="hidden_size"):
        LSTMConfig(hidden_size=0)
