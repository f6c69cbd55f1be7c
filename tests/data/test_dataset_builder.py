"""load_dataset("rhm"): columns, splits, streaming, processes, the cache, and the direct builder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import (
    ClassLabel,
    Features,
    List,
    Value,
    get_dataset_config_info,
    get_dataset_infos,
    load_dataset,
    load_dataset_builder,
)
from forked import Python
from small_grammars import skewed_grammar

import rhm_hf
from rhm_hf import Grammar, RHMDatasetBuilder
from rhm_hf.data import checksum, rows, tokens_of


SMALL = {"train_size": 20, "validation_size": 4, "test_size": 6}


FROZEN = {
    "unique": {"train": "ee2045551e5245d9", "validation": "708dbdddb837a6ab", "test": "bc1c8ead3b2fece9"},
    "iid": {"input_ids": "6105b6e68f55688e", "level_1": "bfa6a3012f02cb72"},
}


def load(tmp_path, *args, **kwargs):
    return load_dataset("rhm", *args, cache_dir=str(tmp_path / "cache"), **kwargs)


def config_id(**kwargs) -> str:
    name = kwargs.pop("name", None)
    return RHMDatasetBuilder(config_name=name, **kwargs).config_id


def test_rows_are_the_grammars_sample_and_its_derivations(tmp_path, small_grammar):
    small_grammar.save_pretrained(tmp_path / "grammar")
    sampling = "unique" if small_grammar.is_equiprobable else "iid"
    dataset = load(tmp_path, grammar=tmp_path / "grammar", levels=True, sample_seed=3, **SMALL)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 20, "validation": 4, "test": 6}
    for name, split in dataset.items():
        tokens = small_grammar.sample(len(split), seed=3, split=name, sampling=sampling)
        np.testing.assert_array_equal(tokens_of(split), tokens)
        levels = small_grammar.parse(tokens)
        assert split["label"] == levels[-1].ravel().tolist()
        for level in range(1, small_grammar.depth):
            assert split[f"level_{level}"] == levels[level].tolist()


def test_a_directory_is_a_name_too(tmp_path, monkeypatch):
    """What asks for a short name, such as the training loop, takes any rules in this way."""
    grammar = skewed_grammar()
    grammar.save_pretrained(tmp_path / "rules")
    dataset = load(tmp_path, str(tmp_path / "rules"), **SMALL)
    assert rhm_hf.grammar_of(dataset) == grammar
    assert dataset["train"]["input_ids"] == load(tmp_path, grammar=grammar, **SMALL)["train"]["input_ids"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v4-m2-s2-L2").mkdir()  # somebody's results
    assert rhm_hf.grammar_of(load(tmp_path, "v4-m2-s2-L2", **SMALL)) == Grammar.from_name("v4-m2-s2-L2")
    with pytest.raises(ValueError, match=r"'rule' is not a grammar's short name"):
        load(tmp_path, "rule", **SMALL)


def test_columns_have_the_smallest_types(tmp_path):
    features = load(tmp_path, "v16-m4-s2-L3-c5", levels=True, **SMALL)["train"].features
    assert features == Features(
        input_ids=List(Value("uint8"), length=8),
        label=ClassLabel(num_classes=5),
        level_1=List(Value("uint8"), length=4),
        level_2=List(Value("uint8"), length=2),
    )
    for vocab_size, kind in ((256, "uint8"), (257, "uint16"), (2**16, "uint16"), (2**16 + 1, "int32")):
        keywords = {"vocab_size": vocab_size, "num_synonyms": 2, "tuple_size": 2, "depth": 2, "num_classes": 3}
        split = load(tmp_path, **keywords, train_size=20, validation_size=0, test_size=0)
        assert list(split) == ["train"]
        assert split["train"].features["input_ids"] == List(Value(kind), length=4)
        assert split["train"].data.column("input_ids").type.value_type == kind
        np.testing.assert_array_equal(
            tokens_of(split["train"]), Grammar.from_name(f"v{vocab_size}-m2-s2-L2-c3").sample(20)
        )


def test_unique_splits_are_disjoint_nested_and_do_not_move(tmp_path):
    grammar = Grammar.from_name("v8-m2-s2-L2")  # 64 sentences
    sizes = {"train_size": 40, "validation_size": 12, "test_size": 12}
    whole = load(tmp_path, "v8-m2-s2-L2", **sizes)
    seen = [grammar.index(row) for split in whole.values() for row in tokens_of(split)]
    assert sorted(seen) == list(range(64))
    smaller = load(tmp_path, "v8-m2-s2-L2", **sizes | {"train_size": 15})
    assert smaller["train"]["input_ids"] == whole["train"][:15]["input_ids"]
    for split in ("validation", "test"):
        assert checksum(smaller[split]) == checksum(whole[split])
    other = load(tmp_path, "v8-m2-s2-L2", **sizes, sample_seed=1)
    assert checksum(other["train"]) != checksum(whole["train"])
    with pytest.raises(ValueError, match="train_size=41"):
        load(tmp_path, "v8-m2-s2-L2", **sizes | {"train_size": 41})


def test_rows_never_change(tmp_path):
    """Frozen bytes: where these change on purpose, the builder's VERSION and the change log must say so."""
    unique = load(tmp_path, "v16-m4-s2-L3")
    assert {split: checksum(rows_)[:16] for split, rows_ in unique.items()} == FROZEN["unique"]
    iid = load(tmp_path, "v300-m5-s3-L2-c7", rules_seed=2, sample_seed=3, sampling="iid", levels=True)
    assert {column: checksum(iid["train"], column)[:16] for column in ("input_ids", "level_1")} == FROZEN["iid"]


