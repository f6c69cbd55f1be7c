"""Commands of metrics against the Python functions that they call."""

import json

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.cli.corpora import Corpus, TextSource, read_text
from rhm_hf.cli.operands import read_model
from rhm_hf.data import char_corpus
from rhm_hf.metrics.belief_probe import belief_probe
from rhm_hf.metrics.context_loss.by_context import loss_by_context
from rhm_hf.metrics.effective_context.agree import effective_context
from rhm_hf.metrics.grammaticality.correctness import grammaticality
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.metrics.latent_probe.probe import latent_probe
from rhm_hf.metrics.memorisation.copies import memorisation
from rhm_hf.metrics.representation_probe.similarity import representation_probe
from rhm_hf.metrics.rhm_kl.kl import kl_divergence
from rhm_hf.metrics.synonym_sensitivity.sensitivity import synonym_sensitivity
from rhm_hf.metrics.token_correlations.measure import measure_correlations


NAME = "v4-m2-s2-L3"


def found(result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def same(ours, theirs) -> None:
    """Equal numbers, in JSON and in Python."""
    text = json.dumps(theirs, default=lambda value: value.tolist())
    assert ours == json.loads(text, parse_constant={"Infinity": "inf", "-Infinity": "-inf"}.__getitem__)


def test_kl_of_a_run(rhm, model_folder, tmp_path):
    grammar = Grammar.from_name(NAME)
    model = read_model(str(model_folder)).model
    expected = kl_divergence(model, grammar)
    same(found(rhm("kl", model_folder, "--json")), expected)  # the grammar lies beside the model
    same(found(rhm("kl", model_folder / "model", NAME, "--json")), expected)
    printed = rhm("kl", model_folder, NAME, "--out", tmp_path).stdout
    assert f"{expected['kl']:.6g} nats per judged token" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"kl.json", "kl.csv", "kl.png"}
    other = found(rhm("kl", model_folder, NAME, "--rules_seed", 4, "--json"))
    assert other["entropy"] != expected["entropy"]


def test_kl_on_given_sentences(rhm, model_folder, tmp_path):
    rows = Grammar.from_name(NAME).sample(20, seed=3)
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "rows.txt").write_text("\n".join(" ".join(map(str, row)) for row in rows))
    expected = kl_divergence(read_model(str(model_folder)).model, Grammar.from_name(NAME), rows.astype(np.int64))
    for name in ("rows.npy", "rows.txt"):
        same(found(rhm("kl", model_folder, "--sentences", tmp_path / name, "--json")), expected)


def test_kl_without_a_grammar_beside_the_model_is_refused(rhm, tmp_path, monkeypatch):
    GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=9, n_embd=8, n_layer=1, n_head=1)).save_pretrained(
        tmp_path / "m"
    )
    monkeypatch.chdir(tmp_path)
    Grammar.from_name(NAME).save_pretrained(tmp_path)  # in the folder one stands in: nobody asked for it
    result = rhm("kl", "./m")
    assert result.exit_code == 1
    assert "no grammar lies beside ./m" in result.stderr


def test_kl_of_two_models_is_paired(rhm):
    """All sentences of a small grammar: exact. A sample of a larger one: the error is that of the difference."""
    exact = found(rhm("kl", f"oracle:{NAME},level=2", NAME, f"oracle:{NAME},level=1", "--json"))
    grammar = Grammar.from_name(NAME)
    kls = [kl_divergence(RHMForCausalLM.from_grammar(grammar, context_level=level), grammar)["kl"] for level in (2, 1)]
    assert exact["difference"] == pytest.approx(kls[1] - kls[0], abs=1e-12)
    assert exact["difference_stderr"] == 0

    name = "v8-m4-s2-L3"
    grammar = Grammar.from_name(name)
    words = ["kl", f"oracle:{name},length=3", name, f"oracle:{name},length=2", "--num_sentences", 1024, "--json"]
    sampled = found(rhm(*words))
    laws = [RHMForCausalLM.from_grammar(grammar, context_length=n) for n in (3, 2)]
    rows = grammar.sample(1024, seed=0, split="evaluation", sampling="iid").astype(np.int64)
    by_row = np.array([[kl_divergence(law, grammar, row[None])["kl"] for law in laws] for row in rows[:40]])
    assert sampled["difference"] == pytest.approx(
        kl_divergence(laws[1], grammar, rows)["kl"] - kl_divergence(laws[0], grammar, rows)["kl"], abs=1e-12
    )
    spread = np.diff(by_row, axis=1).std() / np.sqrt(1024)
    assert sampled["difference_stderr"] == pytest.approx(spread, rel=0.4)  # 64 blocks: 9 %; 40 rows: 11 %


