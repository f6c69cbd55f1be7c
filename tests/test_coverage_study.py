"""Every standard error and interval that the package documents has a row in the study of coverage, or a reason."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from benchmarks import coverage, coverage_of_models
from rhm_hf.statistics.intervals import share_interval


PACKAGE = Path(__file__).parent.parent / "rhm_hf"
NAME = re.compile(r"`\.*(\w*(?:stderr|interval)s?(?:_\w+)?)`")
ELSEWHERE = {  # name: the row that it is another name of, or why it has none
    "exponent_interval": "`fit().interval`",
    "exponent_statistical_interval": "`fit().statistical_interval`",
    "kl_last_stderr": "the last of `kl_stderr_per_position`",
    "name_interval": "`n_sat_interval`, `n_sat_relative_interval`",
    "name_characters_interval": "`n_sat_interval` times a number",
    **dict.fromkeys(("jackknife_interval", "share_interval", "square_interval"), "how others are made"),
}


def documented() -> set[str]:
    """Names of errors and intervals in the docstrings of public functions and classes."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found |= set(NAME.findall(ast.get_docstring(node) or ""))
                if isinstance(node, ast.FunctionDef):
                    found |= set(re.findall(r".*(?:stderr|interval)s?$", node.name))
    return found


@pytest.fixture(scope="module")
def rows():
    """Labels and intervals of one repeat of every study, against truths of few sentences."""
    threads, many = torch.get_num_threads(), coverage_of_models.MANY
    coverage_of_models.MANY = 700
    try:
        yield {name: list(draw(0)) for name, (draw, _) in coverage.STUDIES.items()}
    finally:
        coverage_of_models.MANY = many
        torch.set_num_threads(threads)


def test_every_error_and_interval_has_a_row(rows):
    labels = " ".join(label for found in rows.values() for label, *_ in found)
    assert not {name for name in documented() - set(ELSEWHERE) if name not in labels}


def test_intervals_are_intervals(rows):
    for found in rows.values():
        for label, low, truth, high in found:
            low, truth, high = np.broadcast_arrays(low, truth, high)
            assert (low <= high)[np.isfinite(truth)].all(), label
            assert np.isfinite(truth).any(), label


def test_coverage_is_counted():
    def draw(seed):
        yield "half", np.array([0, 2]), np.array([1, 1]), np.array([2, 3])
        yield "unknown", 0, np.nan, 1

    studies = coverage.STUDIES | {"mine": (draw, 0.5)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage, "STUDIES", studies)
        assert coverage.study("mine", 20) == {"half": (10, 20)}


@pytest.mark.parametrize("num", [5, 20, 100])
def test_shares_are_covered_on_average_and_never_by_nothing(num):
    """Wilson's interval: every probability of a share, by the binomial law."""
    shares = np.linspace(0.01, 0.99, 99)
    counts = np.arange(num + 1)
    low, high = np.array([share_interval(k / num, num) for k in counts]).T
    inside = (low[:, None] <= shares) & (shares <= high[:, None])
    covered = (binom.pmf(counts[:, None], num, shares) * inside).sum(0)
    assert covered.mean() == pytest.approx(0.95, abs=0.012)
    assert covered.min() > 0.83
    assert (high > low).all()
    assert (low[0], high[-1]) == (0, 1)
    assert share_interval(0.5, num, 0.5)[0] > low[num // 2]
