"""What a model is, is found out from what it does: the same number whatever is around it, or a refusal."""

import copy
import random

import numpy as np
import pytest
import torch
from large_weights import made
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
    FlaubertConfig,
    FlaubertWithLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    MptConfig,
    MptForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    ReformerConfig,
    ReformerModelWithLMHead,
    RobertaConfig,
    RobertaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLMConfig,
    XLMWithLMHeadModel,
    XLNetConfig,
    XLNetLMHeadModel,
)

from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification
from rhm_hf.inference import next_token_probs, posteriors
from rhm_hf.judging.bare import bare_model, evaluating
from rhm_hf.judging.hiding import hiding
from rhm_hf.judging.loading import ModelCache, load_model
from rhm_hf.judging.models import check_reads_as, read_model
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity


# peft asks transformers under an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
GRAMMAR = Grammar.from_name("v16-m4-s2-L3")
ROWS = GRAMMAR.sample(6, sampling="iid").astype(np.int64)
IDS = {"bos_token_id": 16, "eos_token_id": 16, "pad_token_id": 17}
SMALL = {"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 32, "max_position_embeddings": 24, **IDS}
ENCODER_DECODER = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
ENCODER_DECODER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}


def bert(**kwargs):
    return made(BertForMaskedLM, BertConfig(**SMALL, **kwargs))


def gpt2(positions=24, **kwargs):
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": positions, "vocab_size": 19}
    return made(GPT2LMHeadModel, GPT2Config(**sizes, **IDS, **kwargs))


def xlm(model_class=XLMWithLMHeadModel, config_class=XLMConfig):
    sizes = {"vocab_size": 19, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 24}
    ids = {"bos_index": 16, "eos_index": 16, "pad_index": 17, "mask_index": 18}
    return made(model_class, config_class(**sizes, **ids, **IDS, mask_token_id=18))


def bart():
    config = BartConfig(vocab_size=19, d_model=16, **ENCODER_DECODER, max_position_embeddings=24, **IDS)
    config.decoder_start_token_id, config.forced_eos_token_id = 16, None
    return made(BartForConditionalGeneration, config)


def masked_kl(model, with_bos: bool, mask_probability=0.15) -> float:
    """KL of a masked model by hand, nats per hidden token: MASK in, its row out."""
    tokens = torch.from_numpy(ROWS)
    numbers = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hidden = (numbers < mask_probability) | (numbers == numbers.amin(1, keepdim=True))
    ids = torch.where(hidden, 18, tokens)
    ids = torch.cat([ids.new_full((len(ids), 1), 16), ids], 1) if with_bos else ids
    with torch.no_grad():
        log_q = model(input_ids=ids).logits[:, with_bos:].double().log_softmax(-1)[..., :16]
    p = posteriors(GRAMMAR, tokens=tokens, mask=hidden)[0]
    kl = torch.where(p > 0, torch.xlogy(p, p) - p * log_q, 0).sum(-1)
    return float(kl[hidden].mean())


def causal_kl(model) -> list[float]:
    """KL of a causal model by one forward for every prefix and sentence."""
    laws, kl = next_token_probs(GRAMMAR, ROWS), torch.zeros(ROWS.shape, dtype=torch.float64)
    for n, row in enumerate(ROWS.tolist()):
        for i in range(len(row)):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[16, *row[:i]]]), use_cache=False).logits[0, -1]
            p, log_q = laws[n, i], logits.double().log_softmax(-1)[:16]
            kl[n, i] = torch.where(p > 0, torch.xlogy(p, p) - p * log_q, 0).sum()
    return kl.mean(0).tolist()


class NamedOtherwise(BertForMaskedLM):
    pass


def peft(model, **kwargs):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=["query", "value"], **kwargs))


AROUND = {
    "compile": lambda model: torch.compile(model, backend="eager"),
    "peft": peft,
    "compiled peft": lambda model: torch.compile(peft(model), backend="eager"),
    "data parallel": torch.nn.DataParallel,
    "subclass": lambda model: _as(NamedOtherwise, model),
}


