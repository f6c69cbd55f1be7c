"""Every family at a thousand tokens, in float64 and float32: nothing underflows, and the laws agree."""

import numpy as np
import pytest
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.inference import (
    causal_posteriors,
    log_prob,
    most_probable_parse,
    posteriors,
    prefix_probs,
    sample_posterior,
)


LONG = {
    "uniform": "v4-m2-s2-L10",
    "zipf": "v4-m3-s2-L10-zipf1.0",
    "filtered": "v4-m2-s2-L10-cut3",
    "hidden_markov": "hmm-v6-h4-m3-d1024-p0.5",
    "sparse": "v4-m2-s2-L5-sparse1",
    "broadcast": "ising-rho0.8-s2-L10",
    "ambiguous": "ambiguous-v3-m2-s2-L10",
    "trees": "trees-v3-s2m1p0.1-s3m1p0.9-L7",
    "general": "pcfg-v3-m2-s2.3-L6",
}


@pytest.fixture(params=LONG)
def long(request):
    """A source and two sentences of it, one length each."""
    source = Grammar.from_name(LONG[request.param], rules_seed=1)
    if request.param == "general":  # several of them, one after the other
        source = Grammar.from_text("R -> S R [0.8] | S [0.2]\n" + source.to_text())
    tokens, lengths = source.sample(2 if not source.lengths_vary else 200, sampling="iid", return_lengths=True)
    chosen = np.argsort(np.where(lengths >= 1000, lengths, 10**6), kind="stable")[:2]
    assert 1000 <= lengths[chosen].max() < 2200
    return source, [tokens[row, : lengths[row]].astype(int).tolist() for row in chosen]


def test_laws_of_next_tokens(long):
    source, rows = long
    logs = log_prob(source, rows)
    assert logs.isfinite().all()
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 2e-2)):
        laws, valid = prefix_probs(source, rows, dtype=dtype)
        assert laws.dtype == dtype
        for row, law, possible, log in zip(rows, laws.double(), valid, logs.tolist(), strict=True):
            outcomes = [*row, *([source.vocab_size] if source.lengths_vary else [])]
            mine = law[: len(outcomes)]
            assert possible[: len(outcomes)].all()
            torch.testing.assert_close(mine.sum(-1), torch.ones(len(outcomes), dtype=torch.float64), rtol=0, atol=1e-4)
            chain = mine.gather(1, torch.tensor(outcomes)[:, None]).log().sum().item()
            assert chain == pytest.approx(log, abs=tolerance * max(1, abs(log) ** 0.5))


def test_beliefs_given_every_prefix(long):
    source, rows = long
    if source.family == "pcfg":
        found, valid = source.laws.causal_posteriors(rows[:1])
        assert valid.all()
        assert found.isfinite().all()
        return
    for dtype in (torch.float64, torch.float32):
        for law in causal_posteriors(source, rows[:1], dtype):
            assert law.dtype == dtype
            sums = law[0].double().sum(-1)
            torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-4)


def test_hidden_tokens_parses_and_draws(long):
    source, rows = long
    row = torch.tensor(rows[:1])
    mask = torch.arange(row.shape[1])[None] % 3 == 1
    for dtype in (torch.float64, torch.float32):
        found, log = posteriors(source, row, mask, dtype=dtype, return_log_evidence=True)
        assert log.isfinite().all()
        assert log.item() >= log_prob(source, row).item() - 1e-3
        sums = found[0].double().sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-4)
    tree = sample_posterior(source, row, mask, generator=torch.Generator().manual_seed(0))
    drawn = tree[0][0] if source.has_blocks else torch.as_tensor(np.asarray(_tokens(tree[0])))
    assert (drawn.view(-1)[~mask[0]] == row[0][~mask[0]]).all()
    assert log_prob(source, drawn.view(1, -1)).isfinite().all()
    assert len(most_probable_parse(source, row)) >= 1


def _tokens(tree):
    return tree.tokens if hasattr(tree, "grammar_rules") else tree.levels[0]
