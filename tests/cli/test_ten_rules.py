"""A person with ten rules in a file: data set, oracle, trained GPT-2 and its exact KL, by the commands of the RHM."""

import csv
import json

import pytest
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from rhm_hf import Grammar, RHMForCausalLM, grammar_of, load_metric, rhm_tokenizer


RULES = """
# Orders at a counter.
S -> Greeting Order [0.6] | Order [0.4]
Greeting -> hello | good morning
Order -> Item please [0.7] | Item and Order [0.3]
Item -> a Drink | two Drink
Drink -> tea [0.5] | coffee [0.5]
"""
SENTENCE = "hello two tea and a coffee please"


@pytest.fixture
def rules(tmp_path, monkeypatch):
    """The file, in the folder that the person stands in."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    (tmp_path / "orders.cfg").write_text(RULES)
    yield "orders.cfg"
    torch.set_num_threads(threads)


def test_ten_rules_get_all_that_the_rhm_has(rules, rhm, tmp_path):
    grammar = Grammar.from_file(rules)
    assert grammar.rules.num_rules == 10

    # What is known exactly, and that it is right.
    info = json.loads(rhm("info", rules, "--json").stdout)
    assert info["fingerprint"] == grammar.fingerprint
    assert info["entropy"] == pytest.approx(grammar.entropy)
    shown = rhm("show", rules, "--seed", 3)
    assert shown.exit_code == 0, shown.output
    assert "please" in shown.stdout
    verified = rhm("verify", rules)
    assert verified.exit_code == 0, verified.output

    # A data set with its tokenizer, and an oracle.
    sizes = {"train_size": 64, "validation_size": 16, "test_size": 16, "cache_dir": str(tmp_path / "cache")}
    dataset = load_dataset("rhm", rules, **sizes)
    assert grammar_of(dataset) == grammar
    tokenizer = rhm_tokenizer(grammar_of(dataset))
    ids = tokenizer(SENTENCE)["input_ids"]
    assert ids == grammar.encode(SENTENCE)
    oracle = RHMForCausalLM.from_grammar(rules)
    kl = load_metric("rhm_kl")
    assert abs(kl.compute(model=oracle, grammar=rules, input_ids=dataset["test"]["input_ids"])["kl"]) < 1e-9
    torch.manual_seed(0)
    made = oracle.generate(torch.tensor([[grammar.vocab_size, *ids[:2]]]))[0]
    text = tokenizer.decode(made, skip_special_tokens=True).split()
    assert text[:2] == ["hello", "two"]
    assert load_metric("grammaticality").compute(input_ids=[tokenizer(" ".join(text))["input_ids"]], grammar=rules)[
        "valid"
    ]

    # A trained GPT-2, and its exact KL: in its table, by the metric, by the command.
    words = ["train", "--grammar", rules, "--output_dir", "run", "--num_train", 64, "--num_validation", 16]
    words += ["--num_test", 16, "--batch_size", 16, "--max_steps", 4, "--num_evaluations", 2, "--kl_sentences", 32]
    words += ["--config_overrides", '{"n_embd": 16, "n_layer": 1, "n_head": 2}', "--num_threads", 1]
    trained = rhm(*words)
    assert trained.exit_code == 0, trained.output
    with open("run/results.csv") as file:
        best = next(row for row in csv.DictReader(file) if row["best"] == "1")
    judged = kl.compute(model="run/model", grammar=rules, num_sentences=32)
    assert judged["kl"] == pytest.approx(float(best["kl"]), abs=1e-5)
    assert judged["kl"] > 0.01
    found = json.loads(rhm("kl", "run", rules, "--num_sentences", 32, "--json").stdout)
    assert found["kl"] == pytest.approx(judged["kl"], abs=1e-9)
    beside = json.loads(rhm("kl", "run", "--num_sentences", 32, "--json").stdout)  # the grammar beside the model
    assert beside["kl"] == pytest.approx(judged["kl"], abs=1e-9)
    assert AutoTokenizer.from_pretrained("run/model").decode(ids) == f" {SENTENCE}"
    assert AutoModelForCausalLM.from_pretrained("run/model").config.vocab_size == grammar.vocab_size + 3

    # Where it sits, and what a perfect model believes.
    by_rule = json.loads(rhm("kl", "run", rules, "--num_sentences", 32, "--set", "split=rules", "--json").stdout)
    assert sum(by_rule["kl_split"]) == pytest.approx(judged["kl"], abs=1e-9)
    assert len(by_rule["split_groups"]) == 10 + 1
    printed = rhm("kl", "run", rules, "--num_sentences", 32, "--set", "split=rules")
    assert "By rules" in printed.stdout
    believed = json.loads(rhm("show", rules, "--tokens", "hello two ..", "--json").stdout)
    assert {grammar.terminals[k] for k, p in enumerate(believed["next_token_law"]) if p > 0} == {"tea", "coffee"}

    # Where it sits by symbol, and the same file with other rules is another grammar.
    parts = kl.compute(model="run/model", grammar=rules, num_sentences=32, split="symbols")
    assert sum(parts["kl_split"]) == pytest.approx(judged["kl"], abs=1e-9)
    (tmp_path / rules).write_text(RULES.replace("[0.7]", "[0.9]").replace("[0.3]", "[0.1]"))
    assert grammar_of(load_dataset("rhm", rules, **sizes)) != grammar
    again = rhm(*words)
    assert again.exit_code != 0
    assert "grammar had another content" in again.output


@pytest.mark.parametrize(
    ("word", "value"),
    [("num_sentences=010", 10), ("mask_probability=1e-3", 0.001), ("num_sentences=1:30", "1:30"), ("seed=no", "no")],
)
def test_values_of_set_are_yaml_1_2(word, value):
    from rhm_hf.cli.options import settings
    from rhm_hf.metrics.rhm_kl.kl import kl_divergence

    assert settings([word], kl_divergence) == {word.partition("=")[0]: value}
