"""The recipe of controls at a tiny size, and the laws of decay it reads off exact correlations."""

import math

import numpy as np
import pytest
from recipe_scripts import dry_run, recipe

from rhm_hf import Grammar, theory
from rhm_hf.statistics import exact_correlation


@pytest.fixture(scope="module")
def module():
    return recipe("controls")


def test_tables_and_figure(module, tmp_path):
    tables = dry_run(module, tmp_path)
    grammars = [Grammar.from_name("v8-m2-s2-L3", rules_seed=seed) for seed in (0, 1)]
    exact = np.sqrt(np.mean([exact_correlation(grammar) ** 2 for grammar in grammars], 0))
    mine = [row for row in tables["correlations"] if row["source"] == "tree"]
    assert [row["distance"] for row in mine] == list(range(1, 8))
    assert [row["exact"] for row in mine] == pytest.approx(exact.tolist())
    assert mine[0]["signal"] == pytest.approx(mine[0]["exact"] ** 2, rel=0.2)  # measured without noise: the law
    assert len(tables["correlations"]) == 2 * 7


def test_a_chain_decays_exponentially_and_a_tree_as_a_power(module):
    rows = []
    for source, name in (("tree", "v16-m4-s2-L5"), ("chain", "hmm-v16-h8-m4-d32-p0.5")):
        exact = exact_correlation(Grammar.from_name(name))
        rows += [{"source": source, "data": name, "distance": t, "exact": c} for t, c in enumerate(exact, 1)]
    found = {(row["source"], row["law"]): row for row in module.decays(rows)}
    chain = found["chain", "exponential"]
    assert chain["exponent"] == pytest.approx(math.log(2)) == chain["theory"]
    assert chain["residual"] < 1e-6
    assert found["chain", "power law"]["residual"] > 1
    tree = found["tree", "power law"]
    assert tree["residual"] < found["tree", "exponential"]["residual"]
    assert tree["theory"] == theory.correlation_exponent(Grammar.from_name("v16-m4-s2-L5").parameters)
    assert tree["exponent"] == pytest.approx(tree["theory"], rel=0.3)
