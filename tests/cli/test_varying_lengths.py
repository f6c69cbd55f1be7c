"""Commands on sources whose sentences differ in length: a family from outside, and general grammars and trees."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import palindromes  # noqa: F401  registers the family
import pytest

from rhm_hf import Grammar
from rhm_hf.cli.commands.brute_force import Definition, Listed
from rhm_hf.cli.commands.productions import Productions
from rhm_hf.cli.corpora import TextSource, read_text
from rhm_hf.grammar import PCFG, registry


NAME = "palindromes-v3-h2"
RULES = "S -> a S b [0.4] | a b [0.6]"
VARYING = ["pcfg-dyck2", "pcfg-toy_english", "trees-v4-s2m2-s3m2-L2"]  # of families that this version may have


def flat(grammar) -> SimpleNamespace:
    """A grammar of fixed trees as production rules without levels, the start symbol first."""
    v = grammar.vocab_size
    code, lefts, rights, probs = {("start", 0): v}, [], [], []
    for level in range(grammar.depth, 0, -1):
        for symbol in range(grammar.num_symbols_at(level)):
            code[level, symbol] = v + len(code)
    code |= {(0, token): token for token in range(v)}
    for symbol, p in enumerate(grammar.root_probs):
        lefts.append(0), rights.append((code[grammar.depth, symbol],)), probs.append(p)
    for level in range(grammar.depth, 0, -1):
        for symbol in range(grammar.num_symbols_at(level)):
            for rule, p in zip(grammar.rules_at(level)[symbol], grammar.rule_probs_at(level)[symbol], strict=True):
                lefts.append(code[level, symbol] - v)
                rights.append(tuple(code[level - 1, int(child)] for child in rule))
                probs.append(p)
    return SimpleNamespace(vocab_size=v, rules=SimpleNamespace(lefts=lefts, right_sides=rights, probs=probs))


@pytest.mark.parametrize("name", ["v4-m2-s2-L2", "v4-m3-s2-L2-zipf0.7"])
def test_production_rules_give_the_law_of_the_levels(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    expected = Listed(Definition.of(grammar).derivations(), grammar.vocab_size)
    productions = Productions.of(flat(grammar))
    listed = Listed(productions.derivations(), grammar.vocab_size, with_end=True)
    assert productions.num_derivations() == len(expected.derivations)
    assert listed.sentences == pytest.approx(expected.sentences, abs=1e-15)
    laws = listed.prefixes()
    for prefix, law in expected.prefixes().items():
        np.testing.assert_allclose(laws[prefix][:-1], law, atol=1e-14)
    assert all(laws[sentence][-1] == 1 for sentence in listed.sentences)  # END
    number = 20_000
    drawn = Counter(productions.draw(number, seed=3))
    statistic = sum((drawn[s] - number * p) ** 2 / (number * p) for s, p in expected.sentences.items())
    freedom = len(expected.sentences) - 1
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)
    assert set(drawn) <= set(expected.sentences)


def test_recursive_rules_have_infinitely_many_derivations():
    rules = SimpleNamespace(lefts=[0, 0], right_sides=[(0, 2, 1), ()], probs=[0.5, 0.5])
    productions = Productions.of(SimpleNamespace(vocab_size=2, rules=rules))
    assert productions.num_derivations() == np.inf
    lengths = np.array([len(sentence) for sentence in productions.draw(4000, seed=0)])
    assert abs(lengths.mean() - 2) < 5 * lengths.std() / np.sqrt(4000)
    endless = SimpleNamespace(lefts=[0], right_sides=[(0, 2)], probs=[1.0])
    with pytest.raises(ValueError, match="did not end"):
        Productions.of(SimpleNamespace(vocab_size=2, rules=endless)).draw(1, seed=0)


def test_info_of_lengths_that_vary(rhm):
    found = json.loads(rhm("info", NAME, "--json").stdout)
    source = Grammar.from_name(NAME)
    assert found["lengths"]["mean"] == source.mean_length
    assert (found["lengths"]["shortest"], found["lengths"]["longest"]) == (2, 4)
    assert sum(found["lengths"]["share"].values()) == pytest.approx(1)
    assert found["sentence_length"] is None
    printed = rhm("info", NAME).stdout
    assert "3.0000 on average; 2 to 4 in 4096 sentences drawn" in printed
    assert "plateau" not in printed


def test_padding_is_no_token_of_a_text():
    corpus = read_text(f"grammar:{NAME}", TextSource(num_sentences=50))
    assert {len(row) for row in corpus.ids} == {2, 4}
    assert all((row == row[::-1]).all() and row.max() < 3 for row in corpus.ids)


def test_correlations_of_sentences_that_differ_in_length(rhm):
    found = json.loads(rhm("correlations", f"grammar:{NAME}", "--max_distance", 3, "--json").stdout)
    assert found["vocab_size"] == 3


@pytest.mark.parametrize("words", [["verify"], ["show"], ["theory"], ["show", "--mask", "1"]])
def test_what_the_family_lacks_is_a_line(rhm, words):
    result = rhm(words[0], NAME, *words[1:])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "unexpected" not in result.stderr


@pytest.mark.parametrize("name", VARYING)
def test_families_of_this_version(rhm, name):
    if not registry.is_name(name):
        pytest.skip(f"this version has no family with the name {name}")
    verified = rhm("verify", name, "--json")
    assert verified.exit_code == 0, verified.output
    assert len(json.loads(verified.stdout)["checks"]) >= 6
    drawn = json.loads(rhm("generate", f"oracle:{name}", "--length", 400, "--num", 5, "--json").stdout)["sequences"]
    assert all(sequence["text"].split() for sequence in drawn)
    shown = json.loads(rhm("show", name, "--seed", 3, "--json").stdout)
    source = Grammar.from_name(name)
    tokens, lengths = source.sample(1, seed=3, return_lengths=True)
    terminals = getattr(source, "terminals", [str(token) for token in range(source.vocab_size)])
    assert shown["tokens"] == [terminals[token] for token in tokens[0][: lengths[0]]]


def test_a_file_of_rules_stands_where_a_name_does(rhm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab.cfg").write_text(RULES + "\n")
    grammar = PCFG.from_text(RULES)
    found = json.loads(rhm("info", "ab.cfg", "--json").stdout)
    assert found["fingerprint"] == grammar.fingerprint
    assert found["lengths"]["mean"] == pytest.approx(2 / (1 - 0.4))
    shown = json.loads(rhm("show", "./ab.cfg", "--seed", 1, "--json").stdout)
    half = len(shown["tokens"]) // 2
    assert shown["tokens"] == ["a"] * half + ["b"] * half
    drawn = json.loads(rhm("generate", "oracle:ab.cfg", "--num", 20, "--json").stdout)["sequences"]
    assert all(sorted(text.split()) == text.split() for text in (sequence["text"] for sequence in drawn))
    assert rhm("verify", "ab.cfg").exit_code == 0
    missing = rhm("info", "abc.cfg")
    assert missing.exit_code == 1
    assert "Did you mean 'ab.cfg'?" in missing.stderr
    (tmp_path / "bad.cfg").write_text("S -> a S\n")
    assert rhm("info", "bad.cfg").stderr.startswith("rhm info: bad.cfg: ")


def test_show_says_what_hidden_tokens_and_spans_are(rhm):
    grammar = Grammar.from_name("pcfg-toy_english")
    words = "Ada saw a ? with a telescope"
    found = json.loads(rhm("show", "pcfg-toy_english", "--tokens", words, "--json").stdout)
    nouns = {grammar.terminals[k]: p for k, p in enumerate(found["token_laws"][3]) if p > 0}
    assert nouns.keys() == {"man", "dog", "telescope", "park"}
    assert sum(nouns.values()) == pytest.approx(1)
    spans = {(s["symbol"], s["first"], s["last"]): s["prob"] for s in found["spans"]}
    # Derivations: "with a telescope" belongs to the verb phrase, or to what was seen.
    assert spans["S", 1, 7] == pytest.approx(1)
    assert spans["PP", 5, 7] == pytest.approx(1)
    np_pp = 0.1 * 0.5  # NP -> NP PP below VP -> Verb NP
    vp_pp = 0.2 * 0.5  # VP -> VP PP above it
    assert spans["NP", 3, 7] == pytest.approx(np_pp / (np_pp + vp_pp))
    assert spans["VP", 2, 4] == pytest.approx(vp_pp / (np_pp + vp_pp))
    shown = rhm("show", "pcfg-toy_english", "--tokens", words)
    assert shown.exit_code == 0, shown.output
    assert "Hidden tokens" in shown.stdout
    whole = rhm("show", "pcfg-toy_english", "--tokens", words.replace("?", "dog"))
    assert "the most probable tree" in whole.stdout


def test_show_says_what_a_prefix_leaves_open(rhm):
    source = Grammar.from_name("pcfg-toy_english")
    found = json.loads(rhm("show", "pcfg-toy_english", "--tokens", "the man saw ..", "--json").stdout)
    row = source.encode("the man saw")
    laws = source.laws.token_laws([row])[0][0, 3]
    assert found["next_token_law"] == pytest.approx(laws.tolist(), abs=1e-12)
    opened = source.laws.causal_posteriors([row], by_start=True)[0][0, -1]
    for entry in found["containing"]:
        assert entry["prob"] == pytest.approx(
            float(opened[entry["first"] - 1, source.symbols.index(entry["symbol"])]), abs=1e-12
        )
    assert {"symbol": "S", "first": 1, "prob": pytest.approx(1)} in found["containing"]
    printed = rhm("show", "pcfg-toy_english", "--tokens", "the man saw ..").stdout
    assert "What contains token 3" in printed
    nothing = json.loads(rhm("show", "pcfg-toy_english", "--tokens", "..", "--json").stdout)
    assert nothing["containing"] == []


def test_show_of_trees_of_every_shape(rhm):
    name, source = "trees-v4-s2m2-s3m3-L2", Grammar.from_name("trees-v4-s2m2-s3m3-L2")
    found = json.loads(rhm("show", name, "--seed", 2, "--mask", "1-2", "--json").stdout)
    row, (length,) = source.sample(1, seed=2, sampling="iid", return_lengths=True)
    tokens = row[0, :length].tolist()
    assert found["tokens"] == [None, None, *map(str, tokens[2:])]
    laws = source.laws.posteriors(tokens=[tokens], mask=[[True, True] + [False] * (length - 2)])
    assert found["token_laws"][0] == pytest.approx(laws[0][0, 0].tolist(), abs=1e-12)
    for position in range(1, length + 1):  # one node of every level contains each token
        for level in (1, 2):
            over = [s for s in found["spans"] if s["level"] == level and s["first"] <= position <= s["last"]]
            assert sum(s["prob"] for s in over) == pytest.approx(1)
    prefix = json.loads(rhm("show", name, "--tokens", f"{tokens[0]} {tokens[1]} ..", "--json").stdout)
    for level in (1, 2):
        assert sum(s["prob"] for s in prefix["containing"] if s["level"] == level) == pytest.approx(1)
    assert sum(prefix["next_token_law"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--posterior"], "needs to know what is visible"),
        (["--tokens", "the ? .."], "are a prefix, of which nothing can be hidden"),
        (["--tokens", "the saw .."], "no sentence of pcfg-toy_english begins with"),
        (["--tokens", "the saw ?"], "they are impossible together"),
        (["--tokens", "the elephant"], "holds 'elephant'"),
        (["--tokens", "the man ..", "--out", "tree.svg"], "leave it out"),
        (["--resample", "level=1"], "trees of one fixed shape"),
    ],
)
def test_show_refuses_what_makes_no_sense(rhm, words, message):
    result = rhm("show", "pcfg-toy_english", *words)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())
