"""`rhm info`, `rhm theory`, `rhm show`, `rhm export`, the lists, and whose grammar is meant."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from rhm_hf import Grammar, theory
from rhm_hf.cli.operands import read_grammar
from rhm_hf.data import export_parquet
from rhm_hf.grammar import exchange_synonyms, redraw_rule, registry
from rhm_hf.inference import plateau, position_entropies, posteriors
from rhm_hf.metrics import metric_folders
from rhm_hf.tasks import TASKS


def test_info_gives_exact_numbers(rhm):
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=3)
    printed = rhm("info", "v4-m2-s2-L3", "--rules_seed", 3).stdout
    assert f"10^{math.log10(512):.3f}" in printed
    assert f"{grammar.entropy / 8:.6f} per token" in printed
    found = json.loads(rhm("info", "v4-m2-s2-L3", "--rules-seed", 3, "--json").stdout)  # a dash will do
    assert found["fingerprint"] == grammar.fingerprint
    assert found["num_sentences"] == 512
    assert found["entropy"] == grammar.entropy
    for level, row in enumerate(found["plateaus"]):
        assert row["all positions"] == plateau(grammar, level)
        assert row["last position"] == float(position_entropies(grammar, level)[-1])
        assert f"{row['all positions']:.6g}" in printed
    p = grammar.parameters
    assert [row["masked"] for row in found["theory"]["sample_complexity"]] == [
        theory.sample_complexity(p, level, "masked") for level in (1, 2, 3)
    ]
    assert all(value is not None for row in found["theory"]["sample_complexity"] for value in row.values())
    assert found["theory"]["exponents"]["correlation exponent beta"] == theory.correlation_exponent(p)


def test_theory_is_for_its_own_ensemble_only(rhm):
    found = json.loads(rhm("theory", "v16-m4-s2-L3", "--json").stdout)
    p = Grammar.from_name("v16-m4-s2-L3").parameters
    assert [row["loss plateau"] for row in found["levels"]] == [theory.plateau(p, level) for level in range(4)]
    for name in ("v4-m3-s2-L2-cut1", "v4-m3-s2-L2-zipf1.0", "v4-m2-s2-L2-sparse1", "v4-m4-s2-L2-uncorrelated"):
        refused = rhm("theory", name)
        assert refused.exit_code == 1
        assert name in refused.stderr
        assert "P_l" not in rhm("info", name).stdout


def test_info_of_more_contexts_and_sentences_than_can_be_counted(rhm, monkeypatch):
    def too_many(*_):
        raise ValueError("too many contexts to enumerate")  # after some seconds, where it is real

    monkeypatch.setattr("rhm_hf.inference.position_entropies", too_many)
    result = rhm("info", "v8-m4-s2-L10", "--json")
    found = json.loads(result.stdout)
    assert [row["last position"] for row in found["plateaus"]] == [None] * 11
    assert int(found["num_sentences"]) == 8 * 4**1023  # a string: JSON readers hold no such number
    assert f"10^{math.log10(8) + 1023 * math.log10(4):.3f}" in rhm("info", "v8-m4-s2-L10").stdout


def test_out_writes_tables_and_a_picture(rhm, tmp_path):
    result = rhm("info", "v4-m2-s2-L2", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "info.csv",
        "info.json",
        "info.png",
        "info_2.csv",
    ]
    record = json.loads((tmp_path / "o" / "info.json").read_text())
    assert record["parameters"] == {"grammar": "v4-m2-s2-L2", "rules_seed": None}
    assert record["versions"]["rhm_hf"]
    assert (tmp_path / "o" / "info.csv").read_text().startswith("level,block,all positions,last position\n0,1,")


# Whose grammar?


def test_a_name_a_path_and_a_folder_of_that_name_are_three_things(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, other = "v4-m2-s2-L2", Grammar.from_name("v4-m2-s2-L2", rules_seed=5)
    assert read_grammar(name, 1) == Grammar.from_name(name, rules_seed=1)
    Path(name).mkdir()
    assert read_grammar(name) == Grammar.from_name(name)  # a folder that holds no grammar is in nobody's way
    other.save_pretrained(name)
    with pytest.raises(ValueError, match=rf"may mean two grammars.*\./{name}.*name:{name}"):
        read_grammar(name)
    assert read_grammar(f"./{name}") == read_grammar(str(tmp_path / name)) == other
    assert read_grammar(f"name:{name}") == Grammar.from_name(name)
    with pytest.raises(ValueError, match="rules_seed 3 draws the rules of a short name"):
        read_grammar(f"./{name}", 3)
    other.save_pretrained("mine")
    with pytest.raises(ValueError, match=r"'mine' is no short name.*write \./mine"):
        read_grammar("mine")


@pytest.mark.parametrize("text", ["", "  ", "./nowhere", "no.cfg", "no/where.json", "/no/such/folder"])
def test_what_is_no_grammar_is_refused(text):
    with pytest.raises(ValueError, match=r"empty|there is no"):
        read_grammar(text)


def test_export_keeps_the_folder_one_stands_in(rhm, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    inode = os.stat(".").st_ino
    words = ["export", "v4-m2-s2-L3", ".", "--train_size", 64, "--test_size", 8, "--validation_size", 0]
    result = rhm(*words)
    assert result.exit_code == 0, result.output
    assert os.stat(folder).st_ino == inode == os.stat(".").st_ino
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data", "grammar"]
    assert Grammar.from_pretrained(".").name == "v4-m2-s2-L3"
    again = rhm(*words)
    assert again.exit_code == 1
    assert "not empty" in again.stderr


def test_export_writes_parquet(rhm, tmp_path):
    folder = tmp_path / "data"
    too_many = rhm("export", "v4-m2-s2-L3", folder, "--train_size", 64, "--validation_size", 0)
    assert too_many.exit_code == 1
    assert "do not fit" in too_many.stderr  # the default test split is too large for this grammar
    words = ["--train_size", 64, "--test_size", 8, "--validation_size", 0, "--rules_seed", 2]
    assert rhm("export", "v4-m2-s2-L3", folder, *words).stdout.strip() == str(folder)
    assert list(folder.rglob("*.parquet"))
    assert Grammar.from_pretrained(folder) == Grammar.from_name("v4-m2-s2-L3", rules_seed=2)


def test_a_data_set_is_not_exported_under_another_grammar(tmp_path):
    from datasets import load_dataset

    import rhm_hf  # noqa: F401  registers

    dataset = load_dataset("rhm", "v4-m2-s2-L3", train_size=32, validation_size=0, test_size=0)
    with pytest.raises(ValueError, match="did not make this dataset"):
        export_parquet(dataset, tmp_path / "x", grammar=Grammar.from_name("v4-m2-s2-L3", rules_seed=1))
    assert not (tmp_path / "x").exists()
    export_parquet(dataset, tmp_path / "x", grammar=Grammar.from_name("v4-m2-s2-L3"))


# Trees.


def test_show_draws_the_derivation_that_the_seed_picks(rhm):
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    found = json.loads(rhm("show", "v4-m2-s2-L3", "--rules_seed", 1, "--seed", 7, "--json").stdout)
    levels = grammar.derivations(1, seed=7)
    assert found["derivation"] == [level[0].tolist() for level in levels]
    rules = found["rules"]["Rules of level 3: each symbol writes 2 level-2 symbols"]
    assert rules[2]["writes one of (synonyms)"] == "  |  ".join(f"{a} {b}" for a, b in grammar.rules_at(3)[2])
    printed = rhm("show", "v4-m2-s2-L3", "--rules_seed", 1, "--seed", 7).stdout
    assert "tokens         " + " ".join(map(str, levels[0][0])) in printed


def test_show_gives_probabilities_where_they_differ(rhm):
    found = json.loads(rhm("show", "v4-m3-s2-L2-zipf1.0@1", "--json").stdout)
    low = next(rows for title, rows in found["rules"].items() if "level 1" in title)
    law = Grammar.from_name("v4-m3-s2-L2-zipf1.0@1").rule_probs_at(1)[0]
    assert low[0]["writes one of (synonyms)"].count("[") == 3
    assert f"[{law[0]:.3g}]" in low[0]["writes one of (synonyms)"]


def test_resample_says_what_changes(rhm):
    grammar = Grammar.from_name("v4-m2-s2-L3")
    rows = grammar.derivations(1, seed=2)
    for text, changed in (
        ("level=2", exchange_synonyms(grammar, rows, 2, seed=3)),
        ("level=2,node=2", redraw_rule(grammar, rows, 2, 1, seed=3)),
    ):
        found = json.loads(rhm("show", "v4-m2-s2-L3", "--seed", 2, "--resample", text, "--json").stdout)["resampled"]
        assert found["derivation"] == [level[0].tolist() for level in changed]
        assert found["changed"] == [(a != b)[0].tolist() for a, b in zip(rows, changed, strict=True)]
        assert any(found["changed"][0])
        printed = rhm("show", "v4-m2-s2-L3", "--seed", 2, "--resample", text).stdout
        stars = sum(sum(level) for level in found["changed"])
        assert printed.partition("Rules")[0].count("*") == stars


def test_posterior_of_masks_and_prefixes(rhm):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    row = grammar.sample(1, seed=0).astype(np.int64)
    hidden = np.array([[False, True, True, False]])
    laws = posteriors(grammar, tokens=row, mask=hidden)
    found = json.loads(rhm("show", "v4-m2-s2-L2", "--mask", "2-3", "--json").stdout)
    assert found["tokens"] == [int(row[0, 0]), None, None, int(row[0, 3])]
    for mine, theirs in zip(found["posteriors"], laws, strict=True):
        np.testing.assert_allclose(mine, theirs[0], atol=1e-15)
    prefix = json.loads(rhm("show", "v4-m2-s2-L2", "--tokens", f"{row[0, 0]} ?", "--json").stdout)
    assert prefix["tokens"] == [int(row[0, 0]), None, None, None]
    parsed = json.loads(rhm("show", "v4-m2-s2-L2", "--tokens", " ".join(map(str, row[0])), "--json").stdout)
    assert parsed["derivation"] == [level[0].tolist() for level in grammar.derivations(1, seed=0)]


@pytest.mark.parametrize(
    "words",
    [
        ["--posterior"],
        ["--mask", "9"],
        ["--mask", "x"],
        ["--tokens", "0 9"],
        ["--tokens", "0 0 0 0 0"],
        ["--resample", "level=9"],
        ["--resample", "depth=1"],
        ["--resample", "level=1,node=9"],
        ["--resample", "level=1", "--mask", "1"],
        ["--out", "tree.gif"],
    ],
)
def test_show_refuses_what_it_cannot_draw(rhm, words):
    result = rhm("show", "v4-m2-s2-L2", *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("rhm show: --")


def test_impossible_tokens_are_refused(rhm):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    sentences = {tuple(row) for row in grammar.sample(32).tolist()}
    wrong = next(row for row in np.ndindex(4, 4, 4, 4) if row not in sentences)
    result = rhm("show", "v4-m2-s2-L2", "--tokens", " ".join(map(str, wrong)))
    assert result.exit_code == 1
    assert "no sentence" in result.stderr


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_show_writes_a_picture(rhm, tmp_path, ending):
    path = tmp_path / f"tree.{ending}"
    result = rhm("show", "v4-m2-s2-L2", "--resample", "level=1", "--out", path)
    assert result.exit_code == 0, result.output
    assert path.stat().st_size > 1000
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # nothing half written is left


# What there is.


def test_lists_are_complete(rhm):
    families = json.loads(rhm("families", "--json").stdout)
    assert [row["family"] for row in families["families"]] == list(registry.families())
    assert [row["ensemble"] for row in families["names"]] == list(registry.kinds())
    metrics = json.loads(rhm("metrics", "--json").stdout)
    assert [row["metric"] for row in metrics] == list(metric_folders())
    assert all(rhm(*row["command"].split()[1:], "--help").exit_code == 0 for row in metrics)
    tasks = json.loads(rhm("tasks", "--json").stdout)
    assert [row["task"] for row in tasks] == list(TASKS)
