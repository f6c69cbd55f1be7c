"""Checks at the door: what type hints say is what a call may pass."""

import math
import pickle
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import pytest

from rhm_hf import checks
from rhm_hf.checks import PositiveInt, Range, Share, Text, check_memory, checked
from rhm_hf.grammar import Grammar, Source


@checked
def measured(
    num: PositiveInt,
    share: Share = 0.5,
    flag: bool = False,
    lengths: Iterable[int] | None = None,
    weights: Sequence[float] = (),
    rows: np.ndarray | None = None,
    time: Annotated[float, Range(0, 1)] | None = None,
    grammar: Source | None = None,
    anything: Any = None,
):
    return num, share, flag, lengths


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num": 0}, r"num=0 is out of range: it must be an integer >= 1"),
        ({"num": 2.0}, r"num=2.0 is not an integer >= 1 .*: write 2"),
        ({"num": True}, r"num=True"),
        ({"num": 10**400}, r"num=<integer of 1329 bits> is out of range"),
        ({"share": math.nan}, r"share=nan is out of range: it must be a number >= 0 and <= 1"),
        ({"share": "0.5"}, r"share='0.5' is not a number"),
        ({"share": True}, r"share=True is not a number"),
        ({"flag": "no"}, r"flag='no' is no flag: it must be True or False"),
        ({"flag": 0}, r"flag=0 is no flag"),
        ({"lengths": "12"}, r"lengths='12' has the wrong type"),
        ({"lengths": [1, 2.5]}, r"lengths\[1\]=2.5 is not an integer"),
        ({"lengths": {1: 2}}, r"lengths=\{1: 2\} has the wrong type"),
        ({"weights": [1.0, math.inf]}, r"weights\[1\]=inf is out of range: it must be a finite number"),
        ({"rows": [[0], [0, 1]]}, r"rows is ragged"),
        ({"rows": "ab"}, r"rows='ab' has the wrong type"),
        ({"time": 2}, r"time=2 is out of range: it must be a number >= 0 and <= 1"),
        ({"grammar": "v4-m2-s2-L2"}, r"grammar='v4-m2-s2-L2' has the wrong type: it must be a Source"),
    ],
)
def test_bad_arguments(bad, message):
    with pytest.raises(ValueError, match=message):
        measured(**{"num": 1} | bad)


def test_good_arguments_come_through():
    assert measured(np.int64(3), 1, np.True_, range(3)) == (3, 1, True, range(3))
    assert type(measured(np.int64(3))[0]) is int
    lengths = iter([1, 2])
    assert measured(1, lengths=lengths)[3] is lengths  # not used up
    assert list(lengths) == [1, 2]
    assert pickle.loads(pickle.dumps(measured)) is measured
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'num'"):
        measured()
    with pytest.raises(TypeError, match="unexpected keyword argument 'number'"):
        measured(1, number=2)


def test_a_family_from_outside_is_checked_too():
    class Outside(Grammar):
        def count(self, num: int, loud: bool = False) -> int:
            return num

    plain = Grammar.from_name("v4-m2-s2-L2")
    source = Outside(plain.rules, plain.rule_probs, plain.root_probs, plain.vocab_size)
    assert source.count(2) == 2
    with pytest.raises(ValueError, match="loud='no' is no flag"):
        source.count(2, loud="no")


def test_sizes_are_estimated():
    check_memory("n=3", 1e6, "take less")
    with pytest.raises(ValueError, match=r"n=3 would take about 1.07e.09 GiB of memory, more than 16: take less"):
        check_memory("n=3", 2.0**60, "take less")
    with pytest.raises(ValueError, match=r"num=4294967296 sentences of .* GiB .*: draw them in parts, with start="):
        Grammar.from_name("v4-m2-s2-L8").sample(2**32, sampling="iid")


def test_values_in_messages_are_short():
    assert len(checks.shown(list(range(10000)))) < 130

    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert "Broken object at" in checks.shown(Broken())


@checked
def named(
    kind: Annotated[str, Text(("best", "last"))] = "best",
    plugin: Annotated[str, Text(lambda: ["adamw"], modules=True)] = "adamw",
    rate: Annotated[float, Range(above=0, below=1)] = 0.5,
    limit: checks.Limit = 0.0,
    ids: checks.TokenIds | None = None,
    texts: checks.TokensOrTexts | None = None,
    drawn: checks.DrawnIds | None = None,
    rows: Sequence[dict] = (),
):
    return kind, plugin, rate, limit


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"kind": "lasts"}, r"kind='lasts' is out of range: it must be one of best, last: did you mean last\?"),
        ({"kind": ""}, "kind='' is no name: it is empty"),
        ({"kind": 3}, "kind=3 has the wrong type: it must be a str"),
        ({"plugin": "lion"}, "plugin='lion' is out of range: it must be one of adamw, or module:Name"),
        ({"rate": 0}, "rate=0 is out of range: it must be a number > 0 and < 1"),
        ({"rate": 1.0}, "rate=1.0 is out of range"),
        ({"limit": "inf"}, "limit='inf' is not a"),
        ({"limit": True}, "limit=True is not a"),
        ({"ids": "abc"}, "ids='abc' has the wrong type: it must hold ids"),
        ({"ids": [[0.5]]}, "ids has dtype float64: ids must be integers"),
        ({"ids": [[True]]}, "ids has dtype bool"),
        ({"ids": [[-1]]}, "ids holds -1: ids must be integers >= 0"),
        ({"ids": [[[0]]]}, "ids has 3 dimensions"),
        ({"ids": [[0, [1]]]}, "ids is ragged below its rows"),
        ({"ids": np.zeros((1, 1, 1), np.int64)}, "ids has 3 dimensions"),
        ({"texts": 3}, "texts=3 has the wrong type"),
        ({"rows": np.zeros((2, 2))}, "rows=.* has the wrong type: it must be a list of mappings"),
    ],
)
def test_what_hints_say_of_values(bad, message):
    with pytest.raises(ValueError, match=message):
        named(**bad)


def test_what_hints_allow():
    assert named("last", "my.module:Name", 0.1, math.inf) == ("last", "my.module:Name", 0.1, math.inf)
    assert math.isnan(named(limit=math.nan)[3])
    for ids in ([0, 1], [[0, 1], [0]], [], [[]], np.zeros((2, 3), np.uint8), iter([[0]])):
        named(ids=ids, texts=ids, drawn=ids)
    named(texts="a text", drawn=[[-1, 0]])
    named(texts=["one", "two"])

    class Held:  # as CharText holds its ids
        ids = np.zeros(3)

    named(ids=Held())


def test_a_flat_list_is_looked_at_as_a_whole(monkeypatch):
    looks = []
    real = checks.arrays.as_array
    monkeypatch.setattr(checks.arrays, "as_array", lambda value: looks.append(1) or real(value))
    named(ids=list(range(1000)))
    assert len(looks) == 1
