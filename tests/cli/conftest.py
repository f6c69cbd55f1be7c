"""The command in this process, and a tiny sweep whose folders several tests read."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from rhm_hf.cli.app import app


TINY = {
    "grammar": "v4-m2-s2-L3",
    "config_overrides": {"n_embd": 8, "n_layer": 1, "n_head": 1},
    "num_validation": 16,
    "num_test": 16,
    "batch_size": 16,
    "max_steps": 4,
    "num_evaluations": 3,
}


@pytest.fixture
def rhm() -> Callable:
    """`rhm("info", NAME)` runs the command: `.exit_code`, `.stdout`, `.stderr`."""
    return lambda *words, **options: CliRunner().invoke(app, [str(word) for word in words], **options)


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory) -> Path:
    """A finished sweep of two tiny runs."""
    folder = tmp_path_factory.mktemp("cli")
    config = folder / "sweep.yaml"
    config.write_text(yaml.safe_dump(TINY | {"num_threads": torch.get_num_threads()}))
    words = ["sweep", "--config", str(config), "--num_train", "32", "64", "--output_dir", str(folder / "sweep")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "2 runs, 6 evaluations" in result.stdout
    return folder / "sweep"


@pytest.fixture(scope="session")
def model_folder(sweep_folder) -> Path:
    """A run's folder: its model lies in `model/`."""
    return sweep_folder / "num_train-64"
