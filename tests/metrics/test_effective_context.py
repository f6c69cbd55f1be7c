"""The metric `effective_context`: models of known memory, samples, tokenizers, bad input."""

import pydoc_data.topics

import datasets
import evaluate
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import rhm_hf
from rhm_hf import Grammar, NGramForCausalLM, RHMForCausalLM
from rhm_hf.data import char_corpus
from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.effective_context import effective_context, generate


ENGLISH = "".join(pydoc_data.topics.topics.values())[:300_000]
GRAMMAR = Grammar.from_name("v8-m2-s2-L3")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "english.txt"
    letters = "".join(c if c.isalpha() and c.isascii() else " " for c in ENGLISH.lower())
    path.write_text(" ".join(letters.split()))
    return char_corpus(text_file=path)


def gpt2(num_ids, positions=33, bos=None, **kwargs):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=num_ids, n_positions=positions, n_embd=16, n_layer=1, n_head=2, bos_token_id=bos, eos_token_id=bos
    )
    return GPT2LMHeadModel(config)


@pytest.mark.parametrize("order", [2, 3])
def test_text_of_an_n_gram_model_agrees_up_to_its_memory(corpus, order):
    """A trigram model knows two tokens before the next one: t_agree = 2; a bigram model 1."""
    text = corpus.splits["train"]
    # Almost no smoothing: the law of the corpus itself.
    model = NGramForCausalLM.fit(
        text.ids, order=order, num_symbols=corpus.num_symbols, tied=True, smoothing="add_k", add_k=1e-9
    )
    found = effective_context(
        text,
        model=model,
        prompt_length=order - 1,
        num_tokens=2**16,
        length=32,
        distances=range(1, 9),
        loss_context=False,
    )
    assert (found["t_agree"], found["censored"]) == (order - 1, False)
    assert found["t_res"] == 8
    assert max(found["relative_difference"][: order - 1]) < 0.05
    assert found["relative_difference"][order - 1] > 0.15
    assert found["generated"]["num_tokens"] == 2**16


def test_oracle_agrees_as_far_as_can_be_told_and_its_truncation_does_not():
    sentences = GRAMMAR.sample(512)
    oracle, pairs = (RHMForCausalLM.from_grammar(GRAMMAR, context_level=level) for level in (None, 1))
    metric = evaluate.load("effective_context")
    found = metric.compute(corpus=sentences, model=oracle, num_tokens=2**15)
    assert found["censored"]
    assert found["t_agree"] == found["t_res"] >= 3
    assert (found["length"], found["distances"], found["n_sat"]) == (8, list(range(1, 8)), None)
    assert metric.compute(corpus=sentences, model=pairs, num_tokens=2**15)["t_agree"] == 1


def test_samples_are_judged_like_those_of_a_model():
    metric = rhm_hf.load_metric("effective_context")
    result = metric.compute(corpus=GRAMMAR.sample(512), generated=GRAMMAR.sample(2000, seed=3, sampling="iid"))
    assert result["censored"]
    other = Grammar.from_name("v8-m2-s2-L3", rules_seed=5).sample(2000, sampling="iid")
    result = metric.compute(corpus=GRAMMAR.sample(512), generated=other.tolist())
    assert (result["t_agree"], result["censored"]) == (0, False)
    assert result["n_sat"] is None
    assert "length" not in result


def test_datasets_columns_tensors_and_lists_are_the_same_corpus():
    rows = GRAMMAR.sample(300, sampling="iid")  # a dataset of distinct sentences says more than their rows
    sizes = {"train_size": 300, "validation_size": 0, "test_size": 0}
    dataset = datasets.load_dataset("rhm", "v8-m2-s2-L3", sampling="iid", **sizes)["train"]
    kinds = [rows, rows.tolist(), torch.from_numpy(rows), dataset, dataset["input_ids"]]
    samples = GRAMMAR.sample(500, seed=3, sampling="iid")
    results = [effective_context(kind, samples) for kind in kinds]
    assert all(result == results[0] for result in results)
    with pytest.raises(ValueError, match="streaming"):
        effective_context(dataset.to_iterable_dataset(), samples)


