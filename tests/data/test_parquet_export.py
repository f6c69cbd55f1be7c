"""The Parquet export: the same rows and grammar come back, complete or not at all."""

import pytest
import yaml
from datasets import Dataset, DatasetDict, Features, List, Value, get_dataset_config_names, load_dataset

from rhm_hf import Grammar, export_parquet, grammar_of, resolve_grammar
from rhm_hf.data import checksum, parquet


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
    with pytest.raises(ValueError, match="dataset is a list"):
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
