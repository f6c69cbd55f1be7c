"""The training loop takes every family by its name, or by its directory, and reports the exact KL to its law."""

import pytest
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.inference import position_entropies
from rhm_hf.training import best_row, train


@pytest.mark.parametrize(
    "name", ["v4-m3-s2-L2-zipf1.0@1", "v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d4-p0.5", "v2-m2-s2-L2-sparse1", "by hand"]
)
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


@pytest.mark.parametrize("task", ["last_token", "masked", "diffusion", "classification"])
def test_the_other_tasks_on_a_sparse_grammar(tiny, task):
    grammar, model = Grammar.from_name("v2-m2-s2-L2-sparse1"), {}
    if task in ("masked", "diffusion"):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        model = {"model_type": "bert", "config_overrides": sizes}
    row = best_row(train(tiny(grammar=grammar.name, task=task, max_steps=4, num_evaluations=2, **model)))
    assert row["kl"] > 0
    if task == "classification":
        assert row["entropy"] == pytest.approx(0, abs=1e-12)  # sentences determine their class
    if task == "last_token":
        assert row["entropy"] == pytest.approx(float(position_entropies(grammar, 2)[-1]), abs=1e-9)
    if task == "masked":
        assert row["kl_level_0"] > 0
