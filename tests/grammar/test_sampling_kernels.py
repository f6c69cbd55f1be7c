import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exact_law import assert_uniform

import rhm_hf
from rhm_hf.grammar.sentences import expansion, permutation, philox


@pytest.mark.parametrize("key", [(0, 0), (2**63 - 1, 2**64 - 1), (12345, 6789)])
@pytest.mark.parametrize("attempt", [0, 1, 2**40])
def test_streams_are_those_of_numpy(key, attempt):
    key = np.array(key, dtype=np.uint64)
    expected = np.random.Philox(key=key, counter=np.array([0, attempt, 0, 0], dtype=np.uint64)).random_raw(96)
    stream = np.empty(96, dtype=np.uint64)
    philox.fill_stream(key, np.uint64(attempt), np.uint64(1), stream)
    assert (stream == expected).all()
    philox.fill_stream(key, np.uint64(attempt), np.uint64(4), stream[:80])
    assert (stream[:80] == expected[12:92]).all()
    numbers = np.empty((4, 7), dtype=np.uint64)
    philox.scattered_numbers(key, np.uint64(attempt), np.array([0, 3, 4, 9]), numbers)
    assert (numbers == expected[:91].reshape(13, 7)[[0, 3, 4, 9]]).all()
    assert list(philox.philox(np.uint64(3), np.uint64(attempt), np.uint64(0), key)) == expected[8:12].tolist()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [8, 248, 256, 264, 1032])
@pytest.mark.parametrize("first", [1, 2**40, 2**63])
def test_vector_instructions_and_others_fill_the_same_stream(wide, size, first, monkeypatch):
    monkeypatch.setattr(philox, "has_wide_vectors", lambda: wide)
    key = np.array([2**64 - 1, 5], dtype=np.uint64)
    counter = np.array([first - 1, 7, 0, 0], dtype=np.uint64)
    stream = np.empty(size, dtype=np.uint64)
    philox.fill_stream(key, np.uint64(7), np.uint64(first), stream)
    assert (stream == np.random.Philox(key=key, counter=counter).random_raw(size)).all()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_scattered_numbers_are_those_of_the_stream(wide, count, monkeypatch):
    monkeypatch.setattr(philox, "has_wide_vectors", lambda: wide)
    key, indices = np.array([3, 2**63], dtype=np.uint64), np.random.default_rng(0).permutation(500)[:150]
    stream = np.random.Philox(key=key, counter=np.array([0, 9, 0, 0], dtype=np.uint64)).random_raw(500 * count)
    numbers = np.empty((150, count), dtype=np.uint64)
    philox.scattered_numbers(key, np.uint64(9), indices, numbers)
    assert (numbers == stream.reshape(500, count)[indices]).all()


def test_redrawn_words_are_exactly_uniform():
    # Of the numbers w, a quarter would hit a number floor(w N / 2^64) a second time and is drawn again.
    product = 3 * 2**62
    key, indices = np.array([1, 2], dtype=np.uint64), np.arange(20000)
    numbers = np.random.Philox(key=key).random_raw(len(indices)).reshape(-1, 1)
    before = numbers.copy()
    products, thresholds = np.array([product], dtype=np.uint64), np.array([2**64 % product], dtype=np.uint64)
    philox.redraw_numbers(key, np.uint64(0), indices, products, thresholds, numbers)
    changed = (numbers != before).ravel()
    assert changed.mean() == pytest.approx(2**62 / 2**64, abs=0.01)
    assert (numbers * products >= thresholds).all()
    # The third number of the counter numbers the redraws, so the k-th number of the stream is redrawn in place.
    k = int(np.flatnonzero(changed)[0])
    streams = [np.random.Philox(key=key, counter=np.array([0, 0, r, 0], dtype=np.uint64)) for r in (1, 2, 3, 4, 5)]
    candidates = [stream.random_raw(k + 1)[k] for stream in streams]
    accepted = [w for w in candidates if int(w) * product % 2**64 >= 2**62]
    assert numbers[k, 0] == accepted[0]
    numbers = [int(w) * product >> 64 for w in numbers.ravel()]
    assert_uniform([x % 3 for x in numbers], 3)
    assert_uniform([x % 16 for x in numbers], 16)
    assert abs(np.mean(np.array(numbers, dtype=float) / product) - 0.5) < 0.01


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_alias_tables_hold_the_law(count):
    rng = np.random.default_rng(count)
    probs = np.stack([rng.dirichlet(np.full(count, a)) for a in (0.05, 1, 100)])
    if count > 2:
        probs = np.vstack([probs, np.eye(count)[:1], [[0.0] + [1 / (count - 1)] * (count - 1)]])
    limits, aliases = np.empty(probs.shape, dtype=np.uint64), np.empty(probs.shape, dtype=np.int32)
    expansion.alias_tables(probs, limits, aliases)
    law = np.zeros(probs.size)
    for entry, (limit, alias) in enumerate(zip(limits.ravel(), aliases.ravel(), strict=True)):
        assert entry // count == alias // count, "an alias of another symbol"
        law[entry] += float(limit) / 2**64 / count
        law[alias] += (1 - float(limit) / 2**64) / count
    assert np.abs(law.reshape(probs.shape) - probs).max() < 1e-15
    assert (law.reshape(probs.shape)[probs == 0] == 0).all()


