"""The accumulator against numpy, and its merges."""

import math

import numpy as np
import pytest
import torch

from rhm_hf.statistics import Accumulator


def test_mean_and_standard_error_of_plain_rows_are_numpys():
    rows = torch.tensor(np.random.default_rng(0).normal(3, 2, (500, 4)))
    accumulator = Accumulator((4,))
    accumulator.add(rows[:200])
    accumulator.add(rows[200:])
    assert torch.allclose(accumulator.mean, rows.mean(0), atol=1e-12)
    assert torch.allclose(accumulator.stderr, rows.std(0, unbiased=True) / math.sqrt(500), rtol=1e-10)


def test_standard_error_of_a_ratio_covers_repeated_experiments():
    # Rows with a random number of items, whose sums share a row effect: the spread of the estimate over many repeated
    # experiments is what the standard error claims.
    generator = torch.Generator().manual_seed(0)
    estimates, errors = [], []
    for _ in range(300):
        counts = torch.randint(1, 8, (200,), generator=generator).double()
        effect = torch.randn(200, generator=generator, dtype=torch.float64) + 0.3 * counts
        accumulator = Accumulator()
        accumulator.add(effect * counts, counts)
        estimates.append(accumulator.mean.item())
        errors.append(accumulator.stderr.item())
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12)


def test_weights_count_as_repetitions_in_the_mean():
    rows, weights = torch.tensor([1.0, 5.0, 2.0]), torch.tensor([3, 1, 2])
    weighted, repeated = Accumulator(), Accumulator()
    weighted.add(rows, weights=weights)
    repeated.add(rows.repeat_interleave(weights))
    assert weighted.mean == repeated.mean


def test_merging_in_any_order_equals_the_whole():
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(1))
    counts = torch.randint(1, 5, (1000, 3), generator=torch.Generator().manual_seed(2))
    whole = Accumulator((3,))
    whole.add(rows, counts)
    parts = []
    for piece in torch.randperm(1000, generator=torch.Generator().manual_seed(3)).split(137):
        parts.append(Accumulator((3,)))
        parts[-1].add(rows[piece], counts[piece])
    merged = Accumulator((3,))
    for part in reversed(parts):
        merged.merge(part)
    assert torch.allclose(merged.state, whole.state, rtol=1e-12)


def test_infinite_rows_are_counted_and_make_the_mean_infinite_but_never_nan():
    accumulator = Accumulator((2,))
    accumulator.add(torch.tensor([[1.0, 1.0], [math.inf, 2.0], [math.inf, 3.0]]))
    assert accumulator.num_infinite.tolist() == [2, 0]
    assert accumulator.mean.tolist() == [math.inf, 2.0]
    assert accumulator.stderr[0] == math.inf
    assert accumulator.stderr[1].isfinite()


def test_one_row_has_no_standard_error():
    accumulator = Accumulator()
    accumulator.add(torch.tensor([2.0]))
    assert accumulator.stderr == math.inf
