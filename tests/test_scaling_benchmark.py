"""`benchmarks/scaling.py` from its start to its end, in tiny size; no figure is asserted."""

import math
import sys

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.earley import parser_of
from benchmarks.general_grammars import rules_of
from benchmarks.plain_earley import PlainEarley
from benchmarks.scaling_studies import studies
from rhm_hf.grammar import Grammar
from rhm_hf.inference import prefix_probs
from rhm_hf.training.results import read_csv


def test_it_measures_every_axis_and_draws_what_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "REPEATS", 1)
    monkeypatch.setattr(scaling, "LEAST", 0.0)
    pytest.importorskip("datatrove")
    kept = {}
    for study in studies(str(tmp_path / "runs"), tiny=True):  # of several axes the first: the others are of its kind
        kept.setdefault(study.work, study)
    monkeypatch.setattr(scaling, "studies", lambda *_: iter(kept.values()))
    monkeypatch.setattr(scaling, "large", lambda tiny: iter([scaling.counted_file(10**5)]))
    assert scaling.main(["--tiny", "--output", str(tmp_path)]) == 0
    times = read_csv(tmp_path / "scaling_cost_times.csv")
    assert {row["work"] for row in times} == set(kept)
    assert all(0 < row["ns"] < math.inf for row in times)
    exponents = read_csv(tmp_path / "scaling_cost_exponents.csv")
    assert [row["work"] for row in exponents] == list(kept)
    (large,) = read_csv(tmp_path / "scaling_cost_large.csv")
    assert large["amount"] == 10**5
    picture = (tmp_path / "scaling_cost.png").read_bytes()
    (tmp_path / "scaling_cost.png").unlink()
    assert scaling.main(["--draw", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "scaling_cost.png").read_bytes() == picture


def test_all_studies_can_be_called_in_tiny_size(tmp_path):
    cheap = [study for study in studies(str(tmp_path), tiny=True) if not study.work.startswith("training")]
    assert len({(study.work, study.axis) for study in cheap}) == len(cheap) > 20
    for study in cheap:
        call = study.make(study.sizes[0])
        call.run()
        assert call.units > 0


def test_exponents_are_those_of_power_laws_over_the_last_sizes():
    rows = [{"size": x, "ns": 7.0 if x < 8 else x**1.5} for x in (2, 4, 8, 16, 32)]
    assert scaling.exponent(rows) == pytest.approx(1.5)


def test_shares_of_a_stream_are_the_whole_stream(tmp_path):
    from pyarrow.parquet import read_table

    for index in range(2):
        scaling.write_share("v16-m4-s2-L4", 2**17, 2, index, str(tmp_path / f"{index}.parquet"))
    rows = np.concatenate(
        [np.stack(read_table(tmp_path / f"{i}.parquet")["input_ids"].to_numpy(zero_copy_only=False)) for i in range(2)]
    )
    assert (rows == Grammar.from_name("v16-m4-s2-L4").sample(2**17)).all()


@pytest.mark.parametrize("name", ["pcfg-dyck2", "pcfg-arithmetic", "pcfg-toy_english", "pcfg-palindromes"])
def test_the_plain_parser_has_the_same_laws(name):
    grammar = Grammar.from_name(name)
    rows, lengths = grammar.sample(20, sampling="iid", return_lengths=True)
    sentences = [row[:n].tolist() for row, n in zip(rows, lengths, strict=True)]
    parser = PlainEarley(rules_of(grammar), grammar.vocab_size, grammar.vocab_size)
    laws, _ = prefix_probs(grammar, sentences)
    for law, sentence in zip(laws, sentences, strict=True):
        np.testing.assert_allclose(law[: len(sentence) + 1], np.stack(parser.laws(sentence)), rtol=0, atol=1e-12)


def test_without_genlm_the_plain_parser_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "genlm.grammar", None)
    grammar = Grammar.from_name("pcfg-dyck2")
    name, _ = parser_of(rules_of(grammar), grammar.vocab_size, grammar.vocab_size)
    assert name == "a plain Earley parser"
