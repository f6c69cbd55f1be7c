"""The training loop takes every family by its name, or by its directory, and reports the exact KL to its law."""

import pytest
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.training import best_row, train


@pytest.mark.parametrize("name", ["v4-m3-s2-L2-zipf1.0@1", "v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d4-p0.5", "by hand"])
def test_a_run_on_every_family(tiny, name, tmp_path):
    grammar = skewed_grammar() if name == "by hand" else Grammar.from_name(name)
    if name == "by hand":
        grammar.save_pretrained(tmp_path / "rules")
        name = str(tmp_path / "rules")
    row = best_row(train(tiny(grammar=name, max_steps=4, num_evaluations=2)))
    assert row["kl"] > 0
    assert row["kl_stderr"] == 0  # all sentences, weighted
    assert row["entropy"] == pytest.approx(grammar.entropy / grammar.sentence_length)
    assert (tmp_path / "run" / "results.csv").is_file()
