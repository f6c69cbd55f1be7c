"""The cards on disk are what the code builds, and what they say holds."""

import hashlib

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from hub_cards import build
from rhm_hf import Grammar
from rhm_hf.data import facts


@pytest.fixture(scope="module")
def card() -> DatasetCard:
    return DatasetCard.load(build.FOLDER / "rhm.md")


def test_every_card_is_up_to_date():
    assert build.stale_cards() == [], "run python -m hub_cards.build"


def test_a_stale_card_is_noticed_and_rewritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "CARDS", {"a.md": lambda: DatasetCard("---\nlicense: mit\n---\ntext")})
    assert build.main(["--check"]) == 1
    assert "out of date: a.md" in capsys.readouterr().out
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    assert DatasetCard.load(tmp_path / "a.md").data.license == "mit"


def test_the_metadata_is_valid_and_complete(card):
    data = card.data.to_dict()
    assert data["size_categories"] == ["10K<n<100K"]
    infos = {info["config_name"]: info for info in data["dataset_info"]}
    assert {"v16-m4-s2-L3", "v16-m4-s2-L6"} <= infos.keys()
    train = infos["v16-m4-s2-L6"]["splits"][0]
    assert train == {"name": "train", "num_bytes": 8192 * (64 + 8), "num_examples": 8192}


def test_the_checksums_and_figures_are_those_of_the_grammar(card):
    grammar = Grammar.from_name("v32-m8-s2-L4")
    for split, size in (("train", 8192), ("validation", 1024), ("test", 1024)):
        digest = hashlib.sha256(grammar.sample(size, split=split).tobytes()).hexdigest()
        assert f"| `v32-m8-s2-L4` | {split} | {size:,} | `{digest}` |" in card.text
    assert f"{grammar.entropy / 16:.4f} nats" in card.text
    assert "262,144" in card.text  # 16 * 4^7 sentences of v16-m4-s2-L3


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (10_240, "10K<n<100K"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories_are_the_hubs(rows, category):
    assert facts.size_category(rows) == category


def test_facts_of_an_uneven_grammar():
    grammar = Grammar.from_rules([[[[0, 1, 1], [1, 0, 0]]], [[[0, 1]], [[1, 2]]]])
    said = facts.grammar_facts(grammar)
    assert said["rules seed"] == "rules given by hand"
    assert said["rules per symbol m"] == "2, 1 (root first)"
    assert said["children per rule s"] == "3, 2 (root first)"
    assert said["distinct sentences P_max"] == "2"
    assert said["entropy of a sentence"] == f"{np.log(2):.4f} nats"
    assert facts.big_integer(10**400) == "10^400.00"
