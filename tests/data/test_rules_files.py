"""A file of rules stands wherever a short name does; what it holds is what counts."""

import json

import numpy as np
import pytest
from datasets import load_dataset
from transformers import AutoTokenizer

from rhm_hf import PCFG, Grammar, RHMForCausalLM, grammar_of, load_metric, resolve_grammar, rhm_tokenizer
from rhm_hf.data import export_parquet
from rhm_hf.data.provenance import named_grammar
from rhm_hf.grammar import registry


RULES = "S -> a S b [0.4] | a b [0.6]"
OTHER = "S -> b S a [0.4] | b a [0.6]"
SIZES = {"train_size": 40, "validation_size": 4, "test_size": 6}
PHYSICS = {
    "all": [
        [{"id": 0, "name": "S", "children": [[0, 1], [1, 0, 1]]}],
        [{"id": 0, "name": "A", "children": None}, {"id": 1, "name": "B", "children": None}],
    ]
}


@pytest.fixture
def rules(tmp_path):
    """A file of rules, with the tests' cache beside it."""
    path = tmp_path / "anbn.cfg"
    path.write_text(RULES)
    return path


def test_grammar_reads_text_and_files(rules):
    expected = PCFG.from_text(RULES)
    assert Grammar.from_text(RULES) == Grammar.from_file(rules) == Grammar.from_file(str(rules)) == expected
    assert Grammar.from_text(RULES).terminals == ("a", "b")
    assert Grammar.from_text("X -> y\nS -> X X", start="S").terminals == ("y",)
    plain = rules.with_suffix(".txt")
    plain.write_text(RULES)
    assert Grammar.from_file(plain) == resolve_grammar(plain) == expected
    rules.write_text("S - a")
    with pytest.raises(ValueError, match=r"anbn\.cfg: line 1"):
        Grammar.from_file(rules)
    with pytest.raises(ValueError, match="a folder, and no file of rules"):
        Grammar.from_file(rules.parent)
    with pytest.raises(ValueError, match=r"none\.cfg.*not there"):
        Grammar.from_file(rules.with_name("none.cfg"))


def test_physics_json_stands_for_a_grammar(tmp_path):
    path = tmp_path / "cfg3x.json"
    path.write_text(json.dumps(PHYSICS))
    loaded = load_dataset("rhm", str(path), cache_dir=str(tmp_path / "cache"), **SIZES)
    assert grammar_of(loaded) == Grammar.from_file(path) == PCFG.from_text("S -> '0' '1' | '1' '0' '1'")


def test_a_file_stands_where_a_short_name_does(rules, monkeypatch):
    monkeypatch.chdir(rules.parent)
    grammar = Grammar.from_text(RULES)
    for name in ("anbn.cfg", "./anbn.cfg", str(rules)):
        loaded = load_dataset("rhm", name, rules_seed=0, cache_dir=str(rules.parent / "cache"), **SIZES)
        assert grammar_of(loaded) == named_grammar(name) == resolve_grammar(name) == grammar
        expected, lengths = grammar.sample(40, return_lengths=True)
        assert loaded["train"]["input_ids"] == [r[:n].tolist() for r, n in zip(expected, lengths, strict=True)]
        assert loaded["train"].info.config_name == f"custom-{grammar.fingerprint[:12]}"
    oracle = RHMForCausalLM.from_grammar("anbn.cfg")
    assert oracle.grammar == grammar
    for given in ("anbn.cfg", rules, loaded):
        found = load_metric("rhm_kl").compute(model=oracle, grammar=given, input_ids=loaded["test"]["input_ids"])
        assert abs(found["kl"]) < 1e-9
    found = load_metric("grammaticality").compute(input_ids=[[0, 1], [1, 0]], grammar="./anbn.cfg")
    assert found["valid"] == 0.5


