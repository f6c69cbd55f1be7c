"""Symbol k has id k; BOS, PAD and MASK follow; batches for causal models start with BOS."""

import numpy as np
import pytest
import torch
from datasets import load_dataset
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

from rhm_hf import Grammar, RHMCollator, RHMForCausalLM, rhm_tokenizer


@pytest.mark.parametrize("num_symbols", [1, 3, 16, 70_000])
def test_symbol_k_has_id_k_and_comes_back(num_symbols, tmp_path):
    tokenizer = rhm_tokenizer(num_symbols)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    symbols = np.random.default_rng(0).integers(num_symbols, size=500).tolist()
    text = " ".join(map(str, symbols))
    for each in (tokenizer, loaded):
        assert each(text)["input_ids"] == symbols
        assert each.decode(symbols) == " " + text
        assert each.decode(symbols[:7]) + each.decode(symbols[7:]) == " " + text  # pieces join up
        assert each.decode([num_symbols, *symbols, num_symbols + 1], skip_special_tokens=True) == " " + text
        ids = (each.bos_token_id, each.eos_token_id, each.pad_token_id, each.mask_token_id)
        assert ids == (num_symbols, num_symbols, num_symbols + 1, num_symbols + 2)
        assert len(each) == num_symbols + 3
        assert each(f"{each.bos_token} 0{each.mask_token}")["input_ids"] == [num_symbols, 0, num_symbols + 2]


def test_a_pipelines_text_is_the_prompt_and_what_was_generated():
    from transformers import pipeline

    grammar = Grammar.from_name("v16-m4-s2-L3")
    generate = pipeline("text-generation", RHMForCausalLM.from_grammar(grammar), tokenizer=rhm_tokenizer(16))
    prompts = [" ".join(map(str, row[:3])) for row in grammar.sample(20, sampling="iid")]
    for prompt, (found,) in zip(prompts, generate(prompts, max_new_tokens=5), strict=True):
        text = found["generated_text"]
        assert text.startswith(prompt + " ")
        grammar.index(np.array(text.split(), dtype=int))  # a sentence, or this raises


def test_words_that_are_no_symbols_are_an_error():
    for word in ("16", "-1", "x", "01"):
        with pytest.raises(Exception, match=r"WordLevel error|\[UNK\]"):
            rhm_tokenizer(16)(f"3 {word}")


def test_padding_uses_pad():
    batch = rhm_tokenizer(4)(["0 1 2", "3"], padding=True)
    assert batch["input_ids"] == [[0, 1, 2], [3, 5, 5]]


@pytest.mark.parametrize("num_symbols", [0, -3, 2.5, "4", None])
def test_the_tokenizer_refuses_other_numbers_of_symbols(num_symbols):
    with pytest.raises(ValueError, match="num_symbols="):
        rhm_tokenizer(num_symbols)


def test_the_collator_prepends_bos():
    rows = [
        {"input_ids": [0, 1, 255], "label": 1, "level_1": [1, 2]},
        {"input_ids": [3, 2, 1], "label": 0, "level_1": [0, 0]},
    ]
    batch = RHMCollator(num_symbols=256)(rows)
    assert batch.keys() == {"input_ids", "labels"}
    assert batch["input_ids"].tolist() == [[256, 0, 1, 255], [256, 3, 2, 1]]
    assert batch["input_ids"].dtype == torch.int64
    assert torch.equal(batch["labels"], batch["input_ids"])
    assert batch["labels"].data_ptr() != batch["input_ids"].data_ptr()
    batch = RHMCollator(num_symbols=256, columns=["label", "level_1"])(rows)
    assert (batch["label"].tolist(), batch["level_1"].tolist()) == ([1, 0], [[1, 2], [0, 0]])


@pytest.mark.parametrize("as_row", [np.uint8, np.int32, torch.tensor])
def test_the_collator_takes_arrays_and_tensors(as_row):
    make = as_row if as_row is torch.tensor else (lambda row: np.array(row, dtype=as_row))
    batch = RHMCollator(num_symbols=4)([{"input_ids": make([0, 1])}, {"input_ids": make([3, 2])}])
    assert batch["input_ids"].tolist() == [[4, 0, 1], [4, 3, 2]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"input_ids": [0, 4]}], "input_ids holds 4: with num_symbols=4 symbols are 0 to 3"),
        ([{"input_ids": [0, -1]}], "input_ids holds -1"),
        ([{"input_ids": [0, 1]}, {"input_ids": [0]}], "rows of input_ids differ in length"),
        ([{"input_ids": 3}], r"input_ids holds a row of shape \(\)"),
        ([{"input_ids": [0.5, 1.0]}], "input_ids has dtype float64"),
        ([{"tokens": [0, 1]}], "column 'input_ids' is missing: the rows have tokens"),
        ([], "no rows"),
    ],
)
def test_the_collator_refuses_what_it_cannot_batch(rows, message):
    with pytest.raises(ValueError, match=message):
        RHMCollator(num_symbols=4)(rows)


def test_the_stock_trainer_runs(tmp_path):
    dataset = load_dataset(
        "rhm", "v4-m2-s2-L2", train_size=16, test_size=8, validation_size=0, cache_dir=str(tmp_path)
    )
    config = GPT2Config(
        vocab_size=7, n_positions=5, n_embd=16, n_layer=1, n_head=2, bos_token_id=4, eos_token_id=4, pad_token_id=5
    )
    torch.manual_seed(0)
    arguments = TrainingArguments(
        tmp_path / "run", max_steps=2, per_device_train_batch_size=4, use_cpu=True, logging_steps=1, disable_tqdm=True
    )
    trainer = Trainer(
        GPT2LMHeadModel(config),
        arguments,
        train_dataset=dataset["train"],
        eval_dataset=dataset["test"],
        data_collator=RHMCollator(num_symbols=4),
    )
    losses = [trainer.train().training_loss, trainer.evaluate()["eval_loss"]]
    assert all(1 < loss < 2.5 for loss in losses)  # near log 7 = 1.95 nats a token