def test_iid_repeats_sentences_where_it_must(tmp_path):
    split = load(tmp_path, "v4-m2-s2-L2", sampling="iid", train_size=1000, validation_size=0, test_size=0)["train"]
    assert len(np.unique(tokens_of(split), axis=0)) == Grammar.from_name("v4-m2-s2-L2").num_sentences == 32


def test_disjoint_iid_splits_share_no_sentence(tmp_path):
    """With 64 sentences, splits of 300 drawn independently would share nearly all of theirs."""
    sizes = {"train_size": 300, "validation_size": 300, "test_size": 300}
    dataset = load(tmp_path, "v8-m2-s2-L2", sampling="iid", disjoint=True, **sizes)
    parts = [{tuple(row) for row in split["input_ids"]} for split in dataset.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) > 40


LARGE = {"name": "v16-m4-s2-L6", "train_size": 40_000, "validation_size": 3, "test_size": 0, "levels": True}

PROCESSES = """
import sys
import multiprocess
import rhm_hf
from datasets import load_dataset
from rhm_hf.data.facts import checksum

if __name__ == "__main__":
    multiprocess.set_start_method(sys.argv[1])
    dataset = load_dataset("rhm", **eval(sys.argv[2]), num_proc=2, cache_dir=sys.argv[1])
    train = dataset["train"]
    print(checksum(train), checksum(train, "level_2"), len(train.cache_files))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three shards of sentences of 64 tokens, made in one process."""
    return load(tmp_path_factory.mktemp("large"), **LARGE)


@pytest.mark.parametrize(
    ("method", "name"), [("fork", LARGE["name"]), ("spawn", LARGE["name"]), ("fork", "v16-m4-s2-L3-sparse1")]
)
def test_processes_make_the_same_rows(large, method, name, tmp_path):
    wanted = LARGE | {"name": name}
    expected = large if wanted == LARGE else load(tmp_path, **wanted)
    (tmp_path / "script.py").write_text(PROCESSES)
    command, options = [sys.executable, "script.py", method, repr(wanted)], {"cwd": tmp_path, "text": True}
    options |= {"stdout": subprocess.PIPE, "env": os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}}
    with (Python if method == "fork" else subprocess.Popen)(command, **options) as process:
        said = process.stdout.read()
    assert process.poll() == 0
    checksums = [checksum(expected["train"]), checksum(expected["train"], "level_2")]
    assert said.split() == [*checksums, "2"]


def test_streaming_gives_the_same_rows(large, tmp_path):
    stream = load(tmp_path, **LARGE, streaming=True)
    assert list(stream) == ["train", "validation"]
    assert stream["train"].num_shards == 3
    assert stream["train"].features == large["train"].features
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    around_a_border = stream["train"].skip(16380).take(10)
    assert list(around_a_border) == [large["train"][i] for i in range(16380, 16390)]
    assert list(stream["train"].shard(3, 2))[-1] == large["train"][-1]
    batch = next(iter(stream["train"].with_format("numpy").batch(100)))
    np.testing.assert_array_equal(batch["input_ids"], tokens_of(large["train"])[:100])


def test_stream_resumes_where_it_stopped(large, tmp_path):
    stream = load(tmp_path, **LARGE, streaming=True)["train"]
    iterator = iter(stream)
    for _ in range(16_390):
        next(iterator)
    state = stream.state_dict()
    resumed = load(tmp_path, **LARGE, streaming=True)["train"]
    resumed.load_state_dict(state)
    assert next(iter(resumed)) == large["train"][16_390]