def test_content_is_what_counts(rules, tmp_path):
    """A file that was overwritten gives new rows; one that was moved, or written otherwise, the cached ones."""
    cache = {"cache_dir": str(tmp_path / "cache"), **SIZES}
    first = load_dataset("rhm", str(rules), **cache)
    rules.write_text(OTHER)
    second = load_dataset("rhm", str(rules), **cache)
    assert [row[0] for row in first["train"]["input_ids"]] == [0] * 40
    assert grammar_of(second) == Grammar.from_text(OTHER) != grammar_of(first)
    assert rhm_tokenizer(grammar_of(second)).decode(second["train"][0]["input_ids"]).startswith(" b")
    moved = tmp_path / "moved.pcfg"
    moved.write_text("# the same rules\n0.4: S -> a S b\n0.6: S -> a b\n")
    third = load_dataset("rhm", str(moved), **cache)
    assert third["train"].cache_files == first["train"].cache_files


def test_what_is_no_file_and_no_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("none.cfg", "./none.pcfg", "pcfg-mine.cfg", "no/where.json"):
        with pytest.raises(ValueError, match="ends as a file of rules, and is not there"):
            load_dataset("rhm", name, cache_dir=str(tmp_path))
        with pytest.raises(ValueError, match="ends as a file of rules, and is not there"):
            named_grammar(name)
    with pytest.raises(ValueError, match="is not a grammar's short name"):
        named_grammar("dyck")
    (tmp_path / "pcfg-mine.cfg").write_text(RULES)
    assert named_grammar("pcfg-mine.cfg") == Grammar.from_text(RULES)
    (tmp_path / "v4-m2-s2-L2").write_text(RULES)  # a short name is one, whatever lies about
    assert named_grammar("v4-m2-s2-L2", rules_seed=1) == Grammar.from_name("v4-m2-s2-L2", 1)
    with pytest.raises(ValueError, match=r"rules_seed=3 has no meaning for 'pcfg-mine\.cfg'"):
        named_grammar("pcfg-mine.cfg", rules_seed=3)
    with pytest.raises(ValueError, match="rules_seed=3 has no meaning"):
        load_dataset("rhm", "pcfg-mine.cfg", rules_seed=3, cache_dir=str(tmp_path))


def test_families_may_read_files_of_their_own(tmp_path, monkeypatch):
    class Other(PCFG):
        @classmethod
        def from_file(cls, path, start=None):
            return cls.from_text(path.read_text().replace("=", "->"))

    monkeypatch.setattr(registry, "_READERS", dict(registry._READERS))
    registry.register_reader(Other, ".other")
    path = tmp_path / "rules.other"
    path.write_text("S = a b")
    assert type(resolve_grammar(path)) is Other
    assert ".other" in registry.rule_endings()


@pytest.mark.parametrize(
    "text",
    [
        RULES,
        "S -> '<s>' S '<pad>' [0.4] | '<mask>' '%' [0.6]",
        "S -> 'New York' S [0.3] | 'New%20York' '%' 'a\tb' [0.7]",
        "S -> 'ünï' S | '<s>_<s>' | '3'",
    ],
)
def test_the_tokenizer_writes_terminals(text, tmp_path):
    grammar = Grammar.from_text(text)
    rhm_tokenizer(grammar).save_pretrained(tmp_path)
    rows, v = grammar.sample(50, return_lengths=True), grammar.vocab_size
    for tokenizer in (rhm_tokenizer(grammar), AutoTokenizer.from_pretrained(tmp_path)):
        assert len(set(tokenizer.get_vocab())) == v + 3
        for row, n in zip(*rows, strict=True):
            ids = row[:n].tolist()
            written = tokenizer.decode(ids)
            assert tokenizer(written, add_special_tokens=False)["input_ids"] == ids
            if not any(" " in t or "\t" in t for t in grammar.terminals):
                assert written == "".join(f" {grammar.terminals[i]}" for i in ids)
        specials = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id)
        assert specials == (v, v, v + 1, v + 2)
    fixed = Grammar.from_name("v4-m2-s2-L2")
    assert rhm_tokenizer(fixed).get_vocab() == rhm_tokenizer(4).get_vocab()


def test_a_parquet_export_keeps_the_rules(rules, tmp_path):
    loaded = load_dataset("rhm", str(rules), cache_dir=str(tmp_path / "cache"), **SIZES)
    folder = export_parquet(loaded, tmp_path / "export")
    assert resolve_grammar(folder) == Grammar.from_text(RULES)
    assert resolve_grammar(folder).terminals == ("a", "b")
    np.testing.assert_equal(
        load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]["input_ids"],
        loaded["train"]["input_ids"],
    )
