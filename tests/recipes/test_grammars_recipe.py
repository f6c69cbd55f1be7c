"""The recipes of general grammars and of trees: depths by plain loops, parts that sum to the whole, ambiguity."""

import math

import numpy as np
import pytest
import torch
import yaml
from recipe_scripts import RECIPES, dry_run, recipe

from rhm_hf import Grammar
from rhm_hf.ensembles import group, where
from rhm_hf.grammar import TreeGrammar, TreeParameters
from rhm_hf.grammar.pcfg.parameters import gallery


def test_depths_are_those_of_a_plain_count():
    module, grammar = recipe("grammars"), Grammar.from_name("pcfg-dyck2")
    tokens, lengths = grammar.sample(50, return_lengths=True)
    found = module.depths(grammar, torch.from_numpy(tokens.astype(np.int64)))
    assert found.shape == (50, tokens.shape[1] + 1, module.DEEPEST + 1)
    for row, n, mine in zip(tokens, lengths, found, strict=True):
        depth = 0
        for i in range(n + 1):
            assert mine[i].argmax() == min(depth, module.DEEPEST)
            assert mine[i].sum() == 1
            if i < n:
                depth += 1 if grammar.terminals[row[i]] in "([" else -1
        assert depth == 0


def test_depths_of_other_grammars_are_expected_constituents():
    module, grammar = recipe("grammars"), Grammar.from_text("S -> a S b [0.4] | a b [0.6]")
    tokens = torch.tensor([[0, 0, 1, 1]])
    # After the first a and the second, so many S contain it; the first b closes the inner one.
    assert module.depths(grammar, tokens)[0].argmax(-1).tolist() == [0, 1, 2, 2, 1]


@pytest.mark.usefixtures("dry_run")
def test_a_dry_run_has_parts_that_sum_to_the_whole(tmp_path):
    tables = dry_run(recipe("grammars"), tmp_path, config=RECIPES / "grammars" / "cpu.yaml")
    for row in tables["runs"]:
        mine = {"data": row["data"], "num_train": row["num_train"]}
        for name in ("depths", "symbols"):
            parts = where(tables[name], **mine)
            assert sum(part["adds"] for part in parts) == pytest.approx(row["kl"], abs=1e-5)
            assert sum(part["share"] for part in parts) == pytest.approx(1, abs=1e-9)
    assert len(group(tables["runs"], "data")) == 5


@pytest.mark.parametrize("scale", ["cpu", "paper"])
def test_the_whole_gallery_is_there(scale):
    variants = yaml.safe_load((RECIPES / "grammars" / f"{scale}.yaml").read_text())["variants"]
    names = {own["grammar"].removeprefix("pcfg-") for own in variants.values()}
    assert set(gallery()) < names


def test_ambiguity_of_a_small_grammar():
    module = recipe("trees", "ambiguity")
    row = module.level_row(8, 2, 0.375, seed=1, num_sentences=200)
    grammar = TreeGrammar.drawn_from(TreeParameters.from_fraction(8, 0.375, 2, 1))
    tokens = grammar.sample(200, sampling="iid")
    law = grammar.laws.posteriors(tokens)[-1][:, 0].numpy()
    several = (law > 0).sum(1) > 1
    assert 0 < row["several_roots"] == pytest.approx(several.mean())
    entropies = [-sum(p * math.log(p) for p in one if p > 0) for one in law]
    assert row["root_entropy"] == pytest.approx(np.mean(entropies), abs=1e-12)
    counts = grammar.laws.num_derivations(tokens).double()
    assert row["extra_derivations"] == pytest.approx(float(counts.mean()) - 1)
    assert row["log_derivations"] == pytest.approx(float(counts.log().mean()))
    assert row["extra_limit"] == pytest.approx((13 * 0.375**3 + 6 * 0.375**4) / 16)