def test_arguments_of_the_function(rhm):
    result = rhm(
        "kl", f"oracle:{NAME},masked", NAME, "--set", "mask_probability=0.5", "--set", "mask_seed=3", "--json"
    )
    grammar = Grammar.from_name(NAME)
    expected = kl_divergence(read_model(f"oracle:{NAME},masked").model, grammar, mask_probability=0.5, mask_seed=3)
    assert found(result)["num_sentences"] == expected["num_sentences"]
    for words in (
        ["--set", "seed=3"],
        ["--set", "mask_probability"],
        ["--set", "mask_seed=1", "--set", "mask_seed=2"],
    ):
        assert rhm("kl", f"oracle:{NAME},masked", NAME, *words).exit_code == 1


@pytest.mark.parametrize(
    ("command", "judge"),
    [
        ("synonym_sensitivity", synonym_sensitivity),
        ("latent_probe", latent_probe),
        ("belief_probe", belief_probe),
        ("representation_probe", representation_probe),
    ],
)
def test_probes(rhm, model_folder, tmp_path, command, judge):
    model = read_model(str(model_folder)).model
    words = [command, model_folder, "--num_sentences", 64, "--json", "--out", tmp_path]
    words += ["--set", "num_train=128"] if command in ("latent_probe", "belief_probe") else []
    options = {"num_train": 128} if command in ("latent_probe", "belief_probe") else {}
    same(found(rhm(*words)), judge(model, Grammar.from_name(NAME), num_sentences=64, **options))
    assert (tmp_path / f"{command}.png").stat().st_size > 1000


def test_in_context(rhm, tmp_path):
    sizes = {"n_positions": 50, "n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": 4, "eos_token_id": 4}
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=7, **sizes)).save_pretrained(tmp_path / "model")
    words = ["in-context", tmp_path / "model", NAME, "--num-grammars", 3, "--set", "num_mappings=2", "--seed", 5]
    model = read_model(str(tmp_path / "model")).model
    expected = in_context_kl(model, Grammar.from_name(NAME), num_grammars=3, num_mappings=2, seed=5)
    same(found(rhm(*words, "--json", "--out", tmp_path)), expected)
    assert (tmp_path / "in_context.png").stat().st_size > 1000
    rows = (tmp_path / "in_context.csv").read_text().splitlines()
    assert rows[0].startswith("n,KL within symbols,from,to,mass outside,uniform,ngram,hierarchical_ngram")
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2", "4"]
    assert "Student's t over 3 grammars" in " ".join(rhm(*words).stdout.split())
    bench = found(rhm("bench", "--in-context", tmp_path / "model", "--json"))
    same(bench, in_context_kl(model, Grammar.from_name("v4-m2-s2-L2")))
    assert rhm("bench", "gpt2", "--in-context", tmp_path / "model").exit_code == 1
    short = rhm("in_context", tmp_path / "model", "v4-m2-s2-L5")
    assert short.exit_code == 1
    assert "reads at most 50 ids (n_positions) and a prompt of 1 sentences of 32 tokens" in short.stderr


def test_generated_sentences_judged(rhm, model_folder, tmp_path):
    samples, train = tmp_path / "samples.npy", tmp_path / "train.npy"
    words = ["generate", model_folder, "--num", 70, "--seed", 4, "--symbols_only", "--out", samples]
    result = rhm(*words, "--json")
    rows = np.load(samples)
    assert rows.shape == (70, 8)  # whole sentences of the grammar beside the model
    assert rows.max() < 4
    assert [sequence["input_ids"] for sequence in found(result)["sequences"]] == rows.tolist()
    assert found(rhm(*words, "--json")) == found(result)  # a function of the seed
    grammar = Grammar.from_name(NAME)
    np.save(train, grammar.sample(64))
    judged = found(rhm("grammaticality", samples, NAME, "--json"))
    same(judged, grammaticality(rows, grammar))
    copies = found(rhm("memorisation", samples, train, NAME, "--json", "--set", "num_nearest=16"))
    same(copies, memorisation(rows, np.load(train), grammar, num_nearest=16))
    of_the_oracle = rhm("generate", f"oracle:{NAME}", "--num", 40, "--out", tmp_path / "o.jsonl")
    assert of_the_oracle.exit_code == 0, of_the_oracle.output
    assert found(rhm("grammaticality", tmp_path / "o.jsonl", NAME, "--json"))["valid"] == 1.0


