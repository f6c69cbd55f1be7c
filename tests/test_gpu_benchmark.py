"""`make gpu` from its start to its end, in tiny size and on whatever device there is; no figure is asserted."""

import json
import math
import time
from types import SimpleNamespace

import pytest
from forked import Python

from benchmarks import gpu, gpu_training


def test_it_measures_everything_and_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    path = tmp_path / "gpu.json"
    monkeypatch.setattr(gpu_training, "subprocess", SimpleNamespace(Popen=Python, PIPE=None))  # workers are forks
    assert gpu.main(["--tiny", "--no-tests", "--device", "cpu", "--output", str(path), "--limit", "3600"]) == 0
    written = json.loads(path.read_text())
    assert "NO GPU" in written["device"]
    printed = capsys.readouterr().out
    lines = {line["what"]: line for line in written["lines"]}
    assert lines["training, captured as a CUDA graph"]["note"] == "ValueError: needs a CUDA device"
    for what in (
        *("memory", "next-token laws", "posteriors", "charts", "pair counts", "products", "exact KL"),
        *("training, the package's loop", "training, eager", "training, torch.compile"),
        *("training, 2 runs to a device", "training, 2 models stacked by torch.func"),
    ):
        line = lines[what]
        assert line["value"] is not None, line["note"]
        assert 0 < line["value"] < math.inf
        assert f"| {what} | {line['size']} | {line['value']:.4g} | {line['unit']} |" in printed


def test_what_a_device_computes_wrongly_is_no_figure_but_a_failure(tmp_path, monkeypatch):
    """Laws other than the CPU's end in exit code 1, and so does no law at all."""
    right = gpu.next_token_probs

    def wrong(source, tokens, dtype):
        return right(source, tokens, dtype=dtype) * (1.001 if dtype.itemsize == 4 else 1)

    monkeypatch.setattr(gpu, "next_token_probs", wrong)
    monkeypatch.setattr(gpu.gpu_training, "lines", lambda *_: iter(()))
    path = tmp_path / "gpu.json"
    assert gpu.main(["--tiny", "--no-tests", "--device", "cpu", "--output", str(path)]) == 1
    lines = {line["what"]: line for line in json.loads(path.read_text())["lines"]}
    assert lines["next-token laws"]["wrong"]
    assert "differ" in lines["next-token laws"]["note"]
    assert not lines["posteriors"]["wrong"]


def test_after_the_time_limit_nothing_is_begun(tmp_path):
    path = tmp_path / "gpu.json"
    gpu.main(["--tiny", "--no-tests", "--device", "cpu", "--output", str(path), "--limit", "-1"])
    for line in json.loads(path.read_text())["lines"]:
        assert line["value"] is None or line["what"] == "products"


def test_what_needs_more_time_than_is_left_is_left_out():
    budget = gpu.Budget(time.monotonic() + 3600, 0.0)
    assert budget.line("a", "b", lambda: gpu.Line("a", "b", 1.0), needs=10).value == 1.0
    late = budget.line("a", "b", lambda: gpu.Line("a", "b", 1.0), needs=7200)
    assert late.value is None
    assert late.note == "not measured: too little time was left"


def test_what_was_measured_before_an_interruption_is_kept(tmp_path, monkeypatch):
    def lines(*_):
        yield gpu.Line("memory", "plain copy", 1.0, "GB/s")
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "lines", lines)
    path = tmp_path / "gpu.json"
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--tiny", "--no-tests", "--device", "cpu", "--output", str(path)])
    assert [line["what"] for line in json.loads(path.read_text())["lines"]] == ["memory"]
