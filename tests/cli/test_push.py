"""`rhm push` and `push_to_hub`: a dry run leaves this machine alone, the upload goes through huggingface_hub."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from datasets import load_dataset
from huggingface_hub import CommitInfo, DatasetCard, ModelCard, RepoUrl, SpaceCard

import rhm_hf
from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM, grammar_of
from rhm_hf.hub import Upload


SMALL = ["--train_size", 40, "--validation_size", 0, "--test_size", 8]


class Hub:
    """A stand-in of `HfApi` that keeps what is uploaded in a folder."""

    place: Path
    calls: list

    def __init__(self, token=None, library_name=None):
        self.calls.append(("login", token, library_name))

    def create_repo(self, repo_id, *, repo_type, private, exist_ok, space_sdk=None):
        self.calls.append(("create_repo", repo_id, repo_type, private, exist_ok, space_sdk))
        return RepoUrl(f"https://huggingface.co/{'' if repo_type == 'model' else repo_type + 's/'}me/{repo_id[3:]}")

    def upload_folder(self, *, repo_id, repo_type, folder_path, ignore_patterns, commit_message, create_pr):
        self.calls.append(("upload_folder", repo_id, repo_type, commit_message, create_pr))
        for path in sorted(Path(folder_path).rglob("*")):
            name = path.relative_to(folder_path).as_posix()
            if path.is_file() and list(
                huggingface_hub.utils.filter_repo_objects([name], ignore_patterns=ignore_patterns)
            ):
                (self.place / name).parent.mkdir(parents=True, exist_ok=True)
                (self.place / name).write_bytes(path.read_bytes())
        return CommitInfo(f"https://huggingface.co/{repo_id}/commit/1", commit_message, "", "1")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    Hub.place, Hub.calls = tmp_path / "hub", []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


@pytest.fixture
def no_hub(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a dry run must not reach the Hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", refuse)


@pytest.mark.parametrize(
    ("words", "kind", "files"),
    [
        (["grammar", "v4-m2-s2-L2"], "model", ["README.md", "grammar.json", "grammar.safetensors"]),
        (["grammar", "pcfg-toy_english"], "model", ["README.md", "grammar.json", "grammar.safetensors"]),
        (
            ["dataset", "v4-m2-s2-L3", *SMALL],
            "dataset",
            ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
        ),
        (["oracle", "v4-m2-s2-L2"], "model", ["README.md", "config.json", "grammar/grammar.json"]),
        (["metric", "rhm_kl"], "space", ["README.md", "app.py", "requirements.txt", "rhm_kl.py"]),
        (["page", "v4-m2-s2-L2"], "space", ["README.md", "index.html"]),
    ],
)
def test_a_dry_run_lists_what_would_be_uploaded(rhm, no_hub, words, kind, files):
    result = rhm("push", *words, "me/thing", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "nothing was uploaded" in result.stdout
    assert f"me/thing ({kind})" in result.stdout
    found = json.loads(rhm("push", *words, "me/thing", "--dry_run", "--json").stdout)
    assert (found["repo_id"], found["repo_type"], found["url"]) == ("me/thing", kind, None)
    names = [file["file"] for file in found["files"]]
    assert set(files) <= set(names)
    assert all(name in result.stdout for name in names)
    assert found["bytes"] == sum(file["bytes"] for file in found["files"]) > 0


def test_what_was_pushed_loads_and_its_card_says_what_it_is(rhm, hub, tmp_path):
    words = ["push", "dataset", "v4-m2-s2-L3", "--rules_seed", 3, "me/rows", *SMALL, "--private", "--levels"]
    result = rhm(*words)
    assert result.exit_code == 0, result.output
    assert "https://huggingface.co/me/rows/commit/1" in result.stdout
    assert hub.calls == [
        ("login", None, "rhm_hf"),
        ("create_repo", "me/rows", "dataset", True, True, None),
        ("upload_folder", "me/rows", "dataset", "Upload with rhm_hf", False),
    ]
    loaded = load_dataset(str(hub.place), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 40, "test": 8}
    assert grammar_of(loaded) == Grammar.from_name("v4-m2-s2-L3", rules_seed=3)
    card = DatasetCard.load(hub.place / "README.md").data
    assert (card.license, card.size_categories) == ("mit", ["n<1K"])
    assert card.task_categories == ["text-generation", "fill-mask", "text-classification"]


def test_an_export_is_pushed_as_it_is(rhm, hub, tmp_path):
    assert rhm("export", "v4-m2-s2-L3", tmp_path / "made", *SMALL).exit_code == 0
    assert rhm("push", "dataset", tmp_path / "made", "me/rows", "--create_pr").exit_code == 0
    assert hub.calls[-1] == ("upload_folder", "me/rows", "dataset", "Upload with rhm_hf", True)
    for path in (path for path in (tmp_path / "made").rglob("*") if path.is_file()):
        assert (hub.place / path.relative_to(tmp_path / "made")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("option", "model"), [([], RHMForCausalLM), (["--masked"], RHMForMaskedLM)])
def test_an_oracle_on_the_hub_is_the_law(rhm, hub, option, model):
    assert rhm("push", "oracle", "v4-m2-s2-L2", "me/law", *option).exit_code == 0
    found = rhm_hf.load_metric("rhm_kl").compute(model=str(hub.place))
    assert abs(found["kl"]) < 1e-9
    assert type(model.from_pretrained(hub.place)) is model
    card = ModelCard.load(hub.place / "README.md")
    assert card.data.pipeline_tag == ("fill-mask" if option else "text-generation")
    assert model.__name__ in card.text
    assert all(path.stat().st_mode & 0o044 for path in hub.place.rglob("*"))


def test_push_to_hub_of_every_family(hub):
    for name in ("v4-m2-s2-L2", "pcfg-toy_english", "v4-m2-s2-L2-sparse1", "hmm-v4-h2-m2-d4-p0.5"):
        grammar = Grammar.from_name(name)
        assert (
            grammar.push_to_hub("me/grammar", private=False, token="t") == "https://huggingface.co/me/grammar/commit/1"
        )
        assert Grammar.from_pretrained(hub.place) == grammar
        card = ModelCard.load(hub.place / "README.md")
        assert card.data.license == "mit"
        assert grammar.name in card.text
    assert hub.calls[0] == ("login", "t", "rhm_hf")
    assert hub.calls[1] == ("create_repo", "me/grammar", "model", False, True, None)


def test_spaces(rhm, hub):
    assert rhm("push", "metric", "grammaticality", "me/grammaticality").exit_code == 0
    assert hub.calls[1] == ("create_repo", "me/grammaticality", "space", None, True, "gradio")
    assert rhm("push", "page", "v4-m2-s2-L2", "me/page").exit_code == 0
    assert SpaceCard.load(hub.place / "README.md").data.sdk == "static"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grammer", "v4-m2-s2-L2", "me/x"], "Did you mean 'grammar'?"),
        (["grammar", "v4-m2-s2-L2", "me/x/y"], "repo_id='me/x/y' is no name of a repository"),
        (["grammar", "./nowhere", "me/x"], "there is no folder or file './nowhere'"),
        (["metric", "rhm_lk", "me/x"], "no metric of rhm_hf: it has"),
        (["page", "pcfg-toy_english", "me/x"], "a plain Random Hierarchy Model"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_a_line(no_hub, capsys, words, message):
    from rhm_hf.cli import main

    assert main(["push", *words]) in (1, 2)
    assert message in capsys.readouterr().err


def test_only_what_is_there_is_uploaded(tmp_path, hub):
    with pytest.raises(ValueError, match="holds no file"):
        Upload(tmp_path / "empty", "me/x")
    with pytest.raises(ValueError, match="repo_type='models'"):
        Upload(tmp_path, "me/x", "models")
    (tmp_path / "made" / ".cache").mkdir(parents=True)
    for name in ("a.txt", ".secret", ".cache/b", "sub/.hidden", "sub/[1].txt"):
        (tmp_path / "made" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "made" / name).write_text("1")
    upload = Upload(tmp_path / "made", "me/x")
    assert [name for name, _ in upload.files()] == ["a.txt", "sub/[1].txt"]
    upload.send()
    assert sorted(p.relative_to(hub.place).as_posix() for p in hub.place.rglob("*") if p.is_file()) == [
        "a.txt",
        "sub/[1].txt",
    ]


def test_the_page_as_a_file(rhm, tmp_path):
    result = rhm("play", "v4-m2-s2-L2", "--rules_seed", 5, "--out", tmp_path / "page.html")
    assert result.stdout.strip() == str(tmp_path / "page.html")
    assert '"seed": "5"' in (tmp_path / "page.html").read_text()
    assert rhm("play", "--out", tmp_path / "page.txt").exit_code == 1
