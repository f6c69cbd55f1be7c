"""Reading grammars from text, JSON and tensors: what is taken, what is refused and how."""

import json

import numpy as np
import pytest
from pcfg_brute_force import TEXTS

from rhm_hf.grammar.pcfg import PCFG, PCFGParameters
from rhm_hf.grammar.pcfg.parameters import gallery


def as_dict(grammar):
    r, names = grammar.rules, [*grammar.terminals, *grammar.symbols]
    return {
        (grammar.symbols[left], *(names[c] for c in right)): p
        for left, right, p in zip(r.lefts.tolist(), r.right_sides, r.probs.tolist(), strict=True)
    }


def test_the_form_of_the_documentation():
    grammar = PCFG.from_text("S -> a S b [0.4] | a b [0.6]")
    assert grammar.terminals == ("a", "b")
    assert grammar.symbols == ("S",)
    assert as_dict(grammar) == {("S", "a", "S", "b"): 0.4, ("S", "a", "b"): 0.6}


@pytest.mark.parametrize(
    "text",
    [
        "S -> A B [0.3] | 'c' [0.7]\nA -> 'a' | \"b\"\nB -> 'b'",
        "0.3: S -> A B\n0.7: S -> c\n\n# a comment\n.5: A -> a  # another\n5e-1: A -> b\n1: B -> b",
        "S -> A B [ 3/10 ]\n  | c[0.7]\nA -> a\n | b\nB -> b",
        "%start S\nA ::= a | b\nB → b\nS -> A B [0.3]\nS -> c [0.7]",
    ],
)
def test_forms(text):
    assert as_dict(PCFG.from_text(text)) == {
        ("S", "A", "B"): pytest.approx(0.3),
        ("S", "c"): pytest.approx(0.7),
        ("A", "a"): 0.5,
        ("A", "b"): 0.5,
        ("B", "b"): 1.0,
    }


EMPTY_RULES = ["S -> a S | [0.2] | b [0.3]", "S -> a S | ε [0.2] | b [0.3]", "S -> [0.2] | b [0.3] | a S"]


@pytest.mark.parametrize("empty", EMPTY_RULES)
def test_empty_rules(empty):
    text = empty.replace("a S", "a S [0.5]")
    assert as_dict(PCFG.from_text(text)) == {("S", "a", "S"): 0.5, ("S",): 0.2, ("S", "b"): 0.3}
    assert as_dict(PCFG.from_text("S -> a S a | a |"))[("S",)] == pytest.approx(1 / 3)


def test_terminals_of_all_sorts():
    grammar = PCFG.from_text("S -> '|' '#' \"'\" '->' 'S' don't [ ] '[0.5]' % \"two words\" 'ε'")
    assert grammar.terminals == ("|", "#", "'", "->", "S", "don't", "[", "]", "[0.5]", "%", "two words", "ε")
    assert PCFG.from_text(grammar.to_text()) == grammar
    assert grammar.decode(grammar.encode(["|", "S", "two words"])) == "| S two words"


@pytest.mark.parametrize("name", [*TEXTS, *gallery(), "drawn"])
def test_text_of_a_grammar_reads_back(name):
    text = TEXTS.get(name) or gallery().get(name)
    grammar = PCFG.from_text(text) if text else PCFG.from_name("pcfg-v4-m3-s1.2.4-L3", rules_seed=2)
    again = PCFG.from_text(grammar.to_text())
    assert as_dict(again) == as_dict(grammar)
    assert again.symbols == grammar.symbols


REFUSED = {
    "S - > a": "line 1, 'S - > a', is no rule: write a symbol",
    "S -> a\n'b' -> a": "line 2, \"'b' -> a\", has the terminal 'b' on its left",
    "S -> a [0.5] b": "goes on after a probability with 'b'",
    "S -> a [0.5] [0.5]": "has two probabilities",
    "S -> a [1.5]": "has the probability 1.5: it must be from 0 to 1",
    "S -> a [1/0]": "has the probability 1/0",
    "S -> a -> b": "has a second arrow",
    "S -> 'a": "has an open quote",
    "S -> ''": "has an empty terminal",
    "0.5: S -> a | b": "has a weight first and several alternatives",
    "0.5: S -> a [0.5]": "has a weight first and one in brackets too",
    "0.5:": "has a weight and no rule|is no rule",
    "%begin S\nS -> a": "is no directive",
    "%start S\n%start S\nS -> a": "names a second start symbol",
    "%start T\nS -> a": "start='T' has no rule",
    "": "holds no rule",
    "# nothing": "holds no rule",
    "S -> a [0.5] | b": r"symbol S \(line 1\) has rules with a probability and rules without",
    "S -> a [0.5] | b [0.4]": r"the rules of symbol S \(line 1\) have probabilities that sum to 0.9 instead of 1",
    "S -> a\nT -> b": r"symbol 'T' \(line 2\) is never reached from 'S'",
    "S -> a T\nT -> T b": r"symbol 'S' .* never becomes a finite string|symbol 'T' .* never becomes",
    "S -> S S [0.5] | a [0.5]": "spectral radius 1, and derivations have a finite mean size only below 1",
    "S -> S S [0.7] | a [0.3]": "spectral radius 1.4",
    "S -> T T\nT -> ": "has no terminal",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text):
    with pytest.raises(ValueError, match=REFUSED[text]):
        PCFG.from_text(text)


def test_a_part_of_a_grammar():
    text = "S -> A b\nA -> a [0.5] | c [0.5] | d [0]\nD -> d"
    with pytest.raises(ValueError, match=r"symbol 'D' .* never reached"):
        PCFG.from_text(text)
    assert PCFG.from_text(text, start="A").terminals == ("a", "c")
    with pytest.raises(ValueError, match="start='X' has no rule"):
        PCFG.from_text(text, start="X")