def test_tables_do_not_copy_the_sample():
    tokens = np.arange(12, dtype=np.uint8).reshape(3, 4)
    columns = Features(input_ids=List(Value("uint8"), length=4), label=ClassLabel(num_classes=2))
    table = rows.table({"input_ids": tokens, "label": np.zeros(3, np.uint8)}, columns)
    buffer = table.column("input_ids").chunk(0).flatten().buffers()[1]
    assert buffer.address == tokens.ctypes.data


def test_equal_content_shares_a_cache_and_any_other_value_does_not():
    base = config_id(name="v16-m4-s2-L3")
    keywords = {"vocab_size": 16, "num_synonyms": np.int64(4), "tuple_size": np.uint8(2), "depth": 3}
    assert base == config_id() == config_id(**keywords) == config_id(name="v16-m4-s2-L3", **keywords)
    assert base == config_id(name="v16-m4-s2-L3-c16", num_classes=16, rules_seed=np.int32(0), train_size=8192)
    assert base == config_id(sampling="unique", levels=np.False_, disjoint=True, validation_size=np.int64(1024))
    assert base == config_id(grammar=Grammar.from_name("v16-m4-s2-L3"))
    others = [
        config_id(name="v16-m4-s2-L4"),
        config_id(name="v16-m4-s2-L3-c8"),
        config_id(rules_seed=1),
        config_id(sample_seed=1),
        config_id(train_size=8191),
        config_id(validation_size=1025),
        config_id(test_size=0),
        config_id(train_size=1024, validation_size=8192),
        config_id(sampling="iid"),
        config_id(sampling="iid", disjoint=True),
        config_id(levels=True),
        config_id(features=Features(input_ids=List(Value("int64")), label=Value("int64"))),
    ]
    assert len({base, *others}) == len(others) + 1


def test_the_cache_of_a_custom_grammar_holds_its_fingerprint(small_grammar):
    rules, probs, roots = small_grammar.rules, small_grammar.rule_probs, small_grammar.root_probs
    custom = Grammar.from_rules(rules, probs, roots, vocab_size=small_grammar.vocab_size)
    builder = RHMDatasetBuilder(grammar=custom, **SMALL)
    assert builder.config.name == custom.name
    assert builder.config_id.startswith(f"custom-{custom.fingerprint}-")


def test_a_second_load_reads_the_cache(tmp_path):
    first = load(tmp_path, "v4-m2-s2-L3", **SMALL)["train"]
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")}
    keywords = {"vocab_size": 4, "num_synonyms": 2, "tuple_size": 2, "depth": 3}
    again = load(tmp_path, **keywords, **SMALL)["train"]
    assert again.cache_files == first.cache_files
    assert again._fingerprint == first._fingerprint
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.arrow")} == files
    assert rows.source_hash() in first.cache_files[0]["filename"]


