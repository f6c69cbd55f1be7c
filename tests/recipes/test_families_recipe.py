"""The recipe of families at a tiny size: every family gets a model and its exact KL."""

import pytest
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf.grammar import FilteredGrammar, Grammar, HiddenMarkovSource, SparseGrammar
from rhm_hf.inference import plateau


CPU = RECIPES / "families" / "cpu.yaml"


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(tmp_path):
    tables = dry_run(recipe("families"), tmp_path, config=CPU)
    assert {row["variant"] for row in tables["models"]} == set(yaml.safe_load(CPU.read_text())["variants"])
    for row in tables["models"]:
        grammar = Grammar.from_name(row["data"], rules_seed=row["rules_seed"])
        assert row["entropy"] == pytest.approx(grammar.entropy / grammar.sentence_length)
        assert row["share"] == pytest.approx(row["kl"] / (plateau(grammar, 0) - row["entropy"]))
        mine = [r["kl"] for r in tables["training"] if r["variant"] == row["variant"]]
        assert len(mine) == 2
        assert row["kl"] in mine


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_every_class_of_sources_is_there(scale):
    """The uncorrelated grammar is left to class_information: without the class its tokens are independent."""
    variants = yaml.safe_load((RECIPES / "families" / f"{scale}.yaml").read_text())["variants"]
    sources = [Grammar.from_name(own["grammar"]) for own in variants.values()]
    assert {type(source) for source in sources} == {Grammar, FilteredGrammar, HiddenMarkovSource, SparseGrammar}
    for source in sources:
        assert plateau(source, 0) > plateau(source, source.depth) + 0.05