def _as(cls, model):
    other = cls(model.config)
    other.load_state_dict(model.state_dict())
    return other.eval()


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_masked_model_is_one_whatever_is_around_it_and_however_it_is_named(around):
    model = bert()
    found = kl_divergence(around(model), GRAMMAR, ROWS)
    assert found["kl"] == pytest.approx(masked_kl(model, with_bos=True), rel=1e-5)
    assert (found["read_as"], found["bos"]) == ("masked", 16)


class Around(torch.nn.Module):
    """A wrapper as people write them, around `.module` as DDP has it."""

    def __init__(self, module, change=lambda logits: logits, **kept):
        super().__init__()
        self.module, self.change = module, change
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, *args, **kwargs):
        out = self.module(*args, **kwargs)
        out.logits = self.change(out.logits)
        return out


def test_wrappers_of_no_library_are_looked_into_where_they_change_nothing():
    model = bert()
    assert kl_divergence(Around(model), GRAMMAR, ROWS) == kl_divergence(model, GRAMMAR, ROWS)
    with pytest.raises(ValueError, match="gives other logits than the whole"):
        kl_divergence(Around(model, lambda logits: 2 * logits), GRAMMAR, ROWS)
    with pytest.raises(ValueError, match="around the BertForMaskedLM does not read ids as that does"):
        kl_divergence(Around(model, lambda logits: logits.nonsense), GRAMMAR, ROWS)
    with pytest.raises(ValueError, match=r"no model of transformers: pass what is in it, .*\.module"):
        kl_divergence(Around(model, config=model.config), GRAMMAR, ROWS)


def test_shards_of_one_process_are_read_like_the_whole(tmp_path):
    import torch.distributed as distributed
    from torch.distributed.fsdp import fully_shard

    model = bert()
    plain = kl_divergence(model, GRAMMAR, ROWS)["kl"]
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        assert kl_divergence(torch.nn.parallel.DistributedDataParallel(model), GRAMMAR, ROWS)["kl"] == plain
        sharded = copy.deepcopy(model)
        fully_shard(sharded)
        assert kl_divergence(sharded, GRAMMAR, ROWS)["kl"] == pytest.approx(plain, rel=1e-5)
    finally:
        distributed.destroy_process_group()


def test_a_compiled_oracle_has_no_divergence():
    for cls in (RHMForMaskedLM, RHMForCausalLM):
        compiled = torch.compile(cls.from_grammar(GRAMMAR), backend="eager")
        assert kl_divergence(compiled, GRAMMAR, ROWS)["kl"] < 1e-9
    assert ModelCache().resolve(compiled)[1] == GRAMMAR


@pytest.mark.parametrize("make", [xlm, lambda: xlm(FlaubertWithLMHeadModel, FlaubertConfig), bart])
def test_what_transformers_maps_as_masked_is_read_as_masked(make):
    model = make()
    found = kl_divergence(model, GRAMMAR, ROWS, mask_token_id=18)
    assert found["read_as"] == "masked"
    assert found["kl"] == pytest.approx(masked_kl(model, with_bos=True), rel=1e-5)


def test_a_causal_head_on_attention_both_ways_is_refused(tmp_path):
    bert().save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"BertLMHeadModel that reads both ways.*reads the answer.*is_decoder=True"):
        kl_divergence(model, GRAMMAR, ROWS)
    with pytest.raises(ValueError, match="reads the answer"):
        loss_by_context(model, ROWS, windows="rows")
    with pytest.raises(ValueError, match="reads the answer"):
        synonym_sensitivity(model, GRAMMAR, ROWS)
    assert read_model(model, read_as="masked").read_as == "masked"  # where that is what it was trained as
    xlnet = XLNetConfig(vocab_size=19, d_model=16, n_layer=2, n_head=2, d_inner=16)
    with pytest.raises(ValueError, match="reads the answer"):
        read_model(made(XLNetLMHeadModel, xlnet))
    decoder = made(BertLMHeadModel, BertConfig(**SMALL, is_decoder=True))
    assert kl_divergence(decoder, GRAMMAR, ROWS)["kl_per_position"] == pytest.approx(causal_kl(decoder), rel=1e-4)