def test_the_cache_notices_every_change_of_the_code(tmp_path, monkeypatch):
    package = Path(rhm_hf.__file__).parent
    shutil.copytree(package, tmp_path / "rhm_hf", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(rows, "__file__", str(tmp_path / "rhm_hf" / "data" / "rows.py"))
    compute = rows.source_hash.__wrapped__
    seen = {compute()}
    assert seen == {rows.source_hash()}
    files = [file for pattern in rows.GENERATING_CODE for file in (tmp_path / "rhm_hf").glob(pattern)]
    assert len(files) > len(rows.GENERATING_CODE)
    for file in files:
        file.write_text(file.read_text() + "#")
        seen.add(compute())
    assert len(seen) == len(files) + 1


def test_the_hashed_code_is_all_that_generates(tmp_path):
    """A new module that the builder needs must join `GENERATING_CODE`, or this list of those that make no rows."""
    makes_no_rows = {"__init__", "_lazy", "register", "data/__init__"}
    code = (
        "import sys, rhm_hf.data.rhm; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('rhm_hf')))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    package = Path(rhm_hf.__file__).parent
    used = {Path(file).relative_to(package).with_suffix("").as_posix() for file in output.stdout.split()}
    hashed = {
        file.relative_to(package).with_suffix("").as_posix()
        for pattern in rows.GENERATING_CODE
        for file in package.glob(pattern)
    }
    assert used - makes_no_rows <= hashed


def test_any_working_directory_will_do(tmp_path, monkeypatch):
    expected = checksum(load(tmp_path, "v4-m2-s2-L3", **SMALL)["train"])
    (tmp_path / "full" / "rhm").mkdir(parents=True)
    for name in ("train.csv", "test.json", "rhm.py", "README.md", "rhm/train.csv"):
        (tmp_path / "full" / name).write_text("a\n1\n")
    monkeypatch.chdir(tmp_path / "full")
    again = load(tmp_path, "v4-m2-s2-L3", **SMALL)["train"]
    assert checksum(again) == expected
    assert len(list((tmp_path / "cache" / "rhm").iterdir())) == 1  # the directory's files did not enter the cache id


def test_the_direct_builder_is_the_same_dataset(tmp_path):
    builder = RHMDatasetBuilder(config_name="v4-m2-s2-L3", cache_dir=str(tmp_path / "cache"), **SMALL)
    builder.download_and_prepare()
    direct = builder.as_dataset()
    loaded = load(tmp_path, "v4-m2-s2-L3", **SMALL)
    assert direct["test"].cache_files == loaded["test"].cache_files
    by_name = load_dataset_builder("rhm", "v4-m2-s2-L3", cache_dir=str(tmp_path / "cache"), **SMALL)
    assert by_name.cache_dir == builder.cache_dir
    assert by_name.info.splits["train"].num_examples == 20
    record = json.loads(by_name.info.description)
    assert (record["sample_seed"], record["sampling"], record["train_size"]) == (0, "unique", 20)


def test_datasets_helpers_answer(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    (info,) = get_dataset_infos("rhm").values()
    assert info.features == get_dataset_config_info("rhm", "v16-m4-s2-L3").features
    assert list(info.splits) == ["train", "validation", "test"]


def test_features_can_be_chosen(tmp_path):
    features = Features(input_ids=List(Value("int64"), length=8), label=Value("int32"))
    dataset = load(tmp_path, features=features, **SMALL)
    assert dataset["train"].features == features
    assert dataset["train"]["input_ids"] == load(tmp_path, **SMALL)["train"]["input_ids"]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"trian_size": 5}, "no keyword trian_size: did you mean train_size"),
        ({"colour": 5}, "no keyword colour: there are .*vocab_size"),
        ({"name": "v16-m4-s2"}, r"name='v16-m4-s2' is not a grammar's short name"),
        (
            {"name": "v16-m4-s2-L3", "num_synonyms": 8},
            "num_synonyms=8 contradicts name='v16-m4-s2-L3'.*num_synonyms=4",
        ),
        ({"name": "v16-m4-s2-L3", "num_classes": 8}, "num_classes=8 contradicts"),
        ({"vocab_size": 16, "depth": 3}, "vocab_size, depth without num_synonyms, tuple_size"),
        ({"vocab_size": 4, "num_synonyms": 9, "tuple_size": 2, "depth": 2}, "num_synonyms=9 is too many"),
        ({"train_size": -1}, "train_size=-1 is out of range"),
        ({"train_size": 10.0}, "train_size=10.0 is not an integer"),
        ({"test_size": True}, "test_size=True"),
        ({"train_size": 0, "validation_size": 0, "test_size": 0}, "leave no split"),
        ({"sample_seed": -1}, "sample_seed=-1"),
        ({"rules_seed": 2**63}, "rules_seed=9223372036854775808"),
        ({"sampling": "distinct"}, "sampling='distinct' is unknown: use 'unique', 'iid'"),
        ({"levels": 2}, "levels=2 must be True or False"),
        ({"disjoint": "yes"}, "disjoint='yes' must be True or False"),
        ({"name": "v4-m2-s2-L2", "train_size": 33}, "train_size=33"),
        ({"data_dir": "somewhere"}, "data_dir='somewhere'.*reads no files"),
        ({"grammar": 5}, "grammar is a int"),
        (
            {"grammar": Grammar.from_name("v4-m2-s2-L2"), "name": "v4-m2-s2-L3"},
            "name='v4-m2-s2-L3' contradicts grammar=",
        ),
        (
            {"grammar": Grammar.from_name("v4-m2-s2-L2"), "rules_seed": 1},
            "rules_seed=1 contradicts grammar=v4-m2-s2-L2",
        ),
    ],
)
def test_bad_keywords_are_refused(keywords, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_dataset_builder("rhm", cache_dir=str(tmp_path), **keywords)


def test_a_custom_grammar_refuses_unique_and_parameters(tmp_path):
    skewed = Grammar.from_rules([[[[0, 1], [1, 0]]], [[[0, 1], [1, 2]], [[2, 0], [2, 2]]]], [[[0.9, 0.1]], np.eye(2)])
    assert RHMDatasetBuilder(grammar=skewed, cache_dir=str(tmp_path)).config.sampling == "iid"
    with pytest.raises(ValueError, match="unique"):
        RHMDatasetBuilder(grammar=skewed, sampling="unique", cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="vocab_size=3 has no meaning for grammar=custom-"):
        RHMDatasetBuilder(grammar=skewed, vocab_size=3, cache_dir=str(tmp_path))
