"""Attention-only stacks: outputs, what a position sees, the scale of the signal, generation, mistakes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, GenerationConfig

from rhm_hf import AttentionOnlyConfig, AttentionOnlyForCausalLM, AttentionOnlyForMaskedLM, Grammar, load_metric


V = 5
BOS, PAD, MASK = V, V + 1, V + 2
AUTOS = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM}


def model_of(kind, seed=0, **kwargs):
    sizes = {"vocab_size": V + 3, "max_position_embeddings": 6, "hidden_size": 8, "num_attention_heads": 2}
    torch.manual_seed(seed)
    return AUTOS[kind].from_config(AttentionOnlyConfig(**{**sizes, **kwargs})).eval()


def inputs(batch=4, length=6, high=V + 3):
    return torch.randint(high, (batch, length), generator=torch.Generator().manual_seed(1))


def plain_network(model, sentence: list[int], causal: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Activations and logits of one sentence, one head and one position at a time."""
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    size = width // heads
    x = weights["embed_tokens.weight"][sentence] + weights["embed_positions.weight"][: len(sentence)]
    activations = [x]
    for layer in range(model.config.num_hidden_layers):
        query, key, value = np.split(weights[f"layers.{layer}.query_key_value.weight"] / np.sqrt(width), 3)
        mixed = np.zeros_like(x)
        for channels in (slice(h * size, (h + 1) * size) for h in range(heads)):
            for i in range(len(x)):
                seen = x[: i + 1] if causal else x
                scores = np.exp(seen @ key[channels].T @ (query[channels] @ x[i]) / np.sqrt(size))
                mixed[i, channels] = scores / scores.sum() @ (seen @ value[channels].T)
        x = mixed @ weights[f"layers.{layer}.output.weight"].T / np.sqrt(width)
        activations.append(x)
    return activations, x @ weights["lm_head.weight"].T / np.sqrt(width)


