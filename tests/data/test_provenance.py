"""A dataset knows its grammar, through everything that is done to it; `grammar=` takes what stands for one."""

import json

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets, load_dataset, load_from_disk
from huggingface_hub.errors import LocalEntryNotFoundError

from rhm_hf import Grammar, grammar_of, resolve_grammar
from rhm_hf.data.provenance import describe


SIZES = {"train_size": 20, "validation_size": 4, "test_size": 6}


@pytest.fixture
def dataset(tmp_path):
    return load_dataset("rhm", "v4-m2-s2-L2", rules_seed=5, cache_dir=str(tmp_path / "cache"), **SIZES)


def test_every_kind_of_dataset_knows_its_grammar(dataset, tmp_path):
    expected = Grammar.from_name("v4-m2-s2-L2", rules_seed=5)
    train = dataset["train"]
    dataset.save_to_disk(tmp_path / "saved")
    stream = load_dataset("rhm", "v4-m2-s2-L2", rules_seed=5, streaming=True, cache_dir=str(tmp_path), **SIZES)
    kinds = [
        dataset,
        train,
        train.map(lambda row: {"sum": sum(row["input_ids"])}).select(range(3)).shuffle(seed=0),
        dataset.map(lambda row: {"input_ids": row["input_ids"][:2]}, remove_columns="label"),
        train.train_test_split(0.5, seed=0),
        train.train_test_split(0.5, seed=0)["test"].with_format("torch"),
        load_from_disk(tmp_path / "saved"),
        load_from_disk(tmp_path / "saved")["test"],
        concatenate_datasets([train, dataset["test"]]),
        stream,
        stream["train"].map(lambda row: row),
    ]
    for kind in kinds:
        found = grammar_of(kind)
        assert found == resolve_grammar(kind) == expected
        assert found.parameters == expected.parameters


def test_a_custom_grammar_is_kept_to_the_last_bit(small_grammar, tmp_path):
    thirds = [np.full(p.shape, 1 / p.shape[1]) if p.shape[1] != 3 else p for p in small_grammar.rule_probs]
    grammar = Grammar.from_rules(small_grammar.rules, thirds, small_grammar.root_probs, small_grammar.vocab_size)
    dataset = load_dataset("rhm", grammar=grammar, cache_dir=str(tmp_path), **SIZES)
    found = grammar_of(dataset)
    assert found == grammar
    assert found.parameters is None
    assert "\n" not in dataset["train"].info.description


def test_what_stands_for_a_grammar(dataset, tmp_path, monkeypatch):
    grammar = grammar_of(dataset)
    grammar.save_pretrained(tmp_path / "alone")
    grammar.save_pretrained(tmp_path / "model" / "grammar")
    for thing in (grammar, tmp_path / "alone", str(tmp_path / "alone"), tmp_path / "model"):
        assert resolve_grammar(thing) == grammar
    monkeypatch.chdir(tmp_path)
    assert resolve_grammar("alone") == grammar


def test_hub_ids_of_models_and_of_datasets(dataset, tmp_path, monkeypatch):
    """The Hub is asked for a model first, then for a dataset."""
    import huggingface_hub

    grammar = grammar_of(dataset)
    grammar.save_pretrained(tmp_path / "grammar")
    asked = []

    def snapshot_download(repo_id, allow_patterns, repo_type="model"):
        asked.append((repo_id, repo_type))
        if repo_type != "dataset":
            raise LocalEntryNotFoundError("not there")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve_grammar("someone/sentences") == grammar
    assert asked == [("someone/sentences", "model"), ("someone/sentences", "dataset")]


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (None, "grammar is a NoneType"),
        (np.zeros(3), "grammar is a ndarray"),
        ({"train": [1, 2]}, "grammar is a dict"),
        ({}, "grammar is a dict"),
        ("v4-m2-s2-L2", "grammar='v4-m2-s2-L2' is no directory.*Hub"),
        ("./runs/no/model", "grammar='./runs/no/model' is no directory.*Hub"),
    ],
)
def test_other_things_are_refused(thing, message):
    with pytest.raises(ValueError, match=message):
        resolve_grammar(thing)


def test_a_directory_without_grammar_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no grammar\.safetensors"):
        resolve_grammar(tmp_path)


def test_datasets_of_no_or_several_grammars_are_refused(dataset, tmp_path):
    foreign = Dataset.from_dict({"input_ids": [[1, 2]]})
    for description in ("", "A corpus.\nOf text.", '{"a": 1}', "5", '{"grammar": 3}', '{"grammar": {}}'):
        foreign.info.description = description
        with pytest.raises(ValueError, match=r"does not say which grammar made it.*pass grammar="):
            grammar_of(foreign)
    other = load_dataset("rhm", "v4-m2-s2-L2", rules_seed=6, cache_dir=str(tmp_path), **SIZES)
    with pytest.raises(ValueError, match=r"several grammars: v4-m2-s2-L2 \(\w{12}\), v4-m2-s2-L2 \(\w{12}\)"):
        grammar_of(concatenate_datasets([dataset["train"], other["train"]]))


def test_a_grammar_of_another_version_is_noticed(dataset):
    record = json.loads(describe(grammar_of(dataset)))
    record["grammar"]["fingerprint"] = "0" * 64
    dataset["train"].info.description = json.dumps(record)
    with pytest.raises(ValueError, match="another grammar of the name v4-m2-s2-L2"):
        grammar_of(dataset["train"])


def test_files_of_another_version_become_a_custom_grammar(tmp_path):
    """A grammar whose parameters no longer draw its rules must not be called by their name."""
    true, other = Grammar.from_name("v4-m2-s2-L2"), Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    Grammar(other.rules, other.rule_probs, other.root_probs, 4, true.parameters).save_pretrained(tmp_path / "old")
    dataset = load_dataset("rhm", grammar=tmp_path / "old", cache_dir=str(tmp_path), **SIZES)
    assert dataset["train"].info.config_name.startswith("custom-")
    assert grammar_of(dataset) == other


def test_any_law_given_by_hand_survives_the_description_and_the_disk_to_the_last_bit(tmp_path):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rules = np.stack(np.unravel_index(rng.permutation(64)[:40], (8, 8)), axis=-1).reshape(4, 10, 2)
        almost_normalised = rng.dirichlet(np.ones(10), 4) * (1 + 1e-9)
        grammar = Grammar.from_rules([rules], [almost_normalised], rng.dirichlet(np.ones(4)), vocab_size=8)
        dataset = Dataset.from_dict({"a": [1]})
        dataset.info.description = describe(grammar)
        assert grammar_of(dataset) == grammar
        grammar.save_pretrained(tmp_path)
        assert Grammar.from_pretrained(tmp_path) == grammar
