"""The recipe of families at a tiny size: every family gets a model and its exact KL."""

import pytest
import yaml
from recipe_scripts import RECIPES, check_redraw, recipe

from rhm_hf.grammar import FilteredGrammar, Grammar, HiddenMarkovSource, SparseGrammar
from rhm_hf.inference import plateau
from rhm_hf.training.recipe import recipe_main


SMALL = {
    "uniform": "v4-m2-s2-L2",
    "zipf": "v4-m2-s2-L2-zipf1.0@1",
    "zipf_all": "v4-m2-s2-L2-zipf1.0",
    "layered": "layered-c2-v3.4-m2.2-s3.2",
    "cut1": "v4-m2-s2-L2-cut1",
    "cut2": "v4-m2-s2-L3-cut2",
    "hidden_markov": "hmm-v4-h2-m2-d4-p0.5",
    "sparse": "v2-m2-s2-L2-sparse1",
    "sparse_b": "v2-m2-s2-L2-sparse1b",
}


def test_tables_and_figure(tmp_path, monkeypatch):
    module = recipe("families")
    values = yaml.safe_load((RECIPES / "families" / "cpu.yaml").read_text())
    values |= {"num_train": 64, "num_validation": 16, "num_test": 16, "kl_sentences": 16, "batch_size": 16}
    values |= {"max_steps": 6, "num_evaluations": 2, "warmup_steps": 1, "output_dir": str(tmp_path / "runs")}
    values["config_overrides"] = {"n_embd": 8, "n_layer": 1, "n_head": 2}
    for name, own in values["variants"].items():
        own["grammar"] = SMALL[name]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    parts = {"name": "families", "measure": module.measure, "draw": module.draw}
    tables = recipe_main(["--config", str(path), "--figures", str(tmp_path / "figures")], **parts)
    assert {row["variant"] for row in tables["models"]} == set(SMALL)
    for row in tables["models"]:
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        assert row["entropy"] == pytest.approx(grammar.entropy / grammar.sentence_length)
        assert row["share"] == pytest.approx(row["kl"] / (plateau(grammar, 0) - row["entropy"]))
        mine = [r["kl"] for r in tables["training"] if r["variant"] == row["variant"]]
        assert len(mine) == 2
        assert row["kl"] in mine
    check_redraw(monkeypatch, tmp_path / "figures", parts)


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_every_class_of_sources_is_there(scale):
    """The uncorrelated grammar is left to class_information: without the class its tokens are independent."""
    variants = yaml.safe_load((RECIPES / "families" / f"{scale}.yaml").read_text())["variants"]
    sources = [Grammar.from_name(own["grammar"]) for own in variants.values()]
    assert {type(source) for source in sources} == {Grammar, FilteredGrammar, HiddenMarkovSource, SparseGrammar}
    for source in sources:
        assert plateau(source, 0) > plateau(source, source.depth) + 0.05