@pytest.mark.parametrize("words", [["--length", 99], ["--num", 0], ["--prompt", "a b"], ["--out", "x.csv"]])
def test_generate_refuses(rhm, model_folder, words):
    result = rhm("generate", model_folder, *words)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_correlations_of_a_file_a_grammar_and_given_words(rhm, tmp_path):
    text = "the quick brown fox jumps over the lazy dog, and the dog lies still. " * 20
    path = tmp_path / "a.txt"
    path.write_text(text)
    expected = measure_correlations(text, distances=range(1, 6))
    for word in (path, f"file:{path}", f"text:{text}"):
        same(found(rhm("correlations", word, "--max_distance", 5, "--json")), expected)
    same(found(rhm("correlations", "-", "--max_distance", 5, "--json", input=text)), expected)
    rows = Grammar.from_name(NAME).sample(100, seed=2, split="evaluation", sampling="iid")
    words = ["correlations", f"grammar:{NAME}", "--num_sentences", 100, "--seed", 2, "--out", tmp_path / "o", "--json"]
    same(found(rhm(*words)), measure_correlations(rows))
    assert (tmp_path / "o" / "correlations.png").stat().st_size > 1000
    table = (tmp_path / "o" / "correlations.csv").read_text().splitlines()
    assert len(table) == 8


# Texts and contexts of a model of characters.


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """A text file and two tiny models of its characters, each with the tokenizer beside it."""
    folder = tmp_path_factory.mktemp("characters")
    rng = np.random.default_rng(0)
    path = folder / "text.txt"
    path.write_text("".join(rng.choice(list("abcd efgh"), 6000)))
    corpus = char_corpus(text_file=path)
    size = len(corpus.tokenizer)
    for name, seed in (("one", 0), ("two", 1)):
        import torch

        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=size, n_positions=17, n_embd=16, n_layer=1, n_head=2, bos_token_id=corpus.tokenizer.bos_token_id
        )
        GPT2LMHeadModel(config).save_pretrained(folder / name)
        corpus.tokenizer.save_pretrained(folder / name)
    return folder


def test_context_of_one_model(rhm, characters, tmp_path):
    words = ["context", characters / "one", characters / "text.txt", "--num_windows", 40, "--out", tmp_path, "--json"]
    read = read_model(str(characters / "one"))
    text = (characters / "text.txt").read_text()
    expected = loss_by_context(read.model, texts=[text], tokenizer=read.tokenizer(True), num_windows=40)
    same(found(rhm(*words)), expected)
    assert (tmp_path / "context.png").stat().st_size > 1000


def test_context_of_two_models_reads_the_same_windows(rhm, characters):
    words = ["context", characters / "one", characters / "text.txt", characters / "two", "--num_windows", 40, "--json"]
    result = found(rhm(*words))
    losses = list(result["models"].values())
    differences = np.subtract(losses[1]["loss"], losses[0]["loss"])
    np.testing.assert_allclose(result["difference"], differences, atol=1e-12)
    apart = np.hypot(losses[0]["loss_stderr"], losses[1]["loss_stderr"])
    assert (np.array(result["difference_stderr"]) != apart).all()
    itself = found(rhm(*words[:3], characters / "one", "--num_windows", 40, "--json"))
    assert itself["difference"] == [0.0] * len(itself["context_lengths"])
    assert itself["difference_stderr"] == [0.0] * len(itself["context_lengths"])
    printed = rhm(*words[:-1]).stdout
    assert "difference at the longest context" in printed


def test_two_models_with_other_tokens_have_no_paired_difference(rhm, characters, tmp_path):
    other = tmp_path / "other"
    corpus = char_corpus(text_file=characters / "text.txt", max_vocab_size=3)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(corpus.tokenizer), n_positions=17, n_embd=8, n_layer=1, n_head=1)
    ).save_pretrained(other)
    corpus.tokenizer.save_pretrained(other)
    words = ["context", characters / "one", characters / "text.txt", other, "--num_windows", 16, "--set", "bos=false"]
    result = found(rhm(*words, "--json"))
    assert "difference" not in result
    assert "different tokens" in result["no_difference"]


