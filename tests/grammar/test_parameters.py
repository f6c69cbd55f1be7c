import pickle

import numpy as np
import pytest

from rhm_hf.checks import check_integer
from rhm_hf.grammar import GrammarParameters


def test_defaults_and_closed_forms():
    p = GrammarParameters(16, 4, 2, 3)
    assert (p.num_classes, p.rules_seed, p.sentence_length) == (16, 0, 8)
    assert p.num_sentences == 16 * 4**7
    assert GrammarParameters(64, 8, 4, 4).num_sentences == 64 * 8**85
    assert p.to_dict() == {
        "vocab_size": 16,
        "num_synonyms": 4,
        "tuple_size": 2,
        "depth": 3,
        "num_classes": 16,
        "rules_seed": 0,
    }
    assert GrammarParameters(**p.to_dict()) == p
    assert pickle.loads(pickle.dumps(p)) == p


@pytest.mark.parametrize(
    "name",
    [
        "v16-m4-s2-L3",
        "v16-m4-s2-L3-c8",
        "v2-m2-s2-L1",
        "v1-m1-s2-L1",
        "v300-m7-s3-L2-c1",
        "v16-m4-s2-L3-zipf1.0@1",
        "v16-m4-s2-L3-c8-zipf0.3",
        "v16-m4-s2-L3-zipf1e-07@3",
    ],
)
def test_names_are_printed_as_they_are_parsed(name):
    assert GrammarParameters.from_name(name).name == name
    assert GrammarParameters.from_name(name, rules_seed=5).rules_seed == 5


def test_number_of_classes_equal_to_the_vocabulary_is_left_out_of_the_name():
    assert GrammarParameters(16, 4, 2, 3, 16).name == "v16-m4-s2-L3"


def test_numpy_integers_become_python_integers():
    p = GrammarParameters(np.int64(16), np.uint8(4), np.int32(2), np.int16(3), np.int64(16), np.uint64(1))
    assert p == GrammarParameters(16, 4, 2, 3, 16, 1)
    assert all(type(value) is int for value in p.to_dict().values())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 4, 2, 3), "vocab_size=0 is out of range"),
        ((2**31, 4, 2, 3), "vocab_size=2147483648 is out of range"),
        ((16, 0, 2, 3), "num_synonyms=0"),
        ((16, 4, 1, 3), "tuple_size=1"),
        ((16, 4, 2, 0), "depth=0"),
        ((16, 4, 2, 3, 0), "num_classes=0"),
        ((16, 4, 2, 3, None, -1), "rules_seed=-1"),
        ((16, 4, 2, 3, None, 2**63), "rules_seed=9223372036854775808"),
        ((16.0, 4, 2, 3), r"vocab_size=16\.0 is not an integer"),
        (("16", 4, 2, 3), "vocab_size='16' is not an integer"),
        ((16, True, 2, 3), "num_synonyms=True"),
        ((16, 4, 2, 32), "depth=32 is too large"),
        ((4, 9, 2, 3), "num_synonyms=9 is too many: vocab_size=4 with tuple_size=2 allows at most 4 unambiguous"),
        ((4, 2, 2, 2, 9), "num_synonyms=2 is too many.* at most 1 .* of the 9 classes"),
        ((4, 1, 2, 2, 17), "num_classes=17 is too many"),
        ((16, 4, 2, 3, None, 0, -0.5), r"zipf_exponent=-0.5 is out of range: it must be a number >= 0"),
        ((16, 4, 2, 3, None, 0, float("nan")), "zipf_exponent=nan"),
        ((16, 4, 2, 3, None, 0, 500), "zipf_exponent=500 is out of range: it must be a number >= 0 and <= 499"),
        ((16, 4, 2, 3, None, 0, "1"), "zipf_exponent='1' is not a number"),
        ((16, 4, 2, 3, None, 0, True), "zipf_exponent=True is not a number"),
        ((16, 1, 2, 3, None, 0, 1.0), "zipf_exponent=1.0 changes nothing where num_synonyms=1"),
        ((16, 4, 2, 3, None, 0, 1.0, 4), "zipf_level=4 is out of range"),
        ((16, 4, 2, 3, None, 0, 1.0, 0), "zipf_level=0 is out of range"),
        ((16, 4, 2, 3, None, 0, None, 1), "zipf_level=1 without zipf_exponent"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        GrammarParameters(*values)


def test_one_level_needs_room_for_its_classes_only():
    assert GrammarParameters(4, 8, 2, 1, num_classes=2).num_sentences == 16


@pytest.mark.parametrize(
    "name",
    [
        *["", "v16", "v16-m4-s2-L3-", "V16-m4-s2-L3", "v16-m4-s2-L3-c", " v16-m4-s2-L3", 16, None],
        *["v16-m4-s2-L3-zipf", "v16-m4-s2-L3-zipf-1", "v16-m4-s2-L3-zipf1@", "v16-m4-s2-L3-zipf1@1-c8"],
    ],
)
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match=r"is not a grammar's short name|must be a str"):
        GrammarParameters.from_name(name)


def test_limits_of_check_integer():
    assert check_integer("n", 3, 3, 4) == 3
    for bad in (2, 4):
        with pytest.raises(ValueError, match=f"n={bad} is out of range: it must be an integer >= 3 and < 4"):
            check_integer("n", bad, 3, 4)


def test_one_law_has_one_name():
    assert GrammarParameters.from_name("v16-m4-s2-L3-zipf1@2").name == "v16-m4-s2-L3-zipf1.0@2"
    assert GrammarParameters.from_name("v16-m4-s2-L1-zipf1@1").name == "v16-m4-s2-L1-zipf1.0"
    assert GrammarParameters(16, 4, 2, 3, zipf_exponent=-0.0).name == "v16-m4-s2-L3-zipf0.0"
    p = GrammarParameters(16, 4, 2, 3, zipf_exponent=np.float32(0.5), zipf_level=np.int64(2))
    assert p.to_dict()["zipf_exponent"] == 0.5
    assert GrammarParameters(**p.to_dict()) == p


def test_zipf_laws_of_rules():
    p = GrammarParameters.from_name("v16-m4-s2-L3-zipf1.0@1")
    weights = np.array([1, 1 / 4, 1 / 9, 1 / 16])
    np.testing.assert_allclose(p.rule_law(1), weights / weights.sum(), rtol=1e-15)
    assert (p.rule_law(2) == 0.25).all()
    everywhere = GrammarParameters.from_name("v16-m4-s2-L3-zipf0.5")
    for level in (1, 2, 3):
        np.testing.assert_allclose(everywhere.rule_law(level)[1] / everywhere.rule_law(level)[0], 2**-1.5, rtol=1e-15)
    with pytest.raises(ValueError, match="level=4 is out of range"):
        p.rule_law(4)