@pytest.mark.parametrize("size", [2, 3, 10, 2**16, 2**60 - 93, 2**60, 2**62 - 57, 2**62])
def test_the_digits_of_a_word_are_those_of_its_number(size):
    c = -(-(2**128) // size)
    numbers = sorted({0, 1, size // 3, size // 2, size - 2, size - 1})
    scaled = np.empty(len(numbers), dtype=np.uint64)
    permutation.scaled_numbers(np.array(numbers, np.uint64), np.uint64(c >> 64), np.uint64(c % 2**64), scaled)
    assert [int(number) * size >> 64 for number in scaled] == numbers


def test_everything_works_where_no_cache_can_be_written(tmp_path):
    package = tmp_path / "rhm_hf"
    shutil.copytree(Path(rhm_hf.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("a file, so no folder can be made here, even by root")
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | nowhere
    code = (
        "import rhm_hf; from rhm_hf.grammar import Grammar; from rhm_hf.grammar.sentences import expansion\n"
        f"assert rhm_hf.__file__.startswith({str(tmp_path)!r})\n"
        "assert type(expansion.expand._cache).__name__ == 'NullCache', expansion.expand._cache\n"
        "print(Grammar.from_name('v4-m2-s2-L2').sample(3, seed=1, sampling='iid').tolist())"
    )
    environment["PYTHONPATH"] = str(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    expected = rhm_hf.grammar.Grammar.from_name("v4-m2-s2-L2").sample(3, seed=1, sampling="iid").tolist()
    assert result.stdout.strip() == str(expected)


def test_halves_of_words_decide_as_whole_ones_would():
    """Where all that may follow half a number decide alike, so does the kernel; elsewhere as one of them."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 24, 4096, 60_000):
        law = rng.dirichlet(np.full(size, 0.3))
        law[rng.integers(size)] = 0
        law = law / law.sum() if law.any() else np.ones(size)
        limits, aliases = np.empty((1, size), np.uint64), np.empty((1, size), np.int32)
        expansion.alias_tables(law[None], limits, aliases)
        limits = limits[0]
        replacements = np.array([-(-(a << 64) // size) for a in aliases[0].tolist()], dtype=np.uint64)
        # Halves at random, and about every place where the column or the decision changes.
        edges = [(c << 64) // size for c in range(min(size, 500))]
        edges += [((c << 64) + int(limits[c])) // size for c in range(min(size, 500))]
        near = {(edge >> 32) + step for edge in edges for step in (-1, 0, 1)}
        halves = np.array([h for h in near if 0 <= h < 2**32], dtype=np.uint64)
        halves = np.concatenate([halves, rng.integers(2**32, size=2000, dtype=np.uint64)])
        for shift in (0, 32):
            drawn = rng.integers(2**32, size=len(halves), dtype=np.uint64)
            drawn = (halves << np.uint64(32)) | drawn if shift else (drawn << np.uint64(32)) | halves
            numbers = np.empty((len(halves), 2), np.uint64)
            column = np.array([0, 0]), np.array([shift, 0]), np.array([0, -1]), np.array([size, 1], np.uint64)
            expansion.skew_numbers(drawn[:, None], *column, limits, replacements, numbers)
            assert (numbers[:, 1] == drawn).all()  # a number without table
            undecided = 0
            for half, number in zip(halves.tolist(), numbers[:, 0].tolist(), strict=True):
                first, last = half << 32, (half << 32) + 2**32 - 1
                columns = {w * size >> 64 for w in (first, last)}
                places = {((c << 64) + extra) // size + 1 for c in columns for extra in (0, int(limits[c]))}
                whole = {first, last, *(place for place in places if first <= place <= last)}
                decisions = {decided(w, limits, replacements) for w in whole}
                undecided += len(decisions) > 1
                assert number * size >> 64 in decisions
                assert law[number * size >> 64] > 0
            assert undecided < len(near)


def decided(number: int, limits: np.ndarray, replacements: np.ndarray) -> int:
    """The entry of the table that a whole number stands for."""
    column, fraction = divmod(number * len(limits), 2**64)
    return column if fraction < int(limits[column]) else int(replacements[column]) * len(limits) >> 64
