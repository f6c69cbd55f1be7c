"""The recipes of correlations at a size of a second, and that they are drawn from their tables alone."""

import pydoc_data.topics

import pytest
from recipe_scripts import dry_run, recipe


GRAMMARS, TEXT = (recipe("correlations", f"correlations_{name}") for name in ("rhm", "text"))


def test_grammars(tmp_path):
    tables = dry_run(GRAMMARS, tmp_path, "--max_log2", "12")
    assert {row["size"] for row in tables["pairs"]} == {64, 256, 1024, 4096}
    largest = [row for row in tables["pairs"] if row["size"] == 4096]
    assert [row["distance"] for row in largest] == list(range(1, 8))
    for row in largest:  # the noise-free signal is the exact law's
        assert row["signal"] == pytest.approx(row["exact"] ** 2, rel=0.25, abs=2e-5)
    for seed in (0, 1):
        contexts = [r for r in tables["contexts"] if (r["definition"], r["rules_seed"]) == ("whole", seed)]
        values = [row["context"] for row in contexts]
        assert values == sorted(values)


def test_text(tmp_path):
    (tmp_path / "topics.txt").write_text("\n".join(pydoc_data.topics.topics.values())[:60_000])
    tables = dry_run(TEXT, tmp_path, "--max_distance", "40", "--text", str(tmp_path / "topics.txt"))
    sizes = {row["size"] for row in tables["pairs"]}
    whole = [row["correlation"] for row in tables["pairs"] if row["size"] == max(sizes)]
    assert len(whole) == 40
    assert whole[0] > 3 * whole[-1]
    assert len(tables["fit"]) > 1, "beta depends on where it is fitted: the table says it for several ranges"
    for fit in tables["fit"]:
        assert fit["low"] < fit["beta"] < fit["high"]


def test_what_is_no_option_or_too_short_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("To be, or not to be. " * 20)
    with pytest.raises(ValueError, match="the text has 420 characters: it needs 4000 or more"):
        TEXT.main(["--text", str(tmp_path / "short.txt"), "--figures", str(tmp_path)])
    with pytest.raises(ValueError, match="max_distance='far' must be of the type of its default, 128"):
        TEXT.main(["--max_distance", "far"])