@pytest.mark.parametrize("kind", AUTOS)
def test_outputs_are_those_of_a_plain_computation(kind):
    model, ids = model_of(kind).double(), inputs()
    found = model(ids, output_hidden_states=True)
    assert len(found.hidden_states) == 4
    for row, sentence in enumerate(ids.tolist()):
        activations, logits = plain_network(model, sentence, kind == "causal")
        for one, other in zip(found.hidden_states, activations, strict=True):
            np.testing.assert_allclose(one[row].detach().numpy(), other, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.logits[row].detach().numpy(), logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", AUTOS)
def test_saved_and_loaded_to_the_bit(kind, tmp_path):
    first, same, other = model_of(kind), model_of(kind), model_of(kind, seed=1)
    assert torch.equal(first(inputs()).logits, same(inputs()).logits)
    assert not torch.equal(first(inputs()).logits, other(inputs()).logits)
    first.save_pretrained(tmp_path)
    loaded = AUTOS[kind].from_pretrained(tmp_path)
    assert type(loaded) is {"causal": AttentionOnlyForCausalLM, "masked": AttentionOnlyForMaskedLM}[kind]
    assert loaded.config.to_diff_dict() == first.config.to_diff_dict()
    assert not loaded.config.use_cache
    assert loaded.state_dict().keys() == first.state_dict().keys()
    assert all(map(torch.equal, loaded.state_dict().values(), first.state_dict().values()))
    assert torch.equal(loaded(inputs()).logits, first(inputs()).logits)


def test_a_causal_stack_does_not_see_what_comes_and_a_masked_one_does():
    ids = inputs()
    changed = ids.clone()
    changed[:, 4] = (ids[:, 4] + 1) % V
    for kind, sees in (("causal", False), ("masked", True)):
        model = model_of(kind)
        before, after = model(ids).logits, model(changed).logits
        assert torch.allclose(before[:, :4], after[:, :4]) != sees
        assert not torch.allclose(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("kind", AUTOS)
def test_padding_is_not_seen(kind):
    model, ids = model_of(kind), inputs(length=4)
    expected = model(ids).logits
    padding, there = torch.full((4, 2), PAD), torch.ones_like(ids)
    right = model(torch.cat([ids, padding], 1), torch.cat([there, 0 * padding], 1)).logits
    torch.testing.assert_close(right[:, :4], expected)
    positions = torch.tensor([[0, 0, 0, 1, 2, 3]]).expand(4, -1)
    left = model(torch.cat([padding, ids], 1), torch.cat([0 * padding, there], 1), position_ids=positions).logits
    torch.testing.assert_close(left[:, 2:], expected)
    assert left.isfinite().all()


def test_losses():
    ids = inputs()
    labels = ids.clone()
    labels[:, 2] = -100
    causal, masked = model_of("causal"), model_of("masked")
    output = causal(ids, labels=labels)
    rows = torch.log_softmax(output.logits, -1)
    terms = [-rows[:, i, :].gather(1, ids[:, i + 1 : i + 2]) for i in range(5) if i + 1 != 2]
    torch.testing.assert_close(output.loss, torch.cat(terms).mean())
    output = masked(ids, labels=labels)
    rows = torch.log_softmax(output.logits, -1)
    terms = [-rows[:, i, :].gather(1, ids[:, i : i + 1]) for i in range(6) if i != 2]
    torch.testing.assert_close(output.loss, torch.cat(terms).mean())
    loss, logits = masked(ids, labels=labels, return_dict=False)
    assert torch.equal(logits, output.logits)
    assert torch.equal(loss, output.loss)


@pytest.mark.parametrize("kind", AUTOS)
@pytest.mark.parametrize("width", [64, 512])
def test_the_signal_neither_vanishes_nor_explodes_with_depth(kind, width):
    """What averaging loses, at most a factor of the length, it loses in the first layers; width plays no part."""
    squares, spreads = [], []
    for seed in range(2):
        model = model_of(kind, seed, hidden_size=width, max_position_embeddings=8, num_hidden_layers=8)
        with torch.no_grad():
            found = model(inputs(batch=64, length=8, high=V), output_hidden_states=True)
        last = [x[:, -1] for x in (*found.hidden_states, found.logits)]
        squares.append([x.square().mean().item() for x in last])
        spreads.append([x.var(0).mean().item() for x in last])
    squares, spreads = np.mean(squares, 0), np.mean(spreads, 0)
    assert squares[0] == pytest.approx(2, rel=0.25)
    assert ((squares > 2 / 8) & (squares < 5)).all()
    assert ((spreads > 1 / 16) & (spreads < 2)).all()  # what depends on the tokens


@pytest.mark.parametrize("kind", AUTOS)
def test_gradients_reach_all_parameters_and_autocast_agrees(kind):
    model, ids = model_of(kind), inputs()
    output = model(ids, labels=ids)
    output.loss.backward()
    for parameter in model.parameters():
        assert parameter.grad.abs().sum() > 0
    weights = {name: 2 * weight for name, weight in model.named_parameters()}
    doubled = torch.func.functional_call(model, weights, (ids,)).logits
    assert not torch.allclose(doubled, output.logits)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(ids, labels=ids)
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.logits.float(), output.logits, rtol=0.1, atol=0.1)


def test_generation_reads_the_whole_prefix(tmp_path):
    """Also under a generation config that asks for a cache, and after padding on the left."""
    model = model_of("causal", seed=2)
    model.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    saved = model.generation_config
    assert (saved.do_sample, saved.top_k, saved.use_cache, saved.max_new_tokens) == (True, 0, False, 5)
    start = torch.tensor([[BOS, 1], [BOS, 3], [BOS, 0]])
    expected = start
    for _ in range(4):
        expected = torch.cat([expected, model(expected).logits[:, -1:, :V].argmax(-1)], 1)
    greedy = GenerationConfig(
        do_sample=False, top_k=50, use_cache=True, max_new_tokens=4, pad_token_id=PAD, suppress_tokens=[BOS, PAD, MASK]
    )
    assert torch.equal(model.generate(start, generation_config=greedy), expected)
    padded = torch.cat([torch.full((3, 1), PAD), start], 1)
    greedy.max_new_tokens = 3
    mask = (padded != PAD).long()
    assert torch.equal(model.generate(padded, attention_mask=mask, generation_config=greedy)[:, 1:], expected[:, :5])
    torch.manual_seed(0)
    sampled = model.generate(torch.full((50, 1), BOS))
    assert sampled.shape[1] <= 6


@pytest.mark.parametrize("kind", AUTOS)
def test_training_lowers_the_loss(kind):
    grammar = Grammar.from_name("v5-m3-s2-L2-c3", rules_seed=1)
    sentences = torch.from_numpy(grammar.sample(48, seed=1).astype(np.int64))
    model = model_of(kind, hidden_size=64, num_hidden_layers=2)
    if kind == "causal":
        ids = labels = F.pad(sentences, (1, 0), value=BOS)
    else:  # the last token
        ids, labels = sentences.clone(), torch.full_like(sentences, -100)
        ids[:, -1], labels[:, -1] = MASK, sentences[:, -1]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(ids, labels=labels).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]
    if kind == "causal":
        metric, untrained = load_metric("rhm_kl"), model_of(kind, hidden_size=64, num_hidden_layers=2)
        kls = [metric.compute(model=each, grammar=grammar)["kl"] for each in (model, untrained)]
        assert kls[0] < 0.5 * kls[1]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"num_attention_heads=3 does not divide hidden_size=8"):
        AttentionOnlyConfig(hidden_size=8, num_attention_heads=3)
    model = model_of("causal")
    with pytest.raises(ValueError, match=r"input_ids has shape \(4, 7\).*length from 1 to 6"):
        model(inputs(length=7))
    with pytest.raises(ValueError, match=r"input_ids holds 8, out of range: this model has ids 0 to 7"):
        model(torch.tensor([[8]]))
