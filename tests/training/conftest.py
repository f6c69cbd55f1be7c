"""A run small enough to train in under a second."""

import pytest
import torch

from rhm_hf.training import Arguments


TINY = {
    "config_overrides": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "grammar": "v4-m2-s2-L3",
    "num_train": 96,
    "num_validation": 32,
    "num_test": 32,
    "batch_size": 16,
    "max_steps": 12,
    "num_evaluations": 3,
    "warmup_steps": 2,
    "patience": 0,
    "num_threads": 1,
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Makes arguments: a tiny run in a folder of its own, anything overridden by keyword."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # what is promised to the bit is promised on CPUs
    threads = torch.get_num_threads()
    yield lambda **overrides: Arguments.from_dict(TINY | {"output_dir": str(tmp_path / "run")} | overrides)
    torch.set_num_threads(threads)
