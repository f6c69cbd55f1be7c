"""Samples have the model's own law, whatever its cache, its defaults or its positions would make of it."""

import numpy as np
import pytest
import torch
from large_weights import made
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.effective_context import generation
from rhm_hf.metrics.effective_context.generation import generate


pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
IDS = {"bos_token_id": 5, "eos_token_id": 5}
SYMBOLS = np.arange(5)


def gpt2():
    return made(GPT2LMHeadModel, GPT2Config(vocab_size=7, n_embd=16, n_layer=1, n_head=2, n_positions=16, **IDS))


def rwkv():
    sizes = {"vocab_size": 7, "hidden_size": 16, "attention_hidden_size": 16, "num_hidden_layers": 2}
    return made(RwkvForCausalLM, RwkvConfig(**sizes, context_length=16, **IDS), scale=2.0)


def roberta():
    sizes = {"vocab_size": 7, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "max_position_embeddings": 20, "pad_token_id": 6, "is_decoder": True}
    return made(RobertaForCausalLM, RobertaConfig(**sizes, **IDS))


def adapted():
    from peft import LoraConfig, get_peft_model

    model = gpt2()
    model.generation_config = GenerationConfig(do_sample=True, top_k=1, temperature=0.2, max_new_tokens=3, **IDS)
    return get_peft_model(model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True))


def law_of_pairs(model) -> np.ndarray:
    """P(x_1, x_2 | BOS) over the symbols by one forward a prefix, each renormalised, `(25,)`."""

    def law(ids):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[5, *ids]]), use_cache=False).logits[0, -1, :5]
        return logits.double().softmax(-1).numpy()

    return np.concatenate([law([])[a] * law([a]) for a in range(5)])


@pytest.mark.parametrize("make", [gpt2, rwkv, roberta, adapted])
def test_the_first_tokens_have_the_law_of_the_model(make):
    model = make()
    reader = Reader.of(model, SYMBOLS)
    samples = generate(reader, np.empty((6000, 0), dtype=np.int64), 2, SYMBOLS, seed=1, batch_size=1500)
    counts = np.bincount(samples[:, 0] * 5 + samples[:, 1], minlength=25)
    expected = 6000 * law_of_pairs(model)
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    assert abs(statistic - 24) < 5 * np.sqrt(48)


def test_a_cache_is_used_only_where_it_gives_the_law(monkeypatch):
    used = []
    for name in ("_by_generate", "_by_hand"):
        original = getattr(generation, name)
        call = lambda *args, original=original, name=name, **kwargs: (used.append(name), original(*args, **kwargs))[1]  # noqa: E731
        monkeypatch.setattr(generation, name, call)
    prompts = np.empty((8, 0), dtype=np.int64)
    cached = generate(Reader.of(gpt2(), SYMBOLS), prompts, 6, SYMBOLS)
    assert used == ["_by_generate"] * 2  # a try, then all of it
    monkeypatch.setattr(generation, "_generates_its_law", lambda *args: False)
    assert (generate(Reader.of(gpt2(), SYMBOLS), prompts, 6, SYMBOLS) == cached).all()  # the same draws by hand
    monkeypatch.undo()

    class Forgets(GPT2LMHeadModel):
        """Its cache is wrong as soon as there is one."""

        def forward(self, input_ids=None, past_key_values=None, **kwargs):
            out = super().forward(input_ids=input_ids, past_key_values=past_key_values, **kwargs)
            if past_key_values is not None and past_key_values.get_seq_length() > input_ids.shape[1]:
                out.logits = out.logits.flip(-1)
            return out

    model = Forgets(gpt2().config).eval()
    model.load_state_dict(gpt2().state_dict())
    reader = Reader.of(model, SYMBOLS)
    others = torch.tensor([5, 6])
    with torch.no_grad():
        assert not generation._generates_its_law(reader, torch.full((4, 1), 5), others, 6, 0)
        assert generation._generates_its_law(Reader.of(gpt2(), SYMBOLS), torch.full((4, 1), 5), others, 6, 0)
    assert (generate(reader, prompts, 6, SYMBOLS) == cached).all()


@pytest.mark.parametrize("by_hand", [False, True])
def test_logits_that_are_no_law_are_an_error_and_never_token_0(by_hand, monkeypatch):
    class Breaks(GPT2LMHeadModel):
        """NaN once a sequence has three ids."""

        def forward(self, input_ids=None, past_key_values=None, **kwargs):
            out = super().forward(input_ids=input_ids, past_key_values=past_key_values, **kwargs)
            length = input_ids.shape[1] if past_key_values is None else past_key_values.get_seq_length()
            if self.broken and length > 3:
                out.logits = out.logits + float("nan")
            return out

    model = Breaks(gpt2().config).eval()
    model.broken = False
    reader = Reader.of(model, SYMBOLS)
    model.broken = True
    monkeypatch.setattr(generation, "_generates_its_law", lambda *args: not by_hand)
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        generate(reader, np.empty((2, 0), dtype=np.int64), 6, SYMBOLS)
    with pytest.raises(ValueError, match="batch_size=0"):
        generate(reader, np.empty((2, 0), dtype=np.int64), 6, SYMBOLS, batch_size=0)


def test_the_models_defaults_and_the_random_state_are_left_as_found():
    model = gpt2()
    defaults, state = model.generation_config, torch.get_rng_state()
    generate(Reader.of(model, SYMBOLS), np.empty((4, 0), dtype=np.int64), 4, SYMBOLS)
    assert model.generation_config is defaults
    assert torch.equal(torch.get_rng_state(), state)


def test_an_oracle_that_gives_no_symbol_any_probability_is_refused():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    reader = Reader.of(RHMForCausalLM.from_grammar(grammar), np.arange(8))
    with pytest.raises(ValueError, match="no symbol of the text any probability"):
        generate(reader, grammar.sample(2).astype(np.int64), 2, np.arange(8))  # after a sentence there is END alone
