"""Laws of the losses by context: what was put in comes out, and the better law has the smaller distance."""

import numpy as np
import pytest

from rhm_hf.statistics.curves.decays import LAWS, fitted


N = np.arange(1, 33, dtype=float)


@pytest.mark.parametrize("law", list(LAWS))
def test_what_was_put_in_comes_out(law):
    (found,) = fitted(law, N, LAWS[law](N, 1.2, 1.5, 0.7))
    assert (found["limit"], found["height"], found["value"]) == pytest.approx((1.2, 1.5, 0.7), rel=1e-4)
    assert found["rms"] < 1e-4
    other = next(name for name in LAWS if name != law)
    assert fitted(other, N, LAWS[law](N, 1.2, 1.5, 0.7))[0]["rms"] > 0.01


def test_losses_that_fall_nowhere_have_none():
    assert fitted("gamma", N, np.full(len(N), -1.0)) == []
