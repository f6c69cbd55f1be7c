"""Datasets, oracle models and KL of every family, through the interfaces of datasets and transformers."""

import numpy as np
import pytest
import torch
from datasets import load_dataset
from sparse_definition import zipf_base
from transformers import AutoModelForCausalLM

import rhm_hf
from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification
from rhm_hf.cli import main
from rhm_hf.data import rows
from rhm_hf.grammar import FilteredGrammar, HiddenMarkovSource, SparseGrammar
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import next_token_probs, plateau, posteriors
from rhm_hf.metrics.rhm_kl import kl_divergence


SOURCES = {
    "filtered": lambda: Grammar.from_name("v4-m3-s2-L2-cut1", 1),
    "hidden Markov": lambda: Grammar.from_name("hmm-v4-h3-m2-d4-p0.5", 1),
    "by hand": lambda: HiddenMarkovSource([1.0, 0], [[0.5, 0.5], [0.25, 0.75]], [[0.2, 0.8], [1.0, 0.0]], 5),
    "filtered by hand": lambda: FilteredGrammar(Grammar.from_name("v4-m2-s2-L3").without_parameters(), 2),
    "sparse": lambda: Grammar.from_name("v2-m2-s2-L2-sparse1", 1),
    "sparse by hand": lambda: SparseGrammar(zipf_base(3, 2, 1), 2, "B"),
}


@pytest.fixture(params=SOURCES)
def source(request):
    return SOURCES[request.param]()


def test_datasets_by_name_by_grammar_and_by_directory(source, tmp_path):
    sizes = {"train_size": 40, "validation_size": 0, "test_size": 7, "cache_dir": str(tmp_path / "cache")}
    dataset = load_dataset("rhm", grammar=source, levels=True, disjoint=True, **sizes)
    levels = source.derivations(40, disjoint=True)
    assert dataset["train"]["input_ids"] == levels[0].tolist()
    assert dataset["train"]["label"] == levels[-1][:, 0].tolist()
    for level in range(1, source.depth):
        assert dataset["train"][f"level_{level}"] == levels[level].tolist()
    found = rhm_hf.grammar_of(dataset)
    assert found == source
    assert found.parameters == source.parameters
    source.save_pretrained(tmp_path / "source")
    again = load_dataset("rhm", str(tmp_path / "source"), disjoint=True, **sizes)
    assert again["test"]["input_ids"] == dataset["test"]["input_ids"]
    if source.parameters is not None:
        seed = source.parameters.rules_seed
        named = load_dataset("rhm", source.name, rules_seed=seed, disjoint=True, **sizes)
        assert named["test"]["input_ids"] == dataset["test"]["input_ids"]


def test_keywords_of_the_builder(tmp_path):
    sizes = {"train_size": 9, "validation_size": 0, "test_size": 0, "cache_dir": str(tmp_path)}
    keywords = {"vocab_size": 3, "num_synonyms": 3, "tuple_size": 2, "depth": 3, "uncorrelated": True, "cut_level": 2}
    assert rhm_hf.grammar_of(load_dataset("rhm", **keywords, **sizes)).name == "v3-m3-s2-L3-uncorrelated-cut2"
    keywords |= {"cut_level": None, "sparsity": 1}
    assert rhm_hf.grammar_of(load_dataset("rhm", **keywords, **sizes)).name == "v3-m3-s2-L3-uncorrelated-sparse1"
    with pytest.raises(ValueError, match="placement='B' contradicts name='v4-m2-s2-L2-sparse1', which says"):
        load_dataset("rhm", "v4-m2-s2-L2-sparse1", placement="B", **sizes)
    with pytest.raises(ValueError, match="vocab_size=5 contradicts name='hmm-v4-h3-m2-d4-p0.5'".replace(".", r"\.")):
        load_dataset("rhm", "hmm-v4-h3-m2-d4-p0.5", vocab_size=5, **sizes)
    with pytest.raises(ValueError, match="depth=2 has no meaning for name='hmm"):
        load_dataset("rhm", "hmm-v4-h3-m2-d4-p0.5", depth=2, **sizes)


def test_oracles_save_load_and_are_the_law(source, tmp_path):
    tokens = torch.from_numpy(source.sample(20, sampling="iid").astype(np.int64))
    oracle = RHMForCausalLM.from_grammar(source)
    oracle.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is RHMForCausalLM
    assert loaded.grammar == source
    assert (loaded.grammar.name, loaded.grammar.parameters) == (source.name, source.parameters)
    assert Grammar.from_pretrained(tmp_path) == source
    ids = torch.nn.functional.pad(tokens, (1, 0), value=source.vocab_size)
    laws = loaded(ids).logits.exp()
    torch.testing.assert_close(laws[:, :-1, : source.vocab_size], next_token_probs(source, tokens))
    assert (laws[:, -1, source.vocab_size] == 1).all()
    short = RHMForCausalLM.from_grammar(source, context_length=1)(ids).logits.exp()
    torch.testing.assert_close(short[:, :-1, : source.vocab_size], next_token_probs(source, tokens, context_length=1))
    with pytest.raises(ValueError, match=f"context_level={source.depth + 1} is out of range"):
        RHMForCausalLM.from_grammar(source, context_level=source.depth + 1)