def test_files(tmp_path):
    (tmp_path / "g.cfg").write_text("S -> a [0.5] | b [0.6]")
    with pytest.raises(ValueError, match=r"g\.cfg: the rules of symbol S"):
        PCFG.from_file(tmp_path / "g.cfg")
    (tmp_path / "g.cfg").write_text(TEXTS["sums"])
    assert PCFG.from_file(tmp_path / "g.cfg") == PCFG.from_text(TEXTS["sums"])


PHYSICS = {
    "all": [
        [{"id": 9, "name": "R", "children": [[0, 1], [1, 1, 0]]}],
        [{"id": 7, "name": "X", "children": [[1], [0, 1]]}, {"id": 8, "name": "Y", "children": [[0, 0, 0]]}],
        [{"id": 1, "name": "a", "children": None}, {"id": 2, "name": "b", "children": None}],
    ]
}


def test_physics_json(tmp_path):
    (tmp_path / "cfg.json").write_text(json.dumps(PHYSICS))
    grammar = PCFG.from_file(tmp_path / "cfg.json")
    assert as_dict(grammar) == {
        ("R", "X", "Y"): 0.5,
        ("R", "Y", "Y", "X"): 0.5,
        ("X", "2"): 0.5,
        ("X", "1", "2"): 0.5,
        ("Y", "1", "1", "1"): 1.0,
    }
    assert grammar.terminals == ("1", "2")
    wrong = json.loads(json.dumps(PHYSICS))
    wrong["all"][1][0]["children"] = [[2]]
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match=r"wrong.json: all\[1\]\[0\].children holds 2: level 2 has the nodes 0 to 1"):
        PCFG.from_file(tmp_path / "wrong.json")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="no PhysicsLM4 grammar"):
        PCFG.from_file(tmp_path / "other.json")


def test_tensors_of_mixed_rhm():
    binary, ternary = np.array([[[0, 1]], [[1, 1]]]), np.array([[[0, 0, 0], [0, 1, 0]], [[1, 0, 1], [1, 1, 1]]])
    grammar = PCFG.from_mixed_tensors({0: {0: binary, 1: ternary}, 1: {0: binary[::-1], 1: ternary[::-1]}})
    rules = as_dict(grammar)
    assert rules[("S", "2.0")] == rules[("S", "2.1")] == 0.5
    assert rules[("2.0", "1.0", "1.1")] == 0.5
    assert rules[("2.1", "1.1", "1.0", "1.1")] == 0.25
    assert rules[("1.0", "1", "1")] == 0.5
    assert rules[("1.1", "0", "1", "0")] == 0.25
    padded = []
    for tensors in ((binary, ternary), (binary[::-1], ternary[::-1])):
        level = np.full((3, 3, 3), 2)
        level[:2, :1, :2], level[:2, 1:] = tensors
        padded.append(level)
    assert PCFG.from_mixed_tensors(padded) == grammar
    uneven = PCFG.from_mixed_tensors([[binary, ternary]], kind_probs=[0.9, 0.1])
    assert as_dict(uneven)[("1.0", "0", "1")] == pytest.approx(0.9)
    with pytest.raises(ValueError, match=r"rules\[0\] holds 1, a symbol without rules at rules\[1\]"):
        PCFG.from_mixed_tensors([[binary, ternary], [binary[:1], ternary[:1]]])


def test_names():
    assert PCFGParameters.from_name("pcfg-dyck2").name == "pcfg-dyck2"
    p = PCFGParameters.from_name("pcfg-v3-m2-s2.3-L6", rules_seed=4)
    assert (p.vocab_size, p.num_rules, p.tuple_sizes, p.depth, p.rules_seed) == (3, 2, (2, 3), 6, 4)
    assert p.name == "pcfg-v3-m2-s2.3-L6"
    for parameters in (p, PCFGParameters("toy_english")):
        values = parameters.to_dict()
        assert values.pop("kind") == "pcfg"
        assert PCFGParameters(**json.loads(json.dumps(values))) == parameters
    for name, message in (
        ("pcfg-dyck9", "not a general grammar's short name"),
        ("pcfg-v3-m20-s2.3-L6", "num_rules=20 is too many"),
        ("pcfg-v3-m2-s3.2-L6", "arities in ascending order"),
    ):
        with pytest.raises(ValueError, match=message):
            PCFGParameters.from_name(name)
    with pytest.raises(ValueError, match="no rules_seed"):
        PCFGParameters.from_name("pcfg-dyck2", rules_seed=1)


def test_drawn_grammars():
    seen = set()
    for seed in range(20):
        grammar = PCFG.from_name("pcfg-v3-m2-s2.3-L6", rules_seed=seed)
        assert len(grammar.symbols) == 16  # as many as cfg3 has
        assert grammar.vocab_size == 3
        assert grammar.rules.num_rules == 32
        assert {len(right) for right in grammar.rules.right_sides} <= {2, 3}
        for level in range(6):
            rights = [
                tuple(r)
                for r, left in zip(grammar.rules.right_sides, grammar.rules.lefts, strict=True)
                if grammar.symbols[left].startswith(f"{level}.")
            ]
            assert len(set(rights)) == len(rights)
        seen.add(grammar.fingerprint)
    assert len(seen) == 20
    few = PCFG.from_name("pcfg-v9-m2-s2-L6")  # the start symbol has four children
    assert sum(name.startswith("5.") for name in few.symbols) <= 4
    assert few.vocab_size == 9
    assert PCFG.from_name("pcfg-v3-m2-s2.3-L6", rules_seed=3).fingerprint[:16] == "3e763133fbf63808"