def test_a_leak_is_seen_in_half_precision_and_in_fresh_weights():
    config = BertConfig(**SMALL)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        torch.manual_seed(0)
        with pytest.raises(ValueError, match="reads the answer"):
            read_model(BertLMHeadModel(config).to(dtype))
        assert read_model(gpt2().to(dtype)).is_causal


def test_a_training_run_is_told_before_it_starts():
    torch.manual_seed(0)
    model = BertLMHeadModel(BertConfig(**SMALL))
    with torch.no_grad():  # so that nothing is read yet, as where residual branches start at zero
        for layer in model.bert.encoder.layer:
            layer.attention.output.dense.weight.zero_()
    before = copy.deepcopy(model.state_dict())
    assert read_model(model).is_causal
    with pytest.raises(ValueError, match="reads the answer"):
        check_reads_as(model, "causal")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    check_reads_as(model, "masked")
    check_reads_as(gpt2(), "causal")
    with pytest.raises(ValueError, match="sees only what lies before"):
        check_reads_as(gpt2(), "masked")
    check_reads_as(made(BertForSequenceClassification, BertConfig(**SMALL)), "classifier")
    with pytest.raises(ValueError, match="not of a class"):
        check_reads_as(gpt2(), "classifier")


def test_sequence_to_sequence_models_base_models_and_others_are_refused_in_a_sentence():
    t5 = T5Config(vocab_size=19, d_model=16, num_layers=1, num_heads=2, d_kv=8, d_ff=16)
    with pytest.raises(ValueError, match="its encoder reads the tokens that would be judged"):
        kl_divergence(T5ForConditionalGeneration(t5), GRAMMAR, ROWS)
    with pytest.raises(ValueError, match=r"BertModel, which gives no logits: a base model"):
        kl_divergence(BertModel(BertConfig(**SMALL)), GRAMMAR, ROWS)
    classifier = made(BertForSequenceClassification, BertConfig(**SMALL))
    with pytest.raises(ValueError, match="without a law of tokens"):
        kl_divergence(classifier, GRAMMAR, ROWS)
    with pytest.raises(ValueError, match="2 logits at every place and reads 19 ids"):
        kl_divergence(made(BertForTokenClassification, BertConfig(**SMALL)), GRAMMAR, ROWS)
    as_many_labels = made(BertForTokenClassification, BertConfig(**SMALL, num_labels=19))
    with pytest.raises(ValueError, match="labels tokens: its logits are no law"):
        kl_divergence(as_many_labels, GRAMMAR, ROWS)
    with pytest.raises(ValueError, match="without a configuration"):
        read_model(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="model is a str"):
        read_model("gpt2")
    with pytest.raises(ValueError, match="read_as='both' is unknown"):
        read_model(gpt2(), read_as="both")
    broken = gpt2()
    torch.nn.init.constant_(broken.transformer.wte.weight, float("nan"))
    with pytest.raises(ValueError, match="logits are NaN"):
        read_model(broken)


def test_a_classifier_gets_no_bos_whatever_is_around_it():
    model = made(BertForSequenceClassification, BertConfig(**SMALL))
    plain = synonym_sensitivity(model, GRAMMAR, ROWS)
    assert (plain["read_as"], plain["bos"]) == ("classifier", None)
    for name in ("compile", "peft"):
        assert synonym_sensitivity(AROUND[name](model), GRAMMAR, ROWS) == plain


def test_a_changed_adapter_is_judged_and_a_learnt_prompt_is_not_lost():
    from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

    adapted = peft(bert(), init_lora_weights=False)
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert kl_divergence(adapted, GRAMMAR, ROWS)["kl"] == pytest.approx(masked_kl(merged, True), rel=1e-4)
    sizes = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
    prefixed = get_peft_model(gpt2(), PrefixTuningConfig(**sizes))
    assert read_model(prefixed).model is prefixed
    with pytest.raises(ValueError, match="logits at 15 places for 12 ids"):
        read_model(get_peft_model(gpt2(), PromptTuningConfig(**sizes)))