def test_effective_context_of_a_model_and_of_samples(rhm, characters, tmp_path):
    text = (characters / "text.txt").read_text()
    read = read_model(str(characters / "one"))
    words = ["effective_context", characters / "text.txt", characters / "one", "--num_tokens", 600]
    words += ["--set", "num_windows=32", "--set", "distances=[1, 2, 3]", "--json", "--out", tmp_path]
    expected = effective_context(
        [text], model=read.model, tokenizer=read.tokenizer(True), num_tokens=600, num_windows=32, distances=[1, 2, 3]
    )
    same(found(rhm(*words)), expected)
    np.save(tmp_path / "a.npy", Grammar.from_name(NAME).sample(200, seed=1))
    words = ["effective_context", f"grammar:{NAME}", tmp_path / "a.npy", "--samples", "--num_sentences", 300, "--json"]
    rows = Grammar.from_name(NAME).sample(300, seed=0, split="evaluation", sampling="iid")
    same(found(rhm(*words)), effective_context(rows, np.load(tmp_path / "a.npy")))


# What TEXT stands for.


def test_a_path_that_is_not_there_is_not_judged_as_text(rhm, characters, tmp_path):
    result = rhm("context", characters / "one", tmp_path / "file.txt")
    assert result.exit_code == 1
    assert "there is no file" in result.stderr
    (tmp_path / "files.txt").write_text("x")
    assert "Did you mean 'files.txt'?" in rhm("correlations", tmp_path / "file.txt").stderr


def test_what_may_mean_two_things_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text:abc").write_text("in the file")
    with pytest.raises(ValueError, match="may mean two things"):
        read_text("text:abc")
    assert read_text("file:text:abc").texts == ["in the file"]
    assert read_text("text:abcd").texts == ["abcd"]
    for empty in ("", " ", "file:"):
        with pytest.raises(ValueError, match=r"TEXT is empty|there is no file"):
            read_text(empty)


def test_tables_data_sets_and_columns(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"title": ["a", "b"], "story": ["once", "upon"], "ids": [[1, 2], [3]]})
    rows.to_json(tmp_path / "t.jsonl")
    with pytest.raises(
        ValueError, match=r"has the columns title, story, ids: choose one with --column\. Did you mean"
    ):
        read_text(str(tmp_path / "t.jsonl"), TextSource(column="stori"))
    assert read_text(str(tmp_path / "t.jsonl"), TextSource(column="story")).texts == ["once", "upon"]
    assert [list(row) for row in read_text(str(tmp_path / "t.jsonl"), TextSource(column="ids")).ids] == [[1, 2], [3]]
    DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "d")
    assert read_text(str(tmp_path / "d"), TextSource(column="story")).texts == ["once"]
    assert read_text(str(tmp_path / "d"), TextSource(column="story", split="train")).texts == ["once", "upon"]
    with pytest.raises(ValueError, match=r"splits train, test: choose one with --split\. Did you mean 'train'"):
        read_text(str(tmp_path / "d"), TextSource(column="story", split="trian"))
    assert isinstance(read_text("grammar:v4-m2-s2-L2", TextSource(num_sentences=5)), Corpus)


def test_correlations_of_a_data_set_know_what_its_sentences_were_drawn_from(rhm, tmp_path):
    from datasets import load_dataset

    sizes = {"train_size": 512, "validation_size": 0, "test_size": 0}  # all sentences
    load_dataset("rhm", "v4-m2-s2-L3", cache_dir=tmp_path, **sizes)["train"].save_to_disk(tmp_path / "all")
    words = ["correlations", tmp_path / "all", "--max_distance", 7, "--json"]
    assert found(rhm(*words))["effective_context"] == 7  # exactly; as independent ones they would have 1.96
    assert found(rhm(*words, "--set", "anchor=all"))["effective_context"] < 7


def test_bytes_that_are_no_text_are_refused(rhm, tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    assert "no UTF-8" in rhm("correlations", tmp_path / "x.txt").stderr


@pytest.mark.parametrize("text", ["", "./nowhere", "no model", "oracle:v4", "oracle:v4-m2-s2-L2,depth=1", __file__])
def test_what_is_no_model_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        read_model(text)
