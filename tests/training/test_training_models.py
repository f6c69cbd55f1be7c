"""Models from scratch: the grammar's ids, room for its sentences, no dropout, weights picked by a seed."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rhm_hf import Grammar
from rhm_hf.training.model_building import scratch_config, scratch_model


GRAMMAR = Grammar.from_name("v5-m3-s2-L2-c3")
SMALL = {
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "gpt_neox": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}


def model_of(model_type, seed=0, **overrides):
    config = scratch_config(model_type, SMALL[model_type] | overrides, GRAMMAR.vocab_size, context_length=5)
    return scratch_model(config, "AutoModelForCausalLM", seed, GRAMMAR.sentence_length)


@pytest.mark.parametrize("model_type", SMALL)
def test_ids_context_and_dropout(model_type):
    model = model_of(model_type)
    config = model.config
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id, config.pad_token_id) == (8, 5, 5, 6)
    assert config.max_position_embeddings == 5
    assert not [k for k, value in config.to_dict().items() if "drop" in k and isinstance(value, float) and value]
    assert not [m for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]
    assert config.hidden_size == 16


def test_overrides_come_last_and_take_the_config_s_own_names():
    assert model_of("gpt2", attn_pdrop=0.5).config.attn_pdrop == 0.5
    assert model_of("gpt2", n_positions=9).config.max_position_embeddings == 9


def test_the_seed_picks_the_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, same, other = model_of("gpt2"), model_of("gpt2"), model_of("gpt2", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    weights = [m.transformer.wte.weight for m in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_generation_defaults_sample_all_symbols(tmp_path):
    model_of("gpt2").save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.manual_seed(0)
    generated = model.generate(torch.full((200, 1), 5))
    assert generated.shape[1] <= 1 + GRAMMAR.sentence_length
    assert model.generation_config.do_sample
    assert model.generation_config.top_k == 0
    assert len(generated[:, 1].unique()) == 8  # untrained: every id turns up


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="model_type='gpt22' is not known to transformers"):
        scratch_config("gpt22", {}, GRAMMAR.vocab_size, 5)
    with pytest.raises(
        ValueError,
        match=r"config_overrides has n_emb, which GPT2Config does not: did you mean n_embd.* its fields are .*n_embd",
    ):
        scratch_config("gpt2", {"n_emb": 16}, GRAMMAR.vocab_size, 5)
