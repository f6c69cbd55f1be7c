"""The hierarchical U-Net: shapes, what sees what, saving by the Auto classes, metrics, learning."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from rhm_hf import Grammar, HierarchicalUNetConfig, HierarchicalUNetForMaskedLM
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.training.model_building import scratch_config, scratch_model


def unet(seed=0, **kwargs):
    config = HierarchicalUNetConfig(**{"vocab_size": 7, "hidden_size": 12, "num_hidden_layers": 2} | kwargs)
    torch.manual_seed(seed)
    return HierarchicalUNetForMaskedLM(config)


@pytest.mark.parametrize(("s", "depth", "blocks"), [(2, 3, 1), (3, 2, 1), (2, 2, 3)])
def test_every_output_sees_its_whole_block_and_no_other(s, depth, blocks):
    length = blocks * s**depth
    model = unet(filter_size=s, num_hidden_layers=depth, max_position_embeddings=length)
    ids = torch.randint(0, 4, (1, length), generator=torch.Generator().manual_seed(1))
    logits = model(ids).logits
    assert logits.shape == (1, length, 7)
    for i in range(length):
        other = ids.clone()
        other[0, i] = (ids[0, i] + 1) % 4
        changed = (model(other).logits - logits).abs().amax(-1)[0] > 1e-7
        block = torch.arange(length) // s**depth == i // s**depth
        assert torch.equal(changed, block)


def test_activations_keep_their_size_at_any_depth_and_width():
    ids = torch.randint(0, 4, (32, 64), generator=torch.Generator().manual_seed(1))
    for depth, width in ((1, 16), (6, 16), (6, 128)):
        spread = unet(num_hidden_layers=depth, hidden_size=width, max_position_embeddings=64)(ids).logits.std().item()
        assert 0.2 < spread < 3


def test_it_is_saved_and_loaded_by_the_auto_classes(tmp_path):
    model = unet(time_embedding=True).eval()
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, HierarchicalUNetConfig)
    assert (config.mask_token_id, config.pad_token_id, config.bos_token_id) == (6, 5, None)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids, t = torch.randint(0, 7, (3, 4)), torch.tensor([0.1, 0.5, 0.9])
    assert torch.equal(loaded(ids, timesteps=t).logits, model(ids, timesteps=t).logits)
    assert AutoModelForMaskedLM.from_config(config).num_parameters() == model.num_parameters()
    logits = model(ids, timesteps=t, return_dict=False)[0]
    labels = torch.where(torch.arange(4) == 2, ids, -100)
    expected = -logits.log_softmax(-1)[:, 2].gather(1, ids[:, 2:3]).mean()
    torch.testing.assert_close(model(ids, timesteps=t, labels=labels).loss, expected)


def test_it_is_made_from_scratch_like_models_of_transformers():
    """Whatever ids the training loop gives, there is no BOS: a sentence just fits."""
    config = scratch_config("hierarchical_unet", {"num_hidden_layers": 2, "filter_size": 3, "hidden_size": 8}, 5, 9)
    assert (config.vocab_size, config.max_position_embeddings, config.bos_token_id) == (8, 9, None)
    model = scratch_model(config, "AutoModelForMaskedLM", 0, 9)
    assert isinstance(model, HierarchicalUNetForMaskedLM)
    assert not model.can_generate()


def test_it_is_judged_by_the_exact_kl_and_learns():
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    model = unet(hidden_size=32)
    before = kl_divergence(model, grammar)["kl"]
    tokens = torch.from_numpy(grammar.sample(256, sampling="iid")).long()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        hidden = torch.rand(tokens.shape, generator=generator) < 0.3
        loss = model(torch.where(hidden, 6, tokens), labels=torch.where(hidden, tokens, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert kl_divergence(model, grammar)["kl"] < 0.15 < 0.5 < before


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda: HierarchicalUNetConfig(max_position_embeddings=12),
            "max_position_embeddings=12 must be a multiple .* 8",
        ),
        (lambda: HierarchicalUNetConfig(filter_size=1), "filter_size=1"),
        (lambda: unet()(torch.zeros(1, 5, dtype=torch.int64)), r"shape \(1, 5\): this model reads \(batch, 4\)"),
        (lambda: unet(time_embedding=True)(torch.zeros(1, 4, dtype=torch.int64)), "timesteps=None"),
        (
            lambda: unet()(torch.zeros(1, 4, dtype=torch.int64), timesteps=torch.ones(1)),
            "without config.time_embedding",
        ),
    ],
)
def test_mistakes_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