def test_masked_and_classifying_oracles(source):
    tokens = torch.from_numpy(source.sample(20, sampling="iid").astype(np.int64))
    hidden = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    laws = posteriors(source, tokens, hidden)
    masked = RHMForMaskedLM.from_grammar(source)
    ids = torch.where(hidden, masked.config.mask_token_id, tokens)
    torch.testing.assert_close(masked(ids).logits.exp()[..., : source.vocab_size], laws[0])
    classes = RHMForSequenceClassification.from_grammar(source)
    assert classes.config.num_labels == source.num_classes
    torch.testing.assert_close(classes(ids).logits.exp(), laws[-1][:, 0])


def test_generated_sentences_have_the_law(source):
    oracle = RHMForCausalLM.from_grammar(source)
    torch.manual_seed(0)
    out = oracle.generate(torch.full((1500, 1), oracle.config.bos_token_id))[:, 1:].tolist()
    tokens, probs = enumerate_sentences(source)
    place = {tuple(row): k for k, row in enumerate(tokens.tolist())}
    counts = np.bincount([place[tuple(row)] for row in out], minlength=len(probs))
    expected = 1500 * probs
    likely = expected > 5
    statistic = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert abs(statistic - likely.sum()) < 5 * np.sqrt(2 * likely.sum()) + 5


def test_kl_is_exact(source):
    """0 for the oracle; for a shorter context the difference of the exact entropies; all sentences, weighted."""
    result = kl_divergence(RHMForCausalLM.from_grammar(source), source)
    assert abs(result["kl"]) < 1e-12
    assert result["num_sentences"] == source.num_sentences
    assert result["entropy"] == pytest.approx(source.entropy / source.sentence_length, abs=1e-12)
    short = kl_divergence(RHMForCausalLM.from_grammar(source, context_level=0), source)
    exact = plateau(source, 0) - source.entropy / source.sentence_length
    assert short["kl"] == pytest.approx(exact, abs=1e-12)
    assert abs(kl_divergence(RHMForMaskedLM.from_grammar(source), source)["kl"]) < 1e-12


def test_what_needs_rules_at_every_level_says_so(source):
    tokens = source.sample(3)
    with pytest.raises(ValueError, match="has no rules"):
        rhm_hf.HierarchicalNGramForCausalLM.fit(tokens, source)
    if isinstance(source, SparseGrammar):  # the ordinary grammar of the same law has them
        fitted = rhm_hf.HierarchicalNGramForCausalLM.fit(tokens, source.to_grammar())
        assert fitted.config.num_symbols == source.vocab_size
        return
    with pytest.raises(
        ValueError,
        match=f"rules of level {source.depth} does not exist for .* above level {source.cut} it is a hidden Markov",
    ):
        source.rules_at(source.depth)
    for level in range(1, source.cut + 1):
        assert source.rules_at(level) is source.blocks.rules_at(level)
        assert source.prefix_tree(level).tuple_size == source.tuple_size_at(level)


def test_exports_keep_their_source(tmp_path):
    assert main(["export", "v4-m3-s2-L2-cut1", str(tmp_path / "data"), "--train_size", "20", "--levels"]) == 0
    assert Grammar.from_pretrained(tmp_path / "data") == Grammar.from_name("v4-m3-s2-L2-cut1")
    card = (tmp_path / "data" / "README.md").read_text()
    assert "| levels of rules in a block k | 1 |" in card
    assert main(["export", "v4-m2-s2-L2-sparse1b", str(tmp_path / "sparse"), "--train_size", "20"]) == 0
    assert Grammar.from_pretrained(tmp_path / "sparse") == Grammar.from_name("v4-m2-s2-L2-sparse1b")
    assert "| uninformative slots per child s0 | 1 (placement B) |" in (tmp_path / "sparse" / "README.md").read_text()


def test_sparse_rows_do_not_depend_on_streaming(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "TABLE_TOKENS", 2**9)  # many shards
    sizes = {"train_size": 150, "validation_size": 0, "test_size": 0, "levels": True}
    wanted = {"path": "rhm", "name": "v8-m4-s2-L2-sparse1", "split": "train", **sizes}
    whole = load_dataset(**wanted, cache_dir=str(tmp_path / "a"))
    stream = load_dataset(**wanted, streaming=True)
    assert whole.column_names == ["input_ids", "label", "level_1"]
    assert stream.num_shards > 1
    assert whole.to_list() == list(stream)
    assert whole.features["label"].num_classes == 8


def test_info_prints_every_family(capsys, tmp_path):
    for name in ("v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d4-p0.5", "v4-m3-s2-L2-zipf1.0@1", "v4-m2-s2-L2-sparse1"):
        source = Grammar.from_name(name)
        assert main(["info", name]) == 0
        out = capsys.readouterr().out
        assert f"{source.entropy:.6f} nats per sentence" in out
    HiddenMarkovSource(np.full(16, 1 / 16), np.eye(16), np.eye(16), 300).save_pretrained(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
