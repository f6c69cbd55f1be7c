import json
import os

import numpy as np
import pytest
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar


def test_round_trip_to_the_last_bit(small_grammar, tmp_path):
    small_grammar.save_pretrained(tmp_path / "deep" / "er")
    again = Grammar.from_pretrained(tmp_path / "deep" / "er")
    assert again == small_grammar
    assert again.parameters == small_grammar.parameters
    assert again.name == small_grammar.name
    assert sorted(file.name for file in (tmp_path / "deep" / "er").iterdir()) == [
        "grammar.json",
        "grammar.safetensors",
    ]


def test_a_folder_named_grammar_inside_is_found(tmp_path):
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=2)
    grammar.save_pretrained(tmp_path / "grammar")
    assert Grammar.from_pretrained(str(tmp_path)) == grammar


def test_saving_over_another_grammar(tmp_path):
    skewed_grammar().save_pretrained(tmp_path)
    grammar = Grammar.from_name("v4-m2-s2-L2")
    grammar.save_pretrained(tmp_path)
    assert Grammar.from_pretrained(tmp_path) == grammar


def test_the_description_can_be_read(tmp_path):
    Grammar.from_name("v16-m4-s2-L3-c8", rules_seed=2**63 - 1).save_pretrained(tmp_path)
    description = json.loads((tmp_path / "grammar.json").read_text())
    assert description["name"] == "v16-m4-s2-L3-c8"
    assert description["parameters"]["rules_seed"] == 2**63 - 1
    assert description["max_length"] == 8


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no grammar\.safetensors"):
        Grammar.from_pretrained(tmp_path)


def test_files_of_two_grammars(tmp_path):
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path / "a")
    Grammar.from_name("v4-m2-s2-L2", rules_seed=1).save_pretrained(tmp_path / "b")
    (tmp_path / "a" / "grammar.json").replace(tmp_path / "b" / "grammar.json")
    with pytest.raises(ValueError, match=r"does not belong to grammar\.json beside it"):
        Grammar.from_pretrained(tmp_path / "b")


def test_another_format(tmp_path):
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    description = json.loads((tmp_path / "grammar.json").read_text())
    (tmp_path / "grammar.json").write_text(json.dumps(description | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99; this version of rhm_hf reads 2"):
        Grammar.from_pretrained(tmp_path)


def test_rules_are_checked_when_they_are_read(tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    path = tmp_path / "grammar.safetensors"
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    save_file(arrays | {"rules.1": np.full_like(arrays["rules.1"], 3)}, path, metadata)
    with pytest.raises(ValueError, match="ambiguous"):
        Grammar.from_pretrained(tmp_path)
    save_file(arrays | {"rules.1": arrays["rules.1"][::-1].copy()}, path, metadata)
    with pytest.raises(ValueError, match="the checksums differ"):
        Grammar.from_pretrained(tmp_path)


def test_what_was_edited_is_refused(tmp_path):
    """Name and parameters are covered by the checksum, as the rules are."""
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    text = (tmp_path / "grammar.json").read_text()
    for old, new in (('"rules_seed": 0', '"rules_seed": 1'), ('"name": "v4', '"name": "v5')):
        assert old in text
        (tmp_path / "grammar.json").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match="was changed"):
            Grammar.from_pretrained(tmp_path)


def test_a_kill_between_the_two_renames_leaves_the_new_grammar(tmp_path, monkeypatch):
    old, new = Grammar.from_name("v4-m2-s2-L2"), Grammar.from_name("v4-m2-s2-L3")
    old.save_pretrained(tmp_path)
    replace, renamed = os.replace, []

    def killed_at_the_second(*args):
        renamed.append(args)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        replace(*args)

    monkeypatch.setattr(os, "replace", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        new.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "grammar.json").read_text())["name"] == old.name
    assert Grammar.from_pretrained(tmp_path) == new
    assert not list(tmp_path.glob("*partial*"))


def test_others_can_read_what_is_saved(tmp_path):
    Grammar.from_name("v4-m2-s2-L2").save_pretrained(tmp_path)
    (tmp_path / "plain").touch()
    modes = {file.stat().st_mode for file in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_hub_id_is_downloaded_grammar_files_only(tmp_path, monkeypatch):
    import huggingface_hub

    grammar, asked = Grammar.from_name("v4-m2-s2-L2"), {}
    grammar.save_pretrained(tmp_path / "grammar")

    def snapshot_download(repo_id, **arguments):
        asked.update(arguments, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert Grammar.from_pretrained("someone/rhm", revision="v1", repo_type="dataset") == grammar
    patterns = asked.pop("allow_patterns")
    assert asked == {"repo_id": "someone/rhm", "revision": "v1", "repo_type": "dataset"}
    names = ("grammar.json", "grammar.safetensors")  # and a model's configuration, whose law the grammar must be
    assert sorted(patterns) == sorted([*names, *(f"grammar/{name}" for name in names), "config.json"])