def test_random_models_are_refused_unless_their_seed_is_set():
    kwargs = {"is_decoder": True, "attn_layers": ["lsh"], "axial_pos_shape": [4, 6], "axial_pos_embds_dim": [8, 8]}
    kwargs |= {"hidden_size": 16, "num_attention_heads": 2, "attention_head_size": 8, "feed_forward_size": 16}
    kwargs |= {"lsh_attn_chunk_length": 4, "num_buckets": 2, "vocab_size": 19, "max_position_embeddings": 24, **IDS}
    with pytest.raises(ValueError, match=r"other logits when the same ids are read again.*hash_seed"):
        read_model(made(ReformerModelWithLMHead, ReformerConfig(**kwargs)))
    with pytest.raises(ValueError, match="reads the answer"):  # later ids change the buckets of earlier ones
        read_model(made(ReformerModelWithLMHead, ReformerConfig(**kwargs, hash_seed=0)))


def test_limits_under_other_names_and_short_contexts():
    mpt = MptConfig(vocab_size=19, d_model=16, n_heads=2, n_layers=2, max_seq_len=6, **IDS)
    assert read_model(made(MptForCausalLM, mpt)).longest == 6
    with pytest.raises(ValueError, match=r"at most 5 ids \(n_positions\)"):
        synonym_sensitivity(gpt2(positions=5), GRAMMAR, ROWS)
    text = np.random.default_rng(0).integers(0, 16, 400)
    for paired in (False, True):  # BOS, and the last position, which no label taught to predict
        found = loss_by_context(gpt2(positions=5), text, num_windows=20, paired=paired)
        assert found["context_lengths"] == [0, 1, 2, 3]
    roberta = RobertaConfig(**SMALL | {"pad_token_id": 1}, is_decoder=True)
    assert read_model(made(RobertaForCausalLM, roberta)).longest == 22  # positions count from the padding's id + 1


def test_positions_that_count_from_the_padding_are_kept():
    roberta = RobertaConfig(**SMALL | {"pad_token_id": 3, "max_position_embeddings": 40}, is_decoder=True)
    model = made(RobertaForCausalLM, roberta)
    inputs = torch.randint(4, 16, (2, 8), generator=torch.Generator().manual_seed(0))
    assert hiding(read_model(model), inputs).offset == 4
    rows = 4 + ROWS % 12
    found = loss_by_context(model, rows, windows="rows", paired=True, context_lengths=[3, 7])
    ids = torch.from_numpy(np.insert(rows, 0, 16, axis=1))
    with torch.no_grad():
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits[:, -1].log_softmax(-1)
    assert found["loss"][1] == pytest.approx(-logits.gather(1, ids[:, -1:]).mean().item(), rel=1e-5)


def test_a_recurrent_state_that_reads_hidden_tokens_is_refused():
    config = RecurrentGemmaConfig(
        vocab_size=19, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, lru_width=16,
        attention_window_size=16, block_types=["recurrent", "recurrent"], **IDS,
    )  # fmt: skip
    model = made(RecurrentGemmaForCausalLM, config)
    assert kl_divergence(model, GRAMMAR, ROWS)["kl_per_position"] == pytest.approx(causal_kl(model), rel=1e-3)
    with pytest.raises(ValueError, match="a recurrent state reads them"):
        loss_by_context(model, ROWS, windows="rows", paired=True)


def test_heads_in_half_precision_on_trunks_that_are_not():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(
        vocab_size=19, hidden_size=16, num_hidden_layers=2, state_size=4, residual_in_fp32=True, **IDS
    )
    model = made(MambaForCausalLM, config, scale=1.0).to(torch.bfloat16)
    text = np.random.default_rng(0).integers(0, 16, 400)
    assert np.isfinite(loss_by_context(model, text, max_context=8, num_windows=8)["loss"]).all()


def test_layers_that_hold_no_position_are_refused():
    class Streams(GPT2LMHeadModel):
        how = staticmethod(lambda states: states)

        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            if out.hidden_states is not None:
                out.hidden_states = tuple(self.how(state) for state in out.hidden_states)
            return out

    model = _as(Streams, gpt2())
    assert synonym_sensitivity(model, GRAMMAR, ROWS)["levels"] == [1, 2, 3]
    for how in (
        lambda h: h[:, :, None],  # streams of every position
        lambda h: h[None],
        lambda h: h.transpose(0, 1),
        lambda h: torch.nn.functional.pad(h, (0, 0, 0, 3)),  # padded to whole chunks
        lambda h: h[:, :3] + h.mean(1, keepdim=True),  # latents
        lambda h: h.flatten(0, 1),
    ):
        model.how = how
        with pytest.raises(ValueError, match="holds no vector for each position"):
            synonym_sensitivity(model, GRAMMAR, ROWS)


