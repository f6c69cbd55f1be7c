"""The Parquet export: the same rows and grammar come back, complete or not at all."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from datasets import Dataset, DatasetDict, Features, List, Value, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

from rhm_hf import Grammar, export_parquet, grammar_of, resolve_grammar
from rhm_hf.data import checksum, parquet
from rhm_hf.files import umask


@pytest.fixture
def dataset(tmp_path):
    sizes = {"train_size": 20, "validation_size": 4, "test_size": 6}
    return load_dataset("rhm", "v4-m2-s2-L2", levels=True, cache_dir=str(tmp_path / "cache"), **sizes)


def test_the_export_gives_the_same_rows_and_grammar(dataset, tmp_path):
    folder = export_parquet(dataset, tmp_path / "made" / "export")
    assert sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "grammar/grammar.json",
        "grammar/grammar.safetensors",
    ]
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == list(dataset)
    for name, split in dataset.items():
        assert loaded[name].features == split.features
        assert loaded[name][:] == split[:]
    grammar = grammar_of(dataset)
    assert Grammar.from_pretrained(folder) == resolve_grammar(str(folder)) == grammar
    assert Grammar.from_pretrained(folder).parameters == grammar.parameters
    assert get_dataset_config_names(str(folder)) == ["v4-m2-s2-L2"]
    assert list(folder.parent.iterdir()) == [folder]


def test_the_cards_yaml_is_what_datasets_writes(dataset, tmp_path):
    folder = export_parquet(dataset, tmp_path / "export")
    text = (folder / "README.md").read_text()
    card = yaml.safe_load(text.split("---")[1])
    info = card["dataset_info"]
    assert info["splits"] == [
        {"name": name, "num_bytes": rows * (4 + 8 + 2), "num_examples": rows}  # tokens, label, level 1
        for name, rows in (("train", 20), ("validation", 4), ("test", 6))
    ]
    assert info["download_size"] == sum(file.stat().st_size for file in (folder / "data").iterdir())
    assert info["dataset_size"] == 30 * 14
    assert info["features"][0] == {"name": "input_ids", "list": "uint8", "length": 4}
    (config,) = card["configs"]
    assert config["data_files"][1] == {"split": "validation", "path": "data/validation-*"}
    assert checksum(dataset["train"])[:16] in text
    assert "2.8904" not in text  # no figure of another grammar
    assert f"{grammar_of(dataset).entropy:.4f} nats" in text


def test_large_splits_are_cut_into_files(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_FILE_BYTES", 100)
    folder = export_parquet(dataset["train"], tmp_path / "export")  # 20 rows of 14 bytes
    assert sorted(file.name for file in (folder / "data").iterdir()) == [
        f"train-{i:05d}-of-00003.parquet" for i in range(3)
    ]
    assert load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"][:] == dataset["train"][:]


def test_a_selection_is_measured_and_written_as_it_is(dataset, tmp_path):
    selected = dataset["train"].shuffle(seed=0).select(range(5))
    folder = export_parquet(selected, tmp_path / "export")
    assert load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"][:] == selected[:]
    assert "num_bytes: 70" in (folder / "README.md").read_text()


def test_only_an_empty_or_absent_folder_is_written(dataset, tmp_path):
    (tmp_path / "export").mkdir()
    export_parquet(dataset, tmp_path / "export")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match=r"export' is not empty"):
        export_parquet(dataset, tmp_path / "export")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        export_parquet(dataset, tmp_path / "file")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "file"])


def test_a_failure_leaves_nothing(dataset, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(parquet, "_card", fail)
    with pytest.raises(OSError, match="disk full"):
        export_parquet(dataset, tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_bad_input_is_refused(dataset, tmp_path):
    foreign = Dataset.from_dict({"input_ids": [[0, 1, 2, 3]]})
    with pytest.raises(ValueError, match="pass grammar="):
        export_parquet(foreign, tmp_path / "export")
    with pytest.raises(ValueError, match=r"dataset=.* wrong type"):
        export_parquet([1, 2], tmp_path / "export")
    with pytest.raises(ValueError, match="no rows in train"):
        export_parquet(dataset["train"].select([]), tmp_path / "export")
    with pytest.raises(ValueError, match="dataset has no splits"):
        export_parquet(DatasetDict(), tmp_path / "export")
    with pytest.raises(ValueError, match="cast it to List"):
        export_parquet(foreign, tmp_path / "export", grammar=grammar_of(dataset))
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    cast = foreign.cast(Features(input_ids=List(Value("uint8"), length=4)))
    assert Grammar.from_pretrained(export_parquet(cast, tmp_path / "export", grammar=dataset)) == grammar_of(dataset)


@pytest.mark.parametrize("streaming", [False, True])
def test_what_a_plain_load_gives_knows_its_grammar(dataset, tmp_path, streaming):
    folder = export_parquet(dataset, tmp_path / "export")
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "other"), streaming=streaming)
    assert grammar_of(loaded) == grammar_of(dataset)
    assert grammar_of(loaded["test"]).parameters == grammar_of(dataset).parameters
    if not streaming:
        assert loaded["train"].info.description == dataset["train"].info.description  # how it was sampled, too
        assert grammar_of(loaded["train"].map(lambda row: row).select(range(3))) == grammar_of(dataset)


def test_any_law_given_by_hand_survives_the_card_to_the_last_bit(small_grammar, tmp_path):
    sizes = {"train_size": 20, "validation_size": 0, "test_size": 0}
    made = load_dataset("rhm", grammar=small_grammar, cache_dir=str(tmp_path / "cache"), **sizes)
    folder = export_parquet(made, tmp_path / "export")
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert grammar_of(loaded) == small_grammar
    again = export_parquet(loaded, tmp_path / "again")
    assert (again / "README.md").read_text() == (folder / "README.md").read_text()


def test_a_line_that_is_too_long_for_a_card_stays_in_the_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_LINE_BYTES", 10)
    folder = export_parquet(dataset, tmp_path / "export")
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="pass grammar="):
        grammar_of(loaded)
    assert resolve_grammar(folder) == grammar_of(dataset)


def test_the_card_names_licence_and_tasks(dataset, tmp_path):
    data = DatasetCard.load(export_parquet(dataset, tmp_path / "export") / "README.md").data
    assert data.license == "mit"
    assert data.task_categories == ["text-generation", "fill-mask", "text-classification"]
    assert data.size_categories == ["n<1K"]
    toys = {"train_size": 5, "validation_size": 0, "test_size": 0}
    text = load_dataset("rhm", "pcfg-toy_english", cache_dir=str(tmp_path / "cache"), **toys)
    data = DatasetCard.load(export_parquet(text, tmp_path / "toys") / "README.md").data
    assert data.task_categories == ["text-generation", "fill-mask"]  # its sentences have no classes


def test_the_cards_snippet_runs_without_this_package(dataset, tmp_path):
    folder = export_parquet(dataset, tmp_path / "export")
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[0]
    code = code.replace("path/or/id/of/this/folder", str(folder)) + "import sys\nprint('rhm_hf' in sys.modules)\n"
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == [str(dataset["train"][0]["input_ids"]), "False"]


def test_others_can_read_an_export(dataset, tmp_path):
    folder = export_parquet(dataset, tmp_path / "export")
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o666 & ~umask()}
