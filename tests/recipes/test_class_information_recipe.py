"""Information about the class in some tuples: against sums over all sentences in plain loops, and known values."""

import math
from collections import defaultdict

import pytest
from recipe_scripts import recipe, runs_of

from rhm_hf import Grammar
from rhm_hf.grammar import NotSupported, TreeGrammar, enumerate_sentences


MODULE = recipe("class_information")


def counted(grammar, chosen):
    """I(class; tuples `chosen`) from dictionaries."""
    tokens, probs = enumerate_sentences(grammar)
    roots = grammar.parse(tokens)[-1][:, 0]
    both, seen, classes = defaultdict(float), defaultdict(float), defaultdict(float)
    for row, root, p in zip(tokens.tolist(), roots.tolist(), probs.tolist(), strict=True):
        key = tuple(tuple(row[2 * i : 2 * i + 2]) for i in chosen)
        both[key, root] += p
        seen[key] += p
        classes[root] += p
    return sum(p * math.log(p / (seen[key] * classes[root])) for (key, root), p in both.items())


@pytest.mark.parametrize("name", ["v3-m2-s2-L2", "v3-m2-s2-L2-zipf1.0", "v2-m2-s2-L3"])
def test_against_plain_loops(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    found = MODULE.information(grammar)
    num = grammar.num_nodes_at(1)
    assert len(found) == num + 1
    single = [counted(grammar, [i]) for i in range(num)]
    assert found[1] == pytest.approx((sum(single) / num, min(single), max(single)), abs=1e-12)
    assert found[num][0] == pytest.approx(counted(grammar, range(num)), abs=1e-12)
    assert found[0] == pytest.approx((0, 0, 0), abs=1e-12)


def test_one_tuple_of_an_uncorrelated_grammar_says_nothing_and_all_tell_the_class():
    found = MODULE.information(Grammar.from_name("v4-m4-s2-L2-uncorrelated", rules_seed=0))
    assert found[1] == pytest.approx((0, 0, 0), abs=1e-12)
    assert found[2][0] == pytest.approx(math.log(4), abs=1e-12)
    assert MODULE.information(Grammar.from_name("v4-m2-s2-L2", rules_seed=0))[1][0] > 0.01


def test_a_cut_grammar_does_not_determine_its_class():
    found = MODULE.information(Grammar.from_name("v4-m2-s2-L2-cut1", rules_seed=0))
    assert 0 < found[1][0] < found[2][0] < math.log(4)


def test_sources_without_tuples_are_refused():
    with pytest.raises(NotSupported, match="class_information"):
        MODULE.information(TreeGrammar.from_name("trees-v4-s2m2-s3m2-L2"))


def test_the_unit_of_the_birthday_argument():
    """v sqrt(P_max) where m = v: v^3 with two levels, v^5 with three."""
    for name, unit in (("v8-m8-s2-L2-uncorrelated", 8**3), ("v4-m4-s2-L3-uncorrelated", 4**5)):
        row = {"data": name, "rules_seed": 0, "num_train": 2 * unit, "relative_error": 0.25}
        assert MODULE.birthday(row) == pytest.approx({"unit": unit, "scaled": 2, "score": 0.75})


def test_runs_that_had_not_trained_are_left_out_of_thresholds_and_counted():
    rows = [
        {"data": "made", "rules_seed": seed, "num_train": size, "relative_error": error, "unit": 100}
        | {"train_loss": 2.0 if size == 800 else 0.01}
        for seed in (0, 1)
        for size, error in ((100, 1.0), (200, 0.75), (400, 0.25), (800, 1.0))
    ]
    (found,) = MODULE.conclude({"accuracy": rows})["thresholds"]
    assert found["half_way"] == pytest.approx(200 * 2**0.5)
    assert (found["half_way_bound"], found["left_out"], found["grammars"]) == ("", 2, 2)
    assert found["ratio"] == found["half_way"] / 100


def test_classifiers_have_the_settings_of_the_recipe_of_classification():
    """All but how long they are trained, how many sentences judge them and which grammars are drawn."""
    ours, theirs = runs_of("class_information", "cpu"), runs_of("classification", "cpu")
    (theirs,) = [run for name, run in theirs.items() if "/cnn_rules_seed-0_num_train-512" in name]
    free = {"grammar", "max_steps", "num_test", "num_train", "rules_seed", "num_validation"}
    for run in ours.values():
        if run["grammar"] == "v8-m8-s2-L2-uncorrelated":
            assert {k: v for k, v in run.items() if k not in free} == {
                k: v for k, v in theirs.items() if k not in free
            }