def test_the_caller_is_left_as_found():
    model = gpt2()
    model.train()
    model.transformer.h[0].eval()  # a frozen part
    config, random_states = model.generation_config, (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    python, modes = random.getstate(), [module.training for module in model.modules()]
    kl_divergence(model, GRAMMAR, ROWS)
    loss_by_context(model, ROWS, windows="rows")
    synonym_sensitivity(model, GRAMMAR, ROWS)
    with evaluating(model):
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert (np.random.get_state()[1] == random_states[1]).all()  # noqa: NPY002
    assert random.getstate() == python
    assert model.generation_config is config


def test_directories_are_loaded_as_what_their_weights_are(tmp_path):
    classifier = made(BertForSequenceClassification, BertConfig(**SMALL))
    for name, model in {"masked": bert(), "causal": gpt2(), "classifier": classifier}.items():
        model.save_pretrained(tmp_path / name)
        assert type(load_model(str(tmp_path / name))) is type(model)
    NamedOtherwise(BertConfig(**SMALL)).save_pretrained(tmp_path / "other")
    assert type(load_model(str(tmp_path / "other"))) is BertForMaskedLM  # its weights are no causal law's
    BertModel(BertConfig(**SMALL)).save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match=r"weights of BertModel.*A base model has no head"):
        load_model(str(tmp_path / "base"))
    T5ForConditionalGeneration(
        T5Config(vocab_size=19, d_model=16, num_layers=1, num_heads=2, d_kv=8, d_ff=16)
    ).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="no causal or masked model"):
        load_model(str(tmp_path / "t5"))
    adapted = peft(load_model(str(tmp_path / "masked")), init_lora_weights=False)
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_model(str(tmp_path / "adapter"))
    expected = kl_divergence(adapted, GRAMMAR, ROWS)["kl"]
    assert kl_divergence(loaded, GRAMMAR, ROWS)["kl"] == pytest.approx(expected)


def test_a_place_without_a_model_is_named(tmp_path):
    for place, what in ((tmp_path, "a directory without a readable config"), (tmp_path / "none", "no directory here")):
        with pytest.raises(ValueError, match=f"no model can be loaded from .*it is {what}"):
            load_model(str(place))


def test_a_model_overwritten_in_place_is_loaded_anew_even_with_its_old_times(tmp_path):
    import os

    cache, model = ModelCache(), gpt2()
    model.save_pretrained(tmp_path)
    first = cache.load(str(tmp_path))
    assert cache.load(str(tmp_path)) is first
    weights = tmp_path / "model.safetensors"
    times = weights.stat()
    with torch.no_grad():
        model.transformer.wte.weight.add_(1)
    model.save_pretrained(tmp_path)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not torch.equal(cache.load(str(tmp_path)).transformer.wte.weight, first.transformer.wte.weight)


def test_a_folder_with_a_grammar_that_one_stands_in_is_not_the_models(tmp_path, monkeypatch):
    GRAMMAR.save_pretrained(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"grammar=None.*an instance without a path"):
        ModelCache().resolve(gpt2())


def test_bare_models():
    model = bert()
    assert bare_model(torch.nn.DataParallel(torch.compile(model, backend="eager"))) is model
    oracle = RHMForSequenceClassification.from_grammar(GRAMMAR)
    assert read_model(torch.compile(oracle, backend="eager")).read_as == "classifier"


def test_rwkv_in_batches():
    sizes = {"vocab_size": 19, "hidden_size": 16, "num_hidden_layers": 2, "context_length": 24}
    config = RwkvConfig(**sizes, attention_hidden_size=16, bos_token_id=16, eos_token_id=16)
    model = made(RwkvForCausalLM, config, scale=1.0)
    assert kl_divergence(model, GRAMMAR, ROWS)["kl_per_position"] == pytest.approx(causal_kl(model), rel=1e-3)
