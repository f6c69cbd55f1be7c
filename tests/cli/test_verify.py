"""`rhm verify`: it agrees where laws are right, and sees where they are not."""

import json

import numpy as np
import pytest

from rhm_hf import Grammar, inference
from rhm_hf.cli.commands.brute_force import Definition, Listed


SMALL = [
    "v4-m2-s2-L2",
    "v3-m2-s3-L2",
    "v5-m3-s2-L2-c3",
    "v4-m3-s2-L2-zipf0.7@1",
    "v4-m3-s2-L2-cut1",
    "hmm-v4-h3-m2-d4-p0.5",
    "layered-c2-v3.4-m2.2-s2.2",
    "v3-m2-s2-L1-sparse1b",
]
LARGE = ["v8-m4-s2-L4", "v8-m4-s2-L4-zipf1.0", "v6-m4-s2-L4-cut2", "hmm-v8-h4-m3-d12-p0.7"]


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_laws_agree(rhm, name):
    result = rhm("verify", name, "--rules_seed", 1, "--num_sentences", 4, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert ("derivations listed" in found["method"]) == (name in SMALL)
    assert all(row["agrees"] for row in found["checks"])
    assert len(found["checks"]) >= (9 if name in SMALL else 6)


def test_a_wrong_law_is_seen(rhm, monkeypatch):
    right = inference.posteriors

    def wrong(*args, **kwargs):
        laws = right(*args, **kwargs)
        laws[1][0, 0] = laws[1][0, 0].roll(1)
        laws[1] += 1e-6
        return laws

    monkeypatch.setattr(inference, "posteriors", wrong)
    result = rhm("verify", "v4-m2-s2-L2", "--json")
    assert result.exit_code == 1
    assert [row["law"] for row in json.loads(result.stdout)["checks"] if not row["agrees"]] == [
        "posteriors of hidden symbols under random masks"
    ]
    assert "1 laws differ" in result.stderr


@pytest.mark.parametrize("name", SMALL)
def test_the_two_brute_forces_agree(name):
    """The list of derivations and the sums over trees are two programmes."""
    source = Grammar.from_name(name, rules_seed=2)
    definition = Definition.of(source)
    listed = Listed(definition.derivations(), source.vocab_size)
    assert definition.num_derivations() == len(listed.derivations)
    assert sum(listed.sentences.values()) == pytest.approx(1, abs=1e-12)
    rng = np.random.default_rng(0)
    rows = list(listed.sentences)
    for i in rng.integers(len(rows), size=4):
        row = np.array(rows[i])
        one_hot = np.eye(source.vocab_size)[row]
        assert definition.evidence(one_hot) == pytest.approx(listed.sentences[rows[i]], abs=1e-14)
        hidden = rng.random(len(row)) < 0.6
        for level in range(source.depth + 1):
            symbols = source.num_symbols_at(level)
            node = int(rng.integers(source.num_nodes_at(level)))
            np.testing.assert_allclose(
                definition.posterior(row, hidden, level, node, symbols),
                listed.posterior(rows[i], hidden, level, node, symbols),
                atol=1e-13,
            )
        place = int(rng.integers(len(row)))
        np.testing.assert_allclose(
            definition.next_token(row[:place], len(row)), listed.prefixes()[rows[i][:place]], atol=1e-13
        )