def test_generation_follows_the_models_own_law_whatever_defaults_it_was_saved_with():
    model = gpt2(12, bos=11)
    model.generation_config.top_k, model.generation_config.temperature = 1, 0.1
    model.generation_config.max_new_tokens = 3
    reader = Reader.of(model, np.arange(10))
    state, saved = torch.get_rng_state(), model.generation_config.to_dict()
    tokens = generate(reader, np.empty((4000, 0), int), 2, np.arange(10), seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.generation_config.to_dict() == saved
    assert np.array_equal(tokens, generate(reader, np.empty((4000, 0), int), 2, np.arange(10), seed=1))
    assert not np.array_equal(tokens, generate(reader, np.empty((4000, 0), int), 2, np.arange(10), seed=2))
    with torch.no_grad():
        law = model(torch.tensor([[11]])).logits[0, -1, :10].softmax(-1).numpy()  # ids 10 and 11 are no symbols
    counts = np.bincount(tokens[:, 0], minlength=10)
    assert len(counts) == 10
    assert ((counts - 4000 * law) ** 2 / (4000 * law)).sum() < 33.7  # chi-squared, 9 degrees: p = 1e-4


def bpe_tokenizer():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], show_progress=False)
    backend.train_from_iterator([ENGLISH[:50_000]], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<s>")


def test_model_directory_with_its_own_tokenizer(tmp_path):
    tokenizer = bpe_tokenizer()
    gpt2(len(tokenizer) + 4, bos=tokenizer.bos_token_id).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    options = {"num_tokens": 8000, "num_windows": 32, "distances": range(1, 9)}
    result = rhm_hf.load_metric("effective_context").compute(corpus=ENGLISH[:20_000], model=str(tmp_path), **options)
    assert result["length"] == 32
    assert (result["vocab_size"], result["n_max"]) == (len(tokenizer), 31)
    assert result["t_agree"] == 0  # it was not trained
    assert not result["censored"]
    for name in ("token_correlations", "context_loss"):
        metric = rhm_hf.load_metric(name)
        if name == "token_correlations":
            found = metric.compute(data=ENGLISH[:20_000], tokenizer=str(tmp_path), distances=[1, 2, 4])
            assert found["vocab_size"] == len(tokenizer)
        else:
            found = metric.compute(texts=ENGLISH[:20_000], model=str(tmp_path), per="character", num_windows=32)
            assert found["loss"][0] > 0


def test_model_without_bos_begins_with_tokens_of_the_corpus():
    ids = np.random.default_rng(0).integers(0, 12, 4000)
    options = {"model": gpt2(12), "num_tokens": 4000, "loss_context": False}
    result = effective_context(ids, bos=False, **options)
    assert (result["prompt_length"], result["length"]) == (1, 32)
    with pytest.raises(ValueError, match="bos"):
        effective_context(ids, **options)


TEXT = np.random.default_rng(1).integers(0, 10, 3000)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"corpus": TEXT}, "give one of the two"),
        ({"corpus": TEXT, "generated": TEXT, "model": gpt2(12)}, "give one of the two"),
        ({"corpus": [], "generated": TEXT}, "empty"),
        ({"corpus": TEXT, "generated": TEXT[:1]}, "distance"),
        ({"corpus": np.zeros(500, int), "generated": TEXT}, "one distinct"),
        ({"corpus": TEXT, "generated": TEXT, "distances": [5000]}, "5000"),
        ({"corpus": "some text", "generated": "some other"}, "tokenizer=None"),
        ({"corpus": GRAMMAR.sample(64), "generated": [[1, 2], [3, 4, 5]]}, "several lengths"),
        ({"corpus": TEXT, "model": gpt2(12, bos=11), "length": 40}, "length=40.* 32 positions"),
        ({"corpus": TEXT, "model": gpt2(12, bos=11), "distances": [1, 32]}, "reach beyond"),
        ({"corpus": TEXT, "model": gpt2(12, bos=11), "prompt_length": -1}, "prompt_length=-1"),
        ({"corpus": TEXT + 5, "model": gpt2(12, bos=11)}, "another tokenizer"),
    ],
    ids=range(12),
)
def test_bad_input_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        effective_context(**arguments)


def test_broken_weights_are_named():
    model = gpt2(12, bos=11)
    torch.nn.init.constant_(model.transformer.ln_f.weight, float("nan"))
    with pytest.raises(ValueError, match="logits are NaN"):
        effective_context(TEXT, model=model, num_tokens=100)


def test_masked_models_do_not_generate():
    config = BertConfig(
        vocab_size=14, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.mask_token_id, config.bos_token_id = 12, 13
    with pytest.raises(ValueError, match="only causal models generate"):
        effective_context(TEXT, model=BertForMaskedLM(config), bos=False)
